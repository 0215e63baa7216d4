package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"petpick/src/blob"
	"petpick/src/index/journal"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/index/view"
	"petpick/src/parallel"
	"petpick/src/pet"
)

const (
	// maxTouched pictures are looked at in one fold, within examineBudget: each costs two or more calls, and a fold must end within a
	// handler's time. What is left waits for the next one; new pictures do not wait for it.
	maxTouched    = 512
	examineBudget = 2 * time.Second
	// lateAdd: an ADD that landed this long after its photo was written may have been overtaken by a removal, and counts as a
	// TOUCH. Overrides are kept for absorbAge, which is longer: a removal's tombstone still meets every ADD that is younger.
	lateAdd   = 30 * time.Second
	absorbAge = 60 * time.Second
	// retryPause is the most that a try waits for the next.
	retryPause = 40 * time.Millisecond
)

// errBeaten: another process swapped the root first, or nobody knows. Everything is read again.
var errBeaten = errors.New("the root was swapped by another")

// folded is what a fold has done: the root of this version holds these entries.
type folded struct {
	version uint64
	keys    map[string]bool
}

// foldShared folds once for all of this process who ask meanwhile: one fold carries everyone who waits.
func (x *Index) foldShared(ctx context.Context) (folded, error) {
	return x.folds.Do(ctx, "fold", maxShared, x.fold)
}

// fold brings the journal into the root, once. The order makes it safe beside any other folder, merge or writer of truth: the root
// is read first, then the journal, then the truth of what was touched; the swap fails if the root moved in between. Keys are deleted
// only after the swap: a crash before that leaves them, and to fold them again changes nothing. errBeaten asks for another try.
func (x *Index) fold(ctx context.Context) (f folded, err error) {
	base, err := x.reader.Read(ctx, x.reader.Current(), x.now())
	if err != nil {
		return folded{}, err
	}
	notes, complete, err := x.journal.Read(ctx)
	if err != nil {
		return folded{}, err
	}
	defer func() {
		if !errors.Is(err, errBeaten) { // who won may have folded them all
			x.counters.backlog.Store(uint64(len(notes) - len(f.keys)))
		}
	}()
	if len(notes) == 0 {
		return folded{}, nil
	}
	next, applied, err := x.apply(ctx, base.Root, notes)
	if err != nil {
		return folded{}, err
	}
	if err := x.spill(ctx, next, notes, complete); err != nil {
		return folded{}, err
	}
	next.Crowd, next.At = uint32(len(applied)), base.Sent
	x.counters.foldAttempts.Add(1)
	if err := x.commit(ctx, base, next); err != nil {
		if errors.Is(err, errBeaten) {
			x.counters.foldLosses.Add(1)
		}
		return folded{}, err
	}
	if err := x.store.DeleteMany(ctx, applied); err != nil {
		x.log.WarnContext(ctx, "journal entries not deleted: they will be folded again, to no effect", "label", x.label, "error", err)
	}
	f = folded{next.Version, make(map[string]bool, len(applied))}
	for _, key := range applied {
		f.keys[key] = true
	}
	return f, nil
}

// apply makes the next root of a root and the journal. Entries whose truth cannot be read are left for later.
func (x *Index) apply(ctx context.Context, base *root.Root, notes []journal.Note) (next *root.Root, applied []string, err error) {
	next = base.Next()
	byID := map[pet.ID][]journal.Note{}
	for _, n := range notes {
		byID[n.ID] = append(byID[n.ID], n)
	}
	var touched []pet.ID
	for id, group := range byID {
		if !isPlainAdd(base, group) || group[0].Date.UnixMilli() < int64(base.Reindexed) { // it may be in a segment
			touched = append(touched, id)
			continue
		}
		if n := group[0]; n.Weight > 0 { // one that was folded before, and not deleted, is there
			next.SetTail(segment.Entry{ID: id, Weight: n.Weight})
		}
		applied = append(applied, group[0].Key)
	}
	slices.SortFunc(touched, pet.Compare) // the same work in the same order: a run can be repeated
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
		if err := x.enter(base, next, byID[id], found[i], now); err != nil {
			x.log.WarnContext(ctx, "entry left in the journal", "label", x.label, "id", id.String(), "error", err)
			continue
		}
		for _, n := range byID[id] {
			applied = append(applied, n.Key)
		}
	}
	slices.Sort(applied)
	return next, applied, nil
}

// enter brings what was found of a picture into the next root.
func (x *Index) enter(base, next *root.Root, group []journal.Note, f finding, now uint64) error {
	entry := segment.Entry{ID: group[0].ID, Weight: f.weight}
	_, known := root.FindOverride(next.Overrides, entry.ID)
	switch {
	case f.err != nil || f.same:
		return f.err
	case f.held.Old == 0 && isPlainAdd(base, group) && f.weight == group[0].Weight && f.weight > 0:
		next.SetTail(entry)
	case !known && len(next.Overrides) >= x.limits.overrides:
		return errors.New("overrides are full until the next merge")
	default:
		next.SetOverride(root.Override{Entry: entry, Held: f.held, At: now})
	}
	return nil
}

