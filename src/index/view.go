package index

import (
	"context"
	"slices"
	"sort"
	"time"

	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// view is a root as it was read or written, laid out for draws. It is immutable.
type view struct {
	*root.Root
	etag string
	// sent and known bound the time of the reading (or of the writing): the root was current at some moment between them.
	sent, known time.Time

	// recent holds the tail and the live overrides; nil when there are none.
	recent *segment.Table
	parts  []part
	ends   []uint64 // cumulative totals: recent, then the parts
	total  uint64   // of all that can be picked, superseded mass included
	// overridden are the pictures that no segment speaks for any more.
	overridden map[pet.ID]struct{}
}

// part is a segment in a view.
type part struct {
	segment.Row
	seg *segment.Table // nil when it is not in memory
	// superseded are the overridden pictures that are in it, or may be: a draw that hits one starts over.
	superseded []pet.ID
	// crowded says that they are so much of its mass that rejection would not be cheap: the table must be built without them, and
	// filtered that seg was.
	crowded, filtered bool
}

// newView lays out a root that was asked for at the time sent and is known now.
func (x *Index) newView(r *root.Root, etag string, sent time.Time) *view {
	v := &view{Root: r, etag: etag, sent: sent, known: x.now(), overridden: make(map[pet.ID]struct{}, len(r.Overrides))}
	old := x.view.Load()
	if old != nil && old.Root == r && !x.grown(old) {
		next := *old // nothing but the time has changed
		next.etag, next.sent, next.known = etag, sent, v.known
		return &next
	}
	for _, o := range r.Overrides {
		v.overridden[o.ID] = struct{}{}
	}
	if v.recent = recentOf(r); v.recent != nil {
		v.total = v.recent.Total()
	}
	v.ends = append(v.ends, v.total)
	for _, row := range r.Rows {
		p := x.layOut(row, v, old)
		if p.seg != nil {
			v.total += p.seg.Total()
		} else {
			v.total += row.Total
		}
		v.parts, v.ends = append(v.parts, p), append(v.ends, v.total)
	}
	return v
}

// grown says whether a segment has come into memory that the view does not use yet.
func (x *Index) grown(v *view) bool {
	return slices.ContainsFunc(v.parts, func(p part) bool { return p.seg == nil && x.segments.Table(p.Name) != nil })
}

// loaded makes use of a segment that has come into memory.
func (x *Index) loaded() {
	if v := x.view.Load(); v != nil {
		x.publish(x.newView(v.Root, v.etag, v.sent))
	}
}

// recentOf is a table of the tail and the live overrides.
func recentOf(r *root.Root) *segment.Table {
	recent := slices.Clone(r.Tail)
	for _, o := range r.Overrides {
		if o.Weight > 0 {
			recent = append(recent, o.Entry)
		}
	}
	if len(recent) == 0 {
		return nil
	}
	return segment.Of(recent)
}

// layOut decides how draws use a segment. Rejection is exact at any rate, but must be cheap and must end: where more than a quarter
// of a segment's mass may be superseded, its table is built without the superseded pictures.
func (x *Index) layOut(row segment.Row, v, old *view) part {
	p := part{Row: row, seg: x.segments.Table(row.Name)}
	var mass uint64
	from, _ := root.FindOverride(v.Overrides, row.First)
	for _, o := range v.Overrides[from:] {
		if pet.Compare(o.ID, row.Last) > 0 {
			break
		}
		held := uint64(o.Old)
		if p.seg != nil {
			held = uint64(p.seg.Weight(o.ID))
		}
		if held > 0 {
			mass += held
			p.superseded = append(p.superseded, o.ID)
		}
	}
	p.crowded = mass > row.Total/4
	if !p.crowded || p.seg == nil {
		return p
	}
	p.filtered = true
	if old != nil {
		for _, q := range old.parts { // a table of a million pictures is not built again for each upload
			if q.Name == p.Name && q.filtered && slices.Equal(q.superseded, p.superseded) {
				return q
			}
		}
	}
	p.seg = p.seg.Without(v.overridden)
	return p
}

// aim is where a try looks: a component, a height uniform below its total, and a column of its table.
type aim struct {
	component      int // as in ends
	height, column uint64
}

// aim chooses where to look, and has what is there brought nearer. The total must not be 0.
func (v *view) aim(rnd segment.Source) aim {
	a := aim{height: segment.Below(rnd, v.total)}
	a.component = sort.Search(len(v.ends), func(i int) bool { return v.ends[i] > a.height })
	seg := v.recent
	if a.component > 0 {
		p := &v.parts[a.component-1]
		a.height -= v.ends[a.component-1]
		if seg = p.seg; seg == nil { // to be read from the store
			a.column = segment.Below(rnd, uint64(p.N))
			return a
		}
	}
	a.column = seg.Aim(rnd)
	return a
}

// drawFrom makes one try. A next view means: try again, with that one.
func (x *Index) drawFrom(ctx context.Context, v *view, a aim) (pick *segment.Entry, next *view, err error) {
	if a.component == 0 {
		return v.recent.At(a.column, a.height), nil, nil
	}
	p := &v.parts[a.component-1]
	switch {
	case p.filtered:
		return p.seg.At(a.column, a.height), nil, nil
	case p.seg != nil:
		pick = p.seg.At(a.column, a.height)
	case p.crowded:
		if err := x.segments.Load(ctx, p.Row); err != nil {
			return nil, nil, err
		}
		next := x.newView(v.Root, v.etag, v.sent)
		x.publish(next)
		return nil, next, nil
	default:
		if pick, err = x.segments.At(ctx, p.Row, a.column, a.height); err != nil {
			return nil, nil, err
		}
	}
	if len(p.superseded) > 0 {
		if _, superseded := v.overridden[pick.ID]; superseded {
			return nil, v, nil
		}
	}
	return pick, nil, nil
}
