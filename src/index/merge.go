package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"time"

	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
	"petpick/src/sorted"
)

const (
	// collectAge: a segment that no root lists may be one that a merge or a reindex under way is about to list.
	collectAge = 24 * time.Hour
	// maxSweep folds and maxMerges merges in one upkeep; maxInputs of one merge: each has a buffer and a place in every comparison.
	maxSweep  = 12
	maxMerges = 8
	maxInputs = 24
)

// Tend does the upkeep of a label: it folds what crashed writers left in the journal, finishes removals that were cut short, merges
// segments, and deletes those that no root lists. Any number may run at once, stall, or die: each step leaves things as sound as it found them.
func (x *Index) Tend(ctx context.Context) error {
	err := x.sweep(ctx)
	if errors.Is(err, ErrFormat) { // nobody can work on such an index
		return err
	}
	waiting, errCount := x.journal.CountIfLong(ctx)
	if errCount == nil && waiting > 0 {
		x.counters.backlog.Store(uint64(waiting))
	}
	return errors.Join(err, errCount, x.finishChanges(ctx), x.merge(ctx), x.collect(ctx))
}

// sweep folds until the journal is empty, or a number of times: beside busy writers it never is, and merges must have their turn.
func (x *Index) sweep(ctx context.Context) error {
	var last folded
	for range maxSweep {
		f, err := x.foldShared(ctx)
		switch {
		case errors.Is(err, errBeaten):
			if err := x.pause(ctx, retryPause); err != nil {
				return err
			}
		case err != nil || len(f.keys) == 0:
			return err
		default:
			for key := range f.keys {
				if last.keys[key] {
					return fmt.Errorf("index of %s: journal entries that were folded cannot be deleted", x.label)
				}
			}
			last = f
		}
	}
	return nil
}

// merge merges until there is no reason to, or a number of times.
func (x *Index) merge(ctx context.Context) error {
	for range maxMerges {
		if done, err := x.mergeOnce(ctx); !done || err != nil {
			return err
		}
	}
	return nil
}

// mergeOnce replaces some segments by their union, in which overrides are absorbed. The new segments are written before the root is
// swapped: a crash between the two leaves orphans, which collect deletes; the reverse would lose pictures.
func (x *Index) mergeOnce(ctx context.Context) (done bool, err error) {
	base, err := x.reader.Read(ctx, nil, x.now())
	if err != nil {
		return false, err
	}
	inputs, old := x.plan(base.Root)
	if len(inputs) == 0 && len(old) == 0 {
		return false, nil
	}
	outputs, absorbed, err := x.union(ctx, inputs, old)
	if err != nil {
		return false, err
	}
	if len(absorbed) == 0 && len(inputs) < 2 { // a copy of its only input, of which nobody knows
		return false, x.segments.Delete(ctx, outputs)
	}
	for {
		done, err := x.replace(ctx, base.Root, inputs, outputs, absorbed)
		if !errors.Is(err, errBeaten) {
			if done {
				x.log.InfoContext(ctx, "merged", slog.Any("label", x.label), slog.Int("inputs", len(inputs)), slog.Int("outputs", len(outputs)), slog.Int("absorbed", len(absorbed)))
			}
			return done, err
		}
		if err := x.pause(ctx, retryPause); err != nil {
			return false, err
		}
	}
}

// plan chooses what to merge, and the overrides that may be absorbed if all that they supersede is in it. Everything while it fits
// one segment; beyond that, segments of about one size, of which there are then few for each power of four.
func (x *Index) plan(r *root.Root) (inputs []segment.Row, old []root.Override) {
	// No ADD can need those any more: one that is still on its way would be too late, and count as a TOUCH.
	limit := uint64(x.now().Add(-absorbAge).UnixMilli())
	for _, o := range r.Overrides {
		if o.At <= limit {
			old = append(old, o)
		}
	}
	pictures := len(old)
	var small, large []segment.Row
	var classes [12][]segment.Row // by size: 4^11 is more than a segment holds
	for _, row := range r.Rows {
		pictures += int(row.N)
		if int(row.N) >= x.limits.segment/2 {
			large = append(large, row)
			continue
		}
		class := bits.Len32(row.N) / 2
		small, classes[class] = append(small, row), append(classes[class], row)
	}
	crowded := len(old) >= x.limits.absorb || len(r.Overrides) > x.limits.overrides/2 && len(old) > 0
	switch enough := slices.IndexFunc(classes[:], func(c []segment.Row) bool { return len(c) >= x.limits.merge }); {
	case pictures <= x.limits.segment && (crowded || len(r.Rows) >= x.limits.merge):
		return smallest(r.Rows), old
	case pictures <= x.limits.segment:
		return nil, nil
	case crowded:
		return append(smallest(small), x.overridden(large, old)...), old
	case enough >= 0:
		return smallest(classes[enough]), old
	}
	return nil, nil
}

// smallest are the rows to begin with, when there are more than one merge takes.
func smallest(rows []segment.Row) []segment.Row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b segment.Row) int { return cmp.Compare(a.N, b.N) })
	return rows[:min(len(rows), maxInputs)]
}

