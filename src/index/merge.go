package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"petpick/src/pet"
)

const (
	// collectAge: a segment that no root lists may be one that a merge under way is about to list.
	collectAge = time.Hour
	// maxSweep folds in one upkeep; maxInputs of one merge: each has a buffer and a place in every comparison.
	maxSweep  = 12
	maxInputs = 24
	// chunk is how many records of an input a merge holds at a time.
	chunk = 8192
)

// Tend does the upkeep of a label: it folds what crashed writers left in the journal, merges segments, and deletes those that no
// root lists. Any number may run at once, stall, or die: each step leaves things as sound as it found them.
func (x *Index) Tend(ctx context.Context) error {
	return errors.Join(x.sweep(ctx), x.merge(ctx), x.collect(ctx))
}

// sweep folds until the journal is empty, or a number of times: beside busy writers it never is, and merges must have their turn.
func (x *Index) sweep(ctx context.Context) error {
	last := ""
	for range maxSweep {
		applied, err := x.foldAlone(ctx)
		switch {
		case errors.Is(err, errBeaten):
			if err := x.pause(ctx); err != nil {
				return err
			}
		case err != nil || len(applied) == 0:
			return err
		case applied[0] == last:
			return fmt.Errorf("index of %s: journal entries that were folded cannot be deleted", x.label)
		default:
			last = applied[0]
		}
	}
	return nil
}

func (x *Index) foldAlone(ctx context.Context) ([]string, error) {
	select {
	case x.folding <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-x.folding }()
	applied, err := x.fold(ctx)
	x.waiters.wake(applied)
	return applied, err
}

// merge replaces some segments by their union, in which overrides are absorbed. The new segments are written before the root is
// swapped: a crash between the two leaves orphans, which collect deletes; the reverse would lose pictures.
func (x *Index) merge(ctx context.Context) error {
	base, err := x.load(ctx, nil, x.now())
	if err != nil {
		return err
	}
	inputs, absorbed := x.plan(base.root)
	if len(inputs) == 0 && len(absorbed) == 0 {
		return nil
	}
	outputs, absorbed, err := x.union(ctx, inputs, absorbed)
	if err != nil || len(absorbed) == 0 && len(inputs) < 2 {
		return err
	}
	for {
		done, err := x.replace(ctx, base.root, inputs, outputs, absorbed)
		if !errors.Is(err, errBeaten) {
			if done {
				x.log.InfoContext(ctx, "merged", slog.Any("label", x.label), slog.Int("inputs", len(inputs)), slog.Int("outputs", len(outputs)), slog.Int("absorbed", len(absorbed)))
			}
			return err
		}
		if err := x.pause(ctx); err != nil {
			return err
		}
	}
}

// plan chooses what to merge, and the overrides that may be absorbed if all that they supersede is in it. Everything at once while it fits one segment; beyond that, segments of about one size, of which
// there are then few for each power of four.
func (x *Index) plan(r *root) (inputs []row, absorbed []override) {
	old := x.oldOverrides(r)
	pictures := len(old)
	for _, row := range r.rows {
		pictures += int(row.n)
	}
	crowded := len(old) >= x.limits.absorb || len(r.overrides) > x.limits.overrides/2 && len(old) > 0
	switch {
	case pictures <= x.limits.segment && (len(r.rows) >= x.limits.merge || crowded):
		inputs = smallest(r.rows)
	case pictures <= x.limits.segment:
		return nil, nil
	default:
		classes := map[int][]row{}
		for _, row := range r.rows {
			if int(row.n) < x.limits.segment/2 {
				class := 0
				for n := row.n; n > 4; n /= 4 {
					class++
				}
				classes[class] = append(classes[class], row)
			}
		}
		for class := range 16 {
			if len(classes[class]) >= x.limits.merge {
				inputs = smallest(classes[class])
				break
			}
		}
		if crowded {
			inputs = x.mostOverridden(r, old)
		}
	}
	if len(inputs) == 0 && !crowded {
		return nil, nil
	}
	return inputs, old
}

// smallest are the rows to begin with, when there are more than one merge takes.
func smallest(rows []row) []row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.n, b.n) })
	return rows[:min(len(rows), maxInputs)]
}

// oldOverrides are those that no ADD can need any more: one that is still on its way would be too late, and count as a TOUCH.
func (x *Index) oldOverrides(r *root) []override {
	limit := uint64(x.now().Add(-absorbAge).UnixMilli())
	var old []override
	for _, o := range r.overrides {
		if o.at <= limit {
			old = append(old, o)
		}
	}
	return old
}

// mostOverridden are the small segments, and the large one that holds most overrides.
func (x *Index) mostOverridden(r *root, old []override) []row {
	var small []row
	var best row
	most := 0
	for _, row := range r.rows {
		if int(row.n) < x.limits.segment/2 {
			small = append(small, row)
			continue
		}
		count := 0
		for _, o := range old {
			if row.covers(o.id) {
				count++
			}
		}
		if count > most {
			best, most = row, count
		}
	}
	inputs := smallest(small)
	if most > 0 {
		inputs = append(inputs, best)
	}
	return inputs
}

