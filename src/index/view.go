package index

import (
	"context"
	"slices"
	"sort"
	"time"

	"petpick/src/pet"
)

// view is a root as it was read or written, laid out for draws. It is immutable.
type view struct {
	*root
	etag string
	// sent and known bound the time of the reading (or of the writing): the root was current at some moment between them.
	sent, known time.Time

	// recent holds the tail and the live overrides; nil when there are none.
	recent *segment
	parts  []part
	ends   []uint64 // cumulative totals: recent, then the parts
	total  uint64   // of all that can be picked, superseded mass included
	// overridden are the pictures that no segment speaks for any more.
	overridden map[pet.ID]struct{}
}

// part is a segment in a view.
type part struct {
	row
	seg *segment // nil when it is not in memory
	// rejects says that overridden pictures may be in it: a draw that hits one starts over.
	rejects bool
	// crowded says that so many may be that rejection would not be cheap: such a part must be in memory, and filtered.
	crowded bool
}

// newView lays out a root that was asked for at the time sent and is known now.
func (x *Index) newView(r *root, etag string, sent time.Time) *view {
	v := &view{root: r, etag: etag, sent: sent, known: x.now(), overridden: make(map[pet.ID]struct{}, len(r.overrides))}
	if old := x.view.Load(); old != nil && old.root == r && !x.grown(old) {
		next := *old // nothing but the time has changed
		next.etag, next.sent, next.known = etag, sent, v.known
		return &next
	}
	for _, o := range r.overrides {
		v.overridden[o.id] = struct{}{}
	}
	v.recent = recentOf(r)
	if v.recent != nil {
		v.total = v.recent.total
	}
	v.ends = append(v.ends, v.total)
	for _, row := range r.rows {
		p := x.layOut(row, v)
		if p.seg != nil {
			v.total += p.seg.total
		} else {
			v.total += row.total
		}
		v.parts, v.ends = append(v.parts, p), append(v.ends, v.total)
	}
	return v
}

// recentOf is a table of the tail and the live overrides.
func recentOf(r *root) *segment {
	recent := slices.Clone(r.tail)
	for _, o := range r.overrides {
		if o.weight > 0 {
			recent = append(recent, o.weighted)
		}
	}
	if len(recent) == 0 {
		return nil
	}
	return segmentOf(recent)
}

// layOut decides how draws use a segment. Rejection is exact at any rate, but must be cheap and must end: where more than a quarter
// of a segment's mass may be superseded, its table is built without the superseded pictures.
func (x *Index) layOut(row row, v *view) part {
	p := part{row: row, seg: x.loaded(row.name)}
	var superseded uint64
	from, _ := findOverride(v.overrides, row.first)
	for _, o := range v.overrides[from:] {
		if compare(o.id, row.last) > 0 {
			break
		}
		if o.old == 0 {
			continue
		}
		p.rejects = true
		if p.seg != nil {
			superseded += uint64(p.seg.weight(o.id))
		} else {
			superseded += uint64(o.old)
		}
	}
	p.crowded = superseded > row.total/4
	if p.crowded && p.seg != nil {
		if left := p.seg.without(v.overridden); len(left.recs) > 0 {
			p.seg = left
		} else {
			p.seg = &segment{}
		}
		p.rejects, p.crowded = false, false
	}
	return p
}

// drawFrom makes one try. A next view means: try again, with that one.
func (x *Index) drawFrom(ctx context.Context, v *view, rnd Source) (Pick, *view, error) {
	height := below(rnd, v.total)
	i := sort.Search(len(v.ends), func(i int) bool { return v.ends[i] > height })
	if i == 0 {
		id, w := v.recent.pick(height, rnd)
		return Pick{ID: id, Weight: w}, nil, nil
	}
	height -= v.ends[i-1]
	p := &v.parts[i-1]
	var id pet.ID
	var w pet.Weight
	switch {
	case p.seg != nil:
		id, w = p.seg.pick(height, rnd)
	case p.crowded:
		if err := x.loadNow(ctx, p.row); err != nil {
			return Pick{}, nil, err
		}
		next := x.newView(v.root, v.etag, v.sent)
		x.publish(next)
		return Pick{}, next, nil
	default:
		var err error
		if id, w, err = x.remotePick(ctx, p.row, height, rnd); err != nil {
			return Pick{}, nil, err
		}
		x.loadSoon(p.row)
	}
	if p.rejects {
		if _, superseded := v.overridden[id]; superseded {
			return Pick{}, v, nil
		}
	}
	return Pick{ID: id, Weight: w}, nil, nil
}

// loaded returns a segment that is in memory, or nil.
func (x *Index) loaded(name uint64) *segment {
	x.segmentsMu.Lock()
	defer x.segmentsMu.Unlock()
	return x.segments[name]
}

// grown says whether a segment has come into memory that the view does not use yet.
func (x *Index) grown(v *view) bool {
	x.segmentsMu.Lock()
	defer x.segmentsMu.Unlock()
	for _, p := range v.parts {
		if p.seg == nil && x.segments[p.name] != nil {
			return true
		}
	}
	return false
}

// bytesOf is what a segment takes in memory.
func bytesOf(r row) int64 { return int64(r.n) * recBytes }

// forget drops segments that the root does not list.
func (x *Index) forget(r *root) {
	x.segmentsMu.Lock()
	defer x.segmentsMu.Unlock()
	if len(x.segments) == 0 {
		return
	}
	listed := make(map[uint64]bool, len(r.rows))
	for _, row := range r.rows {
		listed[row.name] = true
	}
	for name, s := range x.segments {
		if !listed[name] {
			delete(x.segments, name)
			x.memory += int64(len(s.recs)) * recBytes
		}
	}
}

// loadSoon brings a segment into memory behind the draws, one at a time, as long as the budget lasts.
func (x *Index) loadSoon(r row) {
	x.segmentsMu.Lock()
	defer x.segmentsMu.Unlock()
	if x.memory < bytesOf(r) || x.segments[r.name] != nil || x.loading || x.now().Before(x.loadAfter) {
		return
	}
	x.loading = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := x.loadNow(ctx, r)
		if err != nil {
			x.log.WarnContext(ctx, "segment not loaded: draws go on by ranged reads", "label", x.label, "error", err)
		}
		x.segmentsMu.Lock()
		x.loading = false
		if err != nil {
			x.loadAfter = x.now().Add(10 * time.Second)
		}
		x.segmentsMu.Unlock()
		if v := x.view.Load(); v != nil {
			x.publish(x.newView(v.root, v.etag, v.sent))
		}
	}()
}

// loadNow reads a whole segment into memory. Callers take turns, so that a crowd reads it once.
func (x *Index) loadNow(ctx context.Context, r row) error {
	select {
	case x.reading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-x.reading }()
	if x.loaded(r.name) != nil {
		return nil
	}
	o, err := x.store.Get(ctx, x.segmentKey(r.name), "")
	if err != nil {
		return err
	}
	s, err := decodeSegment(o.Body, r)
	if err != nil {
		return err
	}
	x.segmentsMu.Lock()
	defer x.segmentsMu.Unlock()
	x.segments[r.name] = s
	x.memory -= bytesOf(r)
	return nil
}
