package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"petpick/src/blob"
	"petpick/src/pet"
)

const (
	// lateAdd: an ADD that landed this long after its photo was written may have been overtaken by a removal, and counts as a
	// TOUCH. Overrides are kept for absorbAge, which is longer: a removal's tombstone still meets every ADD that is younger.
	// maxTouched pictures are looked at in one fold: each costs two or more calls, and a fold must end within a handler's time.
	maxTouched    = 512
	examineBudget = 2 * time.Second
	lateAdd       = 30 * time.Second
	absorbAge     = 60 * time.Second
)

// errBeaten: another process swapped the root first, or nobody knows. Everything is read again.
var errBeaten = errors.New("the root was swapped by another")

// fold brings the journal into the root, once. The order makes it safe beside any other folder, merge or writer of truth: the root
// is read first, then the journal, then the truth of what was touched; the swap fails if the root moved in between. Keys are deleted
// only after the swap: a crash before that leaves them, and to fold them again changes nothing.
//
// It returns the keys that the root holds now. errBeaten asks for another try.
func (x *Index) fold(ctx context.Context) ([]string, error) {
	base, err := x.load(ctx, x.view.Load(), x.now())
	if err != nil {
		return nil, err
	}
	notes, complete, err := x.readJournal(ctx)
	if err != nil || len(notes) == 0 {
		return nil, err
	}
	next, applied, err := x.apply(ctx, base.root, notes)
	if err != nil {
		return nil, err
	}
	if err := x.spill(ctx, next, notes, complete); err != nil {
		return nil, err
	}
	if err := x.commit(ctx, base, next); err != nil {
		return nil, err
	}
	if err := x.store.DeleteMany(ctx, applied); err != nil {
		x.log.WarnContext(ctx, "journal entries not deleted: they will be folded again, to no effect", "label", x.label, "error", err)
	}
	return applied, nil
}

// apply makes the next root of a root and the journal. Entries whose truth cannot be read are left for later.
func (x *Index) apply(ctx context.Context, base *root, notes []note) (*root, []string, error) {
	next := base.next()
	byID := map[pet.ID][]note{}
	for _, n := range notes {
		byID[n.id] = append(byID[n.id], n)
	}
	var touched []pet.ID
	var applied []string
	for id, group := range byID {
		if !isPlainAdd(base, group) {
			touched = append(touched, id)
			continue
		}
		// Nothing if it is there: an entry whose deletion failed comes again.
		if n := group[0]; n.weight > 0 {
			if _, there := findWeighted(next.tail, id); !there {
				next.setTail(weighted{id, n.weight})
			}
		}
		applied = append(applied, group[0].key)
	}
	slices.SortFunc(touched, compare) // the same work in the same order: a run can be repeated
	if len(touched) > maxTouched {
		x.rnd.Shuffle(len(touched), func(i, j int) { touched[i], touched[j] = touched[j], touched[i] }) // nobody is always the last
		touched = touched[:maxTouched]
	}
	found, err := x.examine(ctx, base, touched)
	if err != nil {
		return nil, nil, err
	}
	now := uint64(x.now().UnixMilli())
	for i, id := range touched {
		if f := found[i]; f.err != nil {
			x.log.WarnContext(ctx, "entry left in the journal", "label", x.label, "id", id.String(), "error", f.err)
			continue
		} else if !f.same {
			_, known := findOverride(next.overrides, id)
			if !known && len(next.overrides) >= x.limits.overrides {
				x.log.WarnContext(ctx, "entry left in the journal: overrides are full until the next merge", "label", x.label, "id", id.String())
				continue
			}
			next.dropTail(id)
			next.setOverride(override{weighted{id, f.weight}, f.old, now})
		}
		for _, n := range byID[id] {
			applied = append(applied, n.key)
		}
	}
	slices.Sort(applied)
	return next, applied, nil
}

// isPlainAdd: a single ADD, in time, of a picture that no override speaks of. Everything else is a reason to look at the truth.
func isPlainAdd(base *root, group []note) bool {
	_, overridden := findOverride(base.overrides, group[0].id)
	n := group[0]
	return len(group) == 1 && n.add && !overridden && n.landed.Sub(n.date) <= lateAdd
}