// union streams the inputs in the order of ids into as few segments as hold them. It returns the overrides that it absorbed, too.
func (x *Index) union(ctx context.Context, inputs []row, old []override) ([]row, []override, error) {
	most := len(old)
	var streams []*stream
	for _, r := range inputs {
		most += int(r.n)
		streams = append(streams, &stream{x: x, row: r})
	}
	if most == 0 {
		return nil, nil, nil
	}
	parts := (most + x.limits.segment - 1) / x.limits.segment
	limit := (most + parts - 1) / parts
	var rows []row
	var recs []rec
	flush := func() error {
		if len(recs) == 0 {
			return nil
		}
		r, err := x.putSegment(ctx, newSegment(recs))
		rows, recs = append(rows, r), recs[:0]
		return err
	}
	add := func(w weighted) error {
		if w.weight == 0 {
			return nil
		}
		if recs == nil {
			recs = make([]rec, 0, limit)
		}
		recs = append(recs, rec{id: w.id, weight: w.weight})
		if len(recs) == limit {
			return flush()
		}
		return nil
	}
	absorbed, err := mergeStreams(ctx, streams, old, add)
	if err == nil {
		err = flush()
	}
	return rows, absorbed, err
}

// mergeStreams calls add for every picture of the streams, in the order of ids. An old override takes the place of its picture where the
// streams hold all the mass that it supersedes, and is returned as absorbed: were there a copy elsewhere, it would come back to life.
func mergeStreams(ctx context.Context, streams []*stream, old []override, add func(weighted) error) (absorbed []override, err error) {
	for {
		var lowest pet.ID
		found := false
		for _, s := range streams {
			if err := s.fill(ctx); err != nil {
				return nil, err
			}
			if !s.done() {
				if id := s.head().id; !found || compare(id, lowest) < 0 {
					lowest, found = id, true
				}
			}
		}
		if len(old) > 0 && (!found || compare(old[0].id, lowest) < 0) {
			lowest, found = old[0].id, true
		}
		if !found {
			return absorbed, nil
		}
		w, copies, mass := weighted{id: lowest}, 0, uint32(0)
		for _, s := range streams {
			if !s.done() && s.head().id == w.id {
				w.weight = s.head().weight
				mass += uint32(w.weight)
				copies++
				s.skip()
			}
		}
		overridden := len(old) > 0 && old[0].id == w.id
		switch {
		case overridden && old[0].old == mass:
			w.weight = old[0].weight
			absorbed = append(absorbed, old[0])
		case copies > 1:
			return nil, fmt.Errorf("%s is in two segments: %w: run petpick fsck --repair", w.id, ErrFormat)
		}
		if overridden {
			old = old[1:]
		}
		if err := add(w); err != nil {
			return nil, err
		}
	}
}

// stream reads a segment's pictures in order, a chunk at a time.
type stream struct {
	x    *Index
	row  row
	read uint64
	buf  []byte
}

func (s *stream) done() bool { return len(s.buf) == 0 && s.read == uint64(s.row.n) }

func (s *stream) head() weighted {
	return weighted{pet.ID(s.buf[:16]), pet.Weight(le.Uint32(s.buf[16:]))}
}

func (s *stream) skip() { s.buf = s.buf[recordSize:] }

func (s *stream) fill(ctx context.Context) error {
	if len(s.buf) > 0 || s.done() {
		return nil
	}
	n := min(chunk, uint64(s.row.n)-s.read)
	var err error
	s.buf, err = s.x.records(ctx, s.row, s.read, n)
	s.read += n
	return err
}

// replace swaps the root, if the inputs are all still there. An override that changed since the merge began, or whose picture has an
// entry in the journal, stays: it supersedes what the merge has made of it.
func (x *Index) replace(ctx context.Context, base *root, inputs, outputs []row, absorbed []override) (bool, error) {
	cur, err := x.load(ctx, nil, x.now())
	if err != nil {
		return false, err
	}
	if cur.epoch != base.epoch { // collect may have taken our outputs for orphans
		return false, nil
	}
	for _, r := range inputs {
		if !slices.Contains(cur.rows, r) {
			return false, nil
		}
	}
	noted, err := x.notedIDs(ctx)
	if err != nil {
		return false, err
	}
	next := cur.next()
	next.rows = append(slices.DeleteFunc(next.rows, func(r row) bool { return slices.Contains(inputs, r) }), outputs...)
	for _, o := range absorbed {
		i, there := findOverride(next.overrides, o.id)
		if !there || next.overrides[i].old != o.old { // another merge was here
			return false, nil
		}
		if next.overrides[i] == o && !noted[o.id] {
			next.overrides = slices.Delete(next.overrides, i, i+1)
		} else {
			next.overrides[i].old = uint32(o.weight) // all the mass that segments have of it now
		}
	}
	err = x.commit(ctx, cur, next)
	return err == nil, err
}

// collect deletes segments that no root lists and that are too old to be about to. First it moves the epoch: a merge that stalled
// for longer than that finds it changed, and does not list what is being deleted.
func (x *Index) collect(ctx context.Context) error {
	cur, err := x.load(ctx, nil, x.now())
	if err != nil {
		return err
	}
	orphans, err := x.orphans(ctx, cur.root)
	if err != nil || len(orphans) == 0 {
		return err
	}
	next := cur.next()
	next.epoch++
	if err := x.commit(ctx, cur, next); err != nil {
		if errors.Is(err, errBeaten) {
			return nil // the next time
		}
		return err
	}
	return x.store.DeleteMany(ctx, orphans)
}

func (x *Index) orphans(ctx context.Context, r *root) ([]string, error) {
	prefix := "index/" + string(x.label) + "/segments/"
	listed := make(map[uint64]bool, len(r.rows))
	for _, row := range r.rows {
		listed[row.name] = true
	}
	var orphans []string
	for after := ""; ; {
		page, err := x.store.List(ctx, prefix, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			name, err := strconv.ParseUint(strings.TrimPrefix(o.Key, prefix), 16, 64)
			if err == nil && !listed[name] && x.now().Sub(o.Modified) > collectAge {
				orphans = append(orphans, o.Key)
			}
		}
		if !page.More {
			return orphans, nil
		}
		after = page.Objects[len(page.Objects)-1].Key
	}
}
