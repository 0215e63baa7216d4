package index

import (
	"context"
	"maps"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"petpick/src/parallel"
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
	// superseded are the overridden pictures that are in it, or may be: a draw that hits one starts over.
	superseded []pet.ID
	// crowded says that they are so much of its mass that rejection would not be cheap: the table must be built without them, and
	// filtered that seg was.
	crowded, filtered bool
}

// newView lays out a root that was asked for at the time sent and is known now.
func (x *Index) newView(r *root, etag string, sent time.Time) *view {
	v := &view{root: r, etag: etag, sent: sent, known: x.now(), overridden: make(map[pet.ID]struct{}, len(r.overrides))}
	old := x.view.Load()
	if old != nil && old.root == r && !x.cache.grown(old) {
		next := *old // nothing but the time has changed
		next.etag, next.sent, next.known = etag, sent, v.known
		return &next
	}
	for _, o := range r.overrides {
		v.overridden[o.id] = struct{}{}
	}
	if v.recent = recentOf(r); v.recent != nil {
		v.total = v.recent.total
	}
	v.ends = append(v.ends, v.total)
	for _, row := range r.rows {
		p := x.layOut(row, v, old)
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
func (x *Index) layOut(row row, v, old *view) part {
	p := part{row: row, seg: x.cache.get(row.name)}
	var mass uint64
	from, _ := findOverride(v.overrides, row.first)
	for _, o := range v.overrides[from:] {
		if pet.Compare(o.id, row.last) > 0 {
			break
		}
		held := uint64(o.old)
		if p.seg != nil {
			held = uint64(p.seg.weight(o.id))
		}
		if held > 0 {
			mass += held
			p.superseded = append(p.superseded, o.id)
		}
	}
	p.crowded = mass > row.total/4
	if !p.crowded || p.seg == nil {
		return p
	}
	p.filtered = true
	if old != nil {
		for _, q := range old.parts { // a table of a million pictures is not built again for each upload
			if q.name == p.name && q.filtered && slices.Equal(q.superseded, p.superseded) {
				return q
			}
		}
	}
	p.seg = p.seg.without(v.overridden)
	return p
}

// aim is where a try looks: a component, a height uniform below its total, and a column of its table.
type aim struct {
	component      int // as in ends
	height, column uint64
}

// aim chooses where to look, and has what is there brought nearer. The total must not be 0.
func (v *view) aim(rnd Source) aim {
	a := aim{height: below(rnd, v.total)}
	a.component = sort.Search(len(v.ends), func(i int) bool { return v.ends[i] > a.height })
	seg := v.recent
	if a.component > 0 {
		p := &v.parts[a.component-1]
		a.height -= v.ends[a.component-1]
		if seg = p.seg; seg == nil { // to be read from the store
			a.column = below(rnd, uint64(p.n))
			return a
		}
	}
	a.column = below(rnd, uint64(len(seg.recs)))
	prefetch(&seg.recs[a.column])
	return a
}

// drawFrom makes one try. A next view means: try again, with that one.
func (x *Index) drawFrom(ctx context.Context, v *view, a aim) (pick *rec, next *view, err error) {
	if a.component == 0 {
		return v.recent.at(a.column, a.height), nil, nil
	}
	p := &v.parts[a.component-1]
	switch {
	case p.filtered:
		return p.seg.at(a.column, a.height), nil, nil
	case p.seg != nil:
		pick = p.seg.at(a.column, a.height)
	case p.crowded:
		if err := x.load(ctx, p.row); err != nil {
			return nil, nil, err
		}
		next := x.newView(v.root, v.etag, v.sent)
		x.publish(next)
		return nil, next, nil
	default:
		if err := x.cache.damage(p.name); err != nil {
			return nil, nil, err
		}
		if pick, err = x.remoteAt(ctx, p.row, a.column, a.height); err != nil {
			return nil, nil, err
		}
		x.loadSoon(p.row)
	}
	if len(p.superseded) > 0 {
		if _, superseded := v.overridden[pick.id]; superseded {
			return nil, v, nil
		}
	}
	return pick, nil, nil
}

// cache is the segments that are in memory.
type cache struct {
	loads    parallel.Shared[*segment]
	mu       sync.Mutex
	segments map[uint64]*segment
	left     int64            // of the budget, in bytes
	damaged  map[uint64]error // why a segment could not be read as a whole: drawing single records of it would not notice
	loading  bool             // behind the draws
	notUntil time.Time
}

func memoryOf(r row) int64 { return int64(r.n) * recBytes }

// get returns nil for what is not in memory.
func (c *cache) get(name uint64) *segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.segments[name]
}

func (c *cache) put(r row, s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.segments[r.name] == nil {
		c.segments[r.name] = s
		c.left -= memoryOf(r)
	}
}

func (c *cache) damage(name uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.damaged[name]
}

func (c *cache) setDamage(name uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.damaged[name] = err
}

// grown says whether a segment has come into memory that the view does not use yet.
func (c *cache) grown(v *view) bool {
	return slices.ContainsFunc(v.parts, func(p part) bool { return p.seg == nil && c.get(p.name) != nil })
}

// keep drops all but the segments of a root.
func (c *cache) keep(r *root) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.segments)+len(c.damaged) == 0 {
		return
	}
	listed := make(map[uint64]bool, len(r.rows))
	for _, row := range r.rows {
		listed[row.name] = true
	}
	for name, s := range c.segments {
		if !listed[name] {
			delete(c.segments, name)
			c.left += int64(len(s.recs)) * recBytes
		}
	}
	maps.DeleteFunc(c.damaged, func(name uint64, _ error) bool { return !listed[name] })
}

// begin says whether to read a segment behind the draws: one at a time, as long as the budget lasts.
func (c *cache) begin(r row, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < memoryOf(r) || c.segments[r.name] != nil || c.loading || now.Before(c.notUntil) {
		return false
	}
	c.loading = true
	return true
}

func (c *cache) end(notUntil time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loading, c.notUntil = false, notUntil
}

// loadSoon brings a segment into memory behind the draws.
func (x *Index) loadSoon(r row) {
	if !x.cache.begin(r, x.now()) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var notUntil time.Time
		if err := x.load(ctx, r); err != nil {
			x.log.WarnContext(ctx, "segment not loaded: draws go on by ranged reads", "label", x.label, "error", err)
			notUntil = x.now().Add(10 * time.Second)
		}
		x.cache.end(notUntil)
		if v := x.view.Load(); v != nil {
			x.publish(x.newView(v.root, v.etag, v.sent))
		}
	}()
}

// load reads a whole segment into memory. A crowd reads it once.
func (x *Index) load(ctx context.Context, r row) error {
	_, err := x.cache.loads.Do(ctx, strconv.FormatUint(r.name, 16), maxShared, func(ctx context.Context) (*segment, error) {
		if s := x.cache.get(r.name); s != nil {
			return s, nil
		}
		o, err := x.store.Get(ctx, x.segmentKey(r.name), "")
		if err != nil {
			return nil, advise(err)
		}
		s, err := decodeSegment(o.Body, r)
		if err = advise(err); err != nil {
			x.cache.setDamage(r.name, err)
			return nil, err
		}
		x.cache.put(r, s)
		return s, nil
	})
	return err
}