// overridden is the row that one of the overrides speaks of, if any does: mostly one that many do, and not the same again and again,
// should what it has of a picture not be all.
func (x *Index) overridden(rows []segment.Row, old []root.Override) []segment.Row {
	for _, i := range x.rnd.Perm(len(old)) {
		at := slices.IndexFunc(rows, func(r segment.Row) bool { return r.Name == old[i].In })
		if at >= 0 {
			return rows[at : at+1]
		}
	}
	return nil
}

// union streams the inputs in the order of ids into as few segments as hold them. An old override takes the place of its picture where
// the inputs hold all the mass that it supersedes, and is returned as absorbed: were there a copy elsewhere, it would come back to life.
func (x *Index) union(ctx context.Context, inputs []segment.Row, old []root.Override) ([]segment.Row, []root.Override, error) {
	most := len(old)
	for _, r := range inputs {
		most += int(r.N)
	}
	if most == 0 {
		return nil, nil, nil
	}
	parts := (most + x.limits.segment - 1) / x.limits.segment
	out := x.segments.Writer((most + parts - 1) / parts)
	var absorbed []root.Override
	for group, err := range sorted.Groups(compareClaims, append(x.segmentsOf(ctx, inputs, pet.ID{}), overridesOf(old))...) {
		if err != nil {
			return nil, nil, err
		}
		w, copies, mass := group[0].Entry, 0, uint32(0)
		last := group[len(group)-1] // an override comes last
		for _, c := range group {
			if c.by == bySegment {
				w, copies, mass = c.Entry, copies+1, mass+uint32(c.Weight)
			}
		}
		switch {
		case last.by == byOverride && last.old == mass:
			w = last.Entry
			i, _ := root.FindOverride(old, w.ID)
			absorbed = append(absorbed, old[i])
		case copies > 1:
			return nil, nil, fmt.Errorf("%s is in two segments: %w: run petpick fsck --repair", w.ID, ErrFormat)
		case copies == 0:
			continue // what it supersedes is not in these inputs
		}
		if err := out.Add(ctx, w); err != nil {
			return nil, nil, err
		}
	}
	rows, err := out.Close(ctx)
	return rows, absorbed, err
}

// replace swaps the root, if the inputs are all still there. An override that changed since the merge began, or whose picture has an
// entry in the journal, stays: it supersedes what the merge has made of it.
func (x *Index) replace(ctx context.Context, base *root.Root, inputs, outputs []segment.Row, absorbed []root.Override) (bool, error) {
	cur, err := x.reader.Read(ctx, nil, x.now())
	if err != nil {
		return false, err
	}
	if cur.Epoch != base.Epoch { // collect may have taken our outputs for orphans
		return false, nil
	}
	for _, r := range inputs {
		if !slices.Contains(cur.Rows, r) {
			return false, nil
		}
	}
	noted, err := x.journal.IDs(ctx)
	if err != nil {
		return false, err
	}
	next := cur.Next()
	next.Rows = append(slices.DeleteFunc(next.Rows, func(r segment.Row) bool { return slices.Contains(inputs, r) }), outputs...)
	for _, o := range absorbed {
		i, there := root.FindOverride(next.Overrides, o.ID)
		if !there || next.Overrides[i].Held != o.Held { // another merge was here
			return false, nil
		}
		switch {
		case next.Overrides[i] == o && !noted[o.ID]:
			next.Overrides = slices.Delete(next.Overrides, i, i+1)
		case o.Weight > 0:
			next.Overrides[i].Held = root.Held{Old: uint32(o.Weight), In: covering(outputs, o.ID)} // all that segments have of it now
		default:
			next.Overrides[i].Held = root.Held{}
		}
	}
	for i := range next.Overrides {
		o := &next.Overrides[i]
		if slices.ContainsFunc(inputs, func(r segment.Row) bool { return r.Name == o.In }) {
			o.In = covering(outputs, o.ID)
		}
	}
	err = x.commit(ctx, cur, next)
	return err == nil, err
}

// covering is the name of the output of a merge that a picture of its inputs is in: their ids do not overlap.
func covering(outputs []segment.Row, id pet.ID) uint64 {
	for _, r := range outputs {
		if r.Covers(id) {
			return r.Name
		}
	}
	return 0
}

// collect deletes segments that no root lists and that are too old to be about to. First it moves the epoch: a merge that stalled
// for longer than that finds it changed, and does not list what is being deleted.
func (x *Index) collect(ctx context.Context) error {
	cur, err := x.reader.Read(ctx, nil, x.now())
	if err != nil {
		return err
	}
	if cur.ETag == "" { // it was lost, perhaps: what a reindex makes of it is not ours to decide
		return nil
	}
	orphans, err := x.segments.Others(ctx, cur.Rows, collectAge)
	if err != nil || len(orphans) == 0 {
		return err
	}
	next := cur.Next()
	next.Epoch++
	if err := x.commit(ctx, cur, next); errors.Is(err, errBeaten) {
		return nil // the next time
	} else if err != nil {
		return err
	}
	return x.store.DeleteMany(ctx, orphans)
}