// finding is the truth of a picture beside what the root says.
type finding struct {
	weight pet.Weight
	old    uint32 // its mass in segments
	same   bool   // the root says so already, and by an entry that no ADD can still double
	err    error
}

// examine reads the truth of pictures, after the root was read.
func (x *Index) examine(ctx context.Context, base *root, ids []pet.ID) ([]finding, error) {
	found := make([]finding, len(ids))
	// What cannot be examined in time is left for the next fold: new pictures do not wait for it.
	within, cancel := context.WithTimeout(ctx, examineBudget)
	defer cancel()
	each(len(ids), 64, func(i int) { found[i] = x.examineOne(within, base, ids[i]) })
	return found, ctx.Err()
}

func (x *Index) examineOne(ctx context.Context, base *root, id pet.ID) (f finding) {
	if f.weight, f.err = x.weigh(ctx, id); f.err != nil {
		return f
	}
	if i, there := findOverride(base.overrides, id); there {
		o := base.overrides[i]
		f.old = o.old
		// Its age counts from the last time that it was needed: a young one guards against an ADD that is still on its way.
		return f
	}
	if f.old, f.err = x.massIn(ctx, base.rows, id); f.err != nil {
		return f
	}
	// A picture comes into the tail, and from there into a segment, by its ADD, which comes once. If it is there with the right
	// weight, nothing is left to do. If it is nowhere, its ADD may still land: an override meets it.
	i, inTail := findWeighted(base.tail, id)
	switch {
	case inTail:
		f.same = f.old == 0 && base.tail[i].weight == f.weight
	case f.old > 0:
		f.same = f.old == uint32(f.weight)
	}
	return f
}

// spill moves the tail into a segment when it is over its limit: only pictures without an entry in the journal, which was read
// whole. One whose entry is folded again must still be found in the tail.
func (x *Index) spill(ctx context.Context, next *root, notes []note, complete bool) error {
	if len(next.tail) <= x.limits.tail || len(next.rows) >= maxSegments {
		return nil
	}
	noted := make(map[pet.ID]bool, len(notes))
	if !complete {
		var err error
		if noted, err = x.notedIDs(ctx); err != nil {
			return err
		}
	}
	for _, n := range notes {
		noted[n.id] = true
	}
	var out, kept []weighted
	for _, w := range next.tail {
		if noted[w.id] {
			kept = append(kept, w)
		} else {
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		return nil
	}
	row, err := x.putSegment(ctx, segmentOf(out))
	if err != nil {
		return err
	}
	next.rows, next.tail = append(next.rows, row), kept
	return nil
}

// commit swaps the root from base to next and publishes it; errBeaten when another was first. It swaps even when nothing changed:
// another folder may have read an older truth, and be about to write it over the same base. Only a swap makes its own fail.
func (x *Index) commit(ctx context.Context, base *view, next *root) error {
	if len(next.tail) > hardTail || len(next.rows) > maxSegments || len(next.overrides) > maxOverrides { // nobody could read it
		return fmt.Errorf("index of %s: the root is full until the next merge: %w", x.label, ErrBusy)
	}
	sent := x.now()
	// The nonce keeps two roots with equal contents from sharing an ETag: a swap from the first would succeed on the second.
	body := next.encode(x.rnd.Uint64())
	var info blob.Info
	var err error
	if base.etag == "" {
		info, err = x.store.Create(ctx, x.rootKey(), body, blob.Attr{Once: true})
	} else {
		info, err = x.store.Swap(ctx, x.rootKey(), base.etag, body, blob.Attr{Once: true})
	}
	switch {
	case err == nil:
		x.publish(x.newView(next, info.ETag, sent))
		return nil
	case ctx.Err() == nil && lost(err):
		return errBeaten
	}
	return err
}

// pause lets a crowd spread out; ErrBusy when the time is up.
func (x *Index) pause(ctx context.Context) error {
	t := time.NewTimer(time.Duration(x.rnd.Int64N(int64(40 * time.Millisecond))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("index of %s: %w: %w", x.label, ErrBusy, ctx.Err())
	}
}

// each calls f(0) … f(n-1), at most wide at a time.
func each(n, wide int, f func(int)) {
	slots := make(chan struct{}, wide)
	for i := range n {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			f(i)
		}()
	}
	for range wide {
		slots <- struct{}{}
	}
}
