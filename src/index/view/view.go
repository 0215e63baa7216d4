// Package view is what a process knows of a label's index: the root as it was last read, laid out for draws, and kept fresh. It draws from that,
// exactly, and goes on with it while the store fails. It changes nothing in the store.
package view

import (
	"context"
	"log/slog"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// View is a root as it was read or written, laid out for draws. It is immutable.
type View struct {
	*root.Root
	ETag string
	// sent and known bound the time of the reading (or of the writing): the root was current at some moment between them.
	Sent, known time.Time

	// recent holds the tail and the live overrides; nil when there are none.
	recent *segment.Table
	parts  []part
	ends   []uint64 // cumulative totals: recent, then the parts
	total  uint64   // of all that can be picked, superseded mass included
	// overridden are the pictures that no segment speaks for any more.
	overridden map[pet.ID]struct{}
}

// Reader keeps a view of a label. It is safe for concurrent use.
type Reader struct {
	label    pet.Label
	key      string
	store    blob.Store
	segments *segment.Store
	now      func() time.Time
	log      *slog.Logger

	view     atomic.Pointer[View]
	flights  flights
	counters counters
}

// Open returns a reader of a label's index, which it has not read yet.
func Open(label pet.Label, store blob.Store, segments *segment.Store, now func() time.Time, log *slog.Logger) *Reader {
	return &Reader{label: label, key: RootKey(label), store: store, segments: segments, now: now, log: log}
}

// RootKey is the key of a label's root.
func RootKey(label pet.Label) string { return "index/" + string(label) + "/root" }

// Current is the last view; nil before the first.
func (x *Reader) Current() *View { return x.view.Load() }

// Take makes a root the view, unless there is a later one.
func (x *Reader) Take(r *root.Root, etag string, sent time.Time) { x.publish(x.newView(r, etag, sent)) }

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
func (x *Reader) newView(r *root.Root, etag string, sent time.Time) *View {
	v := &View{Root: r, ETag: etag, Sent: sent, known: x.now(), overridden: make(map[pet.ID]struct{}, len(r.Overrides))}
	old := x.view.Load()
	if old != nil && old.Root == r && !x.grown(old) {
		next := *old // nothing but the time has changed
		next.ETag, next.Sent, next.known = etag, sent, v.known
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
func (x *Reader) grown(v *View) bool {
	return slices.ContainsFunc(v.parts, func(p part) bool { return p.seg == nil && x.segments.Table(p.Name) != nil })
}

// Loaded makes use of a segment that has come into memory.
func (x *Reader) Loaded() {
	if v := x.view.Load(); v != nil {
		x.Take(v.Root, v.ETag, v.Sent)
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
func (x *Reader) layOut(row segment.Row, v, old *View) part {
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
func (v *View) aim(rnd segment.Source) aim {
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
func (x *Reader) drawFrom(ctx context.Context, v *View, a aim) (pick *segment.Entry, next *View, err error) {
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
		next := x.newView(v.Root, v.ETag, v.Sent)
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