// isPlainAdd: a single ADD, in time, of a picture that no override speaks of. Everything else is a reason to look at the truth.
func isPlainAdd(base *root.Root, group []journal.Note) bool {
	_, overridden := root.FindOverride(base.Overrides, group[0].ID)
	n := group[0]
	return len(group) == 1 && n.Add && !overridden && n.Landed.Sub(n.Date) <= lateAdd
}

// finding is the truth of a picture beside what the root says.
type finding struct {
	weight pet.Weight
	held   root.Held
	same   bool // the root says so already, and by an entry that no ADD can still double
	err    error
}

// examine reads the truth of pictures, after the root was read.
func (x *Index) examine(ctx context.Context, base *root.Root, ids []pet.ID) ([]finding, error) {
	found := make([]finding, len(ids))
	within, cancel := context.WithTimeout(ctx, examineBudget)
	defer cancel()
	// Few at a time where each costs many calls: some must be done when the time is up.
	wide := max(1, min(64, 512/max(1, len(base.Rows))))
	_ = parallel.Each(len(ids), wide, func(i int) error {
		if found[i].err = within.Err(); found[i].err == nil {
			found[i] = x.examineOne(within, base, ids[i])
		}
		return nil
	})
	return found, ctx.Err()
}

func (x *Index) examineOne(ctx context.Context, base *root.Root, id pet.ID) (f finding) {
	if i, there := root.FindOverride(base.Overrides, id); there {
		// Its age counts from the last time that it was needed: a young one guards against an ADD that is still on its way.
		f.held = base.Overrides[i].Held
		f.weight, f.err = x.truth.Weigh(ctx, id)
		return f
	}
	var copies int
	f.err = parallel.Each(2, 2, func(i int) (err error) {
		if i == 0 {
			f.weight, err = x.truth.Weigh(ctx, id)
			return err
		}
		f.held, copies, err = x.heldIn(ctx, base.Rows, id)
		return err
	})
	if f.err != nil {
		return f
	}
	// A picture comes into the tail, and from there into a segment, by its ADD, which comes once. If it is there with the right
	// weight, nothing is left to do. If it is nowhere, its ADD may still land: an override meets it.
	if i, inTail := root.Find(base.Tail, id); inTail {
		f.same = copies == 0 && base.Tail[i].Weight == f.weight
	} else {
		f.same = copies == 1 && f.held.Old == uint32(f.weight)
	}
	return f
}

// heldIn is what segments have of a picture, and how many of them.
func (x *Index) heldIn(ctx context.Context, rows []segment.Row, id pet.ID) (h root.Held, copies int, err error) {
	weights := make([]pet.Weight, len(rows))
	err = parallel.Each(len(rows), 64, func(i int) (err error) {
		if err = ctx.Err(); err == nil {
			weights[i], err = x.segments.Lookup(ctx, rows[i], id)
		}
		return err
	})
	for i, w := range weights {
		if w > 0 {
			h, copies = root.Held{Old: h.Old + uint32(w), In: rows[i].Name}, copies+1
		}
	}
	return h, copies, err
}

// spill moves the tail into a segment when it is over its limit: only pictures without an entry in the journal, which was read
// whole. One whose entry is folded again must still be found in the tail.
func (x *Index) spill(ctx context.Context, next *root.Root, notes []journal.Note, complete bool) (err error) {
	if len(next.Tail) <= x.limits.tail || len(next.Rows) >= root.MaxSegments {
		return nil
	}
	noted := map[pet.ID]bool{}
	if !complete {
		if noted, err = x.journal.IDs(ctx); err != nil {
			return err
		}
	}
	for _, n := range notes {
		noted[n.ID] = true
	}
	var kept []segment.Entry
	out := x.segments.Writer(len(next.Tail))
	for _, w := range next.Tail {
		if noted[w.ID] {
			kept = append(kept, w)
		} else if err := out.Add(ctx, w); err != nil {
			return err
		}
	}
	rows, err := out.Close(ctx)
	if err == nil {
		next.Rows, next.Tail = append(next.Rows, rows...), kept
	}
	return err
}

// commit swaps the root from base to next and publishes it; errBeaten when another was first. It swaps even when nothing changed:
// another folder may have read an older truth, and be about to write it over the same base. Only a swap makes its own fail.
func (x *Index) commit(ctx context.Context, base *view.View, next *root.Root) error {
	if len(next.Tail) > root.HardTail || len(next.Rows) > root.MaxSegments || len(next.Overrides) > root.MaxOverrides { // nobody could read it
		return fmt.Errorf("index of %s: the root is full until the next merge: %w", x.label, ErrBusy)
	}
	sent := x.now()
	// The nonce keeps two roots with equal contents from sharing an ETag: a swap from the first would succeed on the second.
	info, err := blob.Put(ctx, x.store, x.rootKey, base.ETag, next.Encode(x.rnd.Uint64()))
	switch {
	case err == nil:
		x.reader.Take(next, info.ETag, sent)
		return nil
	case ctx.Err() == nil && blob.Lost(err):
		return errBeaten
	}
	return err
}

// pause lets a crowd spread out: a random part of a time; ErrBusy when the caller's is up.
func (x *Index) pause(ctx context.Context, most time.Duration) error {
	if err := parallel.Pause(ctx, x.rnd, most); err != nil {
		return fmt.Errorf("index of %s: %w: %w", x.label, ErrBusy, err)
	}
	return nil
}
