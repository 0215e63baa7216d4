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
	"petpick/src/sorted"
	"petpick/src/truth"
)

// Fault is a picture of which index and truth say different things, or that is half removed.
type Fault struct {
	ID pet.ID
	// What is said for people: what is wrong, and with which weights.
	What string
	// Repaired says that it was mended.
	Repaired bool
}

// Check compares the whole index of the label with the truth, picture by picture in the order of ids, in memory that does not grow
// with their number. What looks wrong is looked at again by itself, since both may have changed meanwhile. With repair every
// fault is mended by a TOUCH, and bytes of removed pictures are deleted: the same ways that every change takes, and as safe beside
// others. report is called for each fault, progress for every so many pictures.
func (x *Index) Check(ctx context.Context, repair bool, report func(Fault), progress func(pictures int)) error {
	if err := x.sweep(ctx); err != nil { // what the journal still holds is no fault
		return err
	}
	var done pet.ID // up to here
	for version := uint64(0); ; {
		base, err := x.reader.Read(ctx, nil, x.now())
		if err != nil {
			return err
		}
		err = x.checkRoot(ctx, base.Root, &done, repair, report, progress)
		if !errors.Is(err, blob.ErrNotFound) || base.Version == version {
			return err
		}
		version = base.Version // a merge has replaced a segment, perhaps: go on by the root that lists its successor
	}
}

// checkRoot compares a root with the truth, from one picture on.
func (x *Index) checkRoot(ctx context.Context, r *root.Root, done *pet.ID, repair bool, report func(Fault), progress func(int)) error {
	sources := append(x.segmentsOf(ctx, r.Rows, *done), tailOf(r.Tail), overridesOf(r.Overrides), x.told(ctx, *done, progress))
	for group, err := range sorted.Groups(compareClaims, sources...) {
		if err != nil {
			return err
		}
		if pet.Compare(group[0].ID, *done) <= 0 {
			continue
		}
		said, copies := massOf(group)
		told := group[len(group)-1]
		if told.by != byTruth { // the index alone knows of it
			told = claim{}
		}
		if told.bad || uint64(told.Weight) != said || copies > 1 {
			if err := x.settle(ctx, group[0].ID, repair, report); err != nil {
				return err
			}
		}
		*done = group[0].ID
	}
	return nil
}

// massOf is what a root says of a picture, and in how many places.
func massOf(group []claim) (mass uint64, copies int) {
	for _, c := range group {
		switch c.by {
		case byOverride: // speaks for all copies
			return uint64(c.Weight), 1
		case bySegment, byTail:
			mass, copies = mass+uint64(c.Weight), copies+1
		}
	}
	return mass, copies
}

// settle looks at one picture by itself.
func (x *Index) settle(ctx context.Context, id pet.ID, repair bool, report func(Fault)) error {
	pic, errLook := x.Look(ctx, id)
	if errors.Is(errLook, ErrFormat) && !errors.Is(errLook, ErrNewer) { // nothing that could be right is known: a person must look
		report(Fault{ID: id, What: errLook.Error()})
		return nil
	}
	if errLook != nil && !truth.Gone(errLook) {
		return errLook
	}
	mend := func(what string, how func() error) (err error) {
		if repair {
			err = how()
		}
		report(Fault{ID: id, What: what, Repaired: repair && err == nil})
		return err
	}
	said, copies, err := x.saidOf(ctx, id)
	if err != nil {
		return err
	}
	if said != uint64(pic.Weight) || copies > 1 {
		what := fmt.Sprintf("the index says %s in %d places, the truth %s", pet.Thousandths(said), copies, pic.Weight)
		touch := func() error { _, err := x.announce(ctx, journal.Note{ID: id}); return err }
		if err := mend(what, touch); err != nil {
			return err
		}
	}
	if !errors.Is(errLook, ErrRemoved) && !errors.Is(errLook, ErrBlocked) {
		return nil
	}
	if there, err := x.truth.HasPhoto(ctx, id); err != nil || !there {
		return err
	}
	return mend("its removal was not finished: the bytes are still there", func() error {
		if err := x.again(ctx, id); !errors.Is(err, errNotRemoved) {
			return err
		}
		return nil
	})
}

// saidOf is massOf by the present root.
func (x *Index) saidOf(ctx context.Context, id pet.ID) (mass uint64, copies int, err error) {
	v, err := x.reader.Read(ctx, nil, x.now())
	if err != nil {
		return 0, 0, err
	}
	if i, there := root.FindOverride(v.Overrides, id); there {
		return uint64(v.Overrides[i].Weight), 1, nil
	}
	h, copies, err := x.heldIn(ctx, v.Rows, id)
	mass = uint64(h.Old)
	if i, there := root.Find(v.Tail, id); there {
		mass, copies = mass+uint64(v.Tail[i].Weight), copies+1
	}
	return mass, copies, err
}

const (
	// clocks is how far apart the clocks of processes and of the store may be, and then some.
	clocks = time.Minute
	// maxCarried is how many pictures a reindex looks at between reading the root and swapping it: uploads that go on would swap it first.
	maxCarried = 256
	// maxPasses over what was uploaded meanwhile, to write more segments of it.
	maxPasses = 8
)

// rebuilt is the whole truth in segments.
type rebuilt struct {
	began time.Time
	since time.Time // that is, about
	rows  []segment.Row
	// indexed are those pictures in the rows that may also be in the tail of a root: what was there before, and what is younger than since.
	indexed  map[pet.ID]bool
	youngest time.Time // when the last photo in the rows was written
}

// Reindex makes the index of the label anew from the truth, whatever is left of the old one. The label can be drawn from all the time,
// and changes go on. Pictures whose truth cannot be read are reported and left out.
func (x *Index) Reindex(ctx context.Context, report func(Fault), progress func(pictures int)) error {
	base, err := x.readable(ctx)
	if err != nil {
		return err
	}
	made, err := x.rebuild(ctx, base.Root, report, progress)
	if err != nil {
		return err
	}
	for pass := 0; ; pass++ {
		seen, err := x.readable(ctx)
		if err != nil {
			return err
		}
		decided, uploaded, err := x.changedSince(ctx, made)
		if err != nil {
			return err
		}
		most := min(maxCarried, x.limits.overrides/2)
		if len(uploaded) > most && pass < maxPasses { // each has less to do than the one before it
			if err := x.extend(ctx, &made, uploaded); err != nil {
				return err
			}
			continue
		}
		changed := decided
		if len(uploaded) <= most {
			changed, uploaded = append(changed, uploaded...), nil
		}
		err = x.install(ctx, made, seen, changed)
		for errors.Is(err, errBeaten) && x.now().Sub(seen.Sent) < absorbAge/2 {
			if err := x.pause(ctx, retryPause); err != nil {
				return err
			}
			err = x.install(ctx, made, seen, changed)
		}
		switch {
		case err == nil:
			return x.touch(ctx, uploaded)
		case !errors.Is(err, errBeaten) && !errors.Is(err, errMerged):
			return err
		} // else it looks again at what has changed
	}
}

// errMerged: a merge was here, and may have absorbed a change.
var errMerged = errors.New("segments were merged meanwhile")

// readable is the root, or an empty one in place of one that is damaged: that is what reindex is for.
func (x *Index) readable(ctx context.Context) (*view.View, error) {
	v, err := x.reader.Read(ctx, nil, x.now())
	if errors.Is(err, ErrFormat) && !errors.Is(err, ErrNewer) {
		v.Root, err = &root.Root{}, nil
	}
	return v, err
}

// rebuild writes segments of all photos that have a weight.
func (x *Index) rebuild(ctx context.Context, base *root.Root, report func(Fault), progress func(pictures int)) (made rebuilt, err error) {
	made.began, made.indexed = x.now(), map[pet.ID]bool{}
	made.since = made.began.Add(-clocks)
	out := x.segments.Writer(x.limits.segment)
	for w, err := range x.truth.All(ctx, pet.ID{}, progress) {
		if err != nil {
			return made, err
		}
		if w.Bad {
			if _, err := x.Look(ctx, w.ID); errors.Is(err, ErrFormat) {
				report(Fault{ID: w.ID, What: err.Error()})
			}
			continue
		}
		if w.Weight == 0 {
			continue
		}
		if w.At.After(made.youngest) {
			made.youngest = w.At
		}
		if _, inTail := root.Find(base.Tail, w.ID); inTail || !w.At.Before(made.since) {
			made.indexed[w.ID] = true
		}
		if err := out.Add(ctx, segment.Entry{ID: w.ID, Weight: w.Weight}); err != nil {
			return made, err
		}
	}
	made.rows, err = out.Close(ctx)
	return made, err
}

// extend writes a segment of pictures that were uploaded meanwhile.
func (x *Index) extend(ctx context.Context, made *rebuilt, uploaded []pet.ID) error {
	page := make([]claim, len(uploaded))
	err := parallel.Each(len(page), 64, func(i int) (err error) {
		page[i].ID = uploaded[i]
		page[i].Weight, err = x.truth.Weigh(ctx, uploaded[i])
		return err
	})
	if err != nil {
		return err
	}
	out := x.segments.Writer(x.limits.segment)
	for _, c := range page {
		made.indexed[c.ID] = true
		if err := out.Add(ctx, c.Entry); err != nil {
			return err
		}
	}
	rows, err := out.Close(ctx)
	if err != nil {
		return err
	}
	made.rows = append(made.rows, rows...)
	made.youngest = x.now().Add(clocks)
	return nil
}

// changedSince are the pictures that were decided on since the rebuild began, and those uploaded since that are not in its segments.
func (x *Index) changedSince(ctx context.Context, made rebuilt) (decided, uploaded []pet.ID, err error) {
	for c, err := range x.truth.Verdicts(ctx, pet.ID{}) {
		if err != nil {
			return nil, nil, err
		}
		if !c.At.Before(made.since) {
			decided = append(decided, c.ID)
		}
	}
	for c, err := range x.truth.Photos(ctx, pet.ID{}) {
		if err != nil {
			return nil, nil, err
		}
		if !c.At.Before(made.since) && !made.indexed[c.ID] {
			uploaded = append(uploaded, c.ID)
		}
	}
	// A rebuild that took longer than collectAge may have lost segments to upkeep.
	return decided, uploaded, parallel.Each(len(made.rows), 64, func(i int) error { return x.segments.Exists(ctx, made.rows[i]) })
}

// install swaps in a root of the new segments, and of what the present one has of later changes: its tail less what is in the segments, and
// by looking again at what has changed since the rebuild began, was overridden lately, or spilled since the root was seen.
func (x *Index) install(ctx context.Context, made rebuilt, seen *view.View, changed []pet.ID) error {
	if x.now().Sub(made.began) > collectAge-time.Hour {
		return fmt.Errorf("index of %s: reading the pictures took so long that upkeep may delete what was made of them: stop upkeep meanwhile", x.label)
	}
	cur, err := x.readable(ctx)
	if err != nil {
		return err
	}
	ids, err := x.carried(ctx, cur.Root, seen, changed)
	if err != nil {
		return err
	}
	// Versions only grow, also where the old root is gone and its version with it.
	next := &root.Root{Version: max(cur.Version+1, uint64(x.now().UnixMilli())), Epoch: cur.Epoch + 1, Rows: made.rows, At: cur.At, Crowd: cur.Crowd}
	if !made.youngest.IsZero() { // after the date of any photo that is in the rows: its PUT may have taken long
		next.Reindexed = uint64(made.youngest.Add(lateAdd).UnixMilli())
	}
	for _, w := range cur.Tail {
		if !made.indexed[w.ID] {
			next.SetTail(w)
		}
	}
	found := make([]finding, len(ids))
	err = parallel.Each(len(ids), 64, func(i int) error { found[i] = x.examineOne(ctx, next, ids[i]); return found[i].err })
	if err != nil {
		return err
	}
	for i, f := range found {
		if !f.same {
			next.SetOverride(root.Override{Entry: segment.Entry{ID: ids[i], Weight: f.weight}, Held: f.held, At: uint64(x.now().UnixMilli())})
		}
	}
	return x.commit(ctx, cur, next)
}

// carried are the pictures that install looks at; errMerged when a merge was here since the root was seen. Of uploads there may be too
// many: they are touched afterwards.
func (x *Index) carried(ctx context.Context, cur *root.Root, seen *view.View, changed []pet.ID) ([]pet.ID, error) {
	for _, r := range seen.Rows {
		if !slices.Contains(cur.Rows, r) {
			return nil, errMerged
		}
	}
	ids := slices.Clone(changed)
	for _, o := range cur.Overrides {
		if o.At >= uint64(seen.Sent.Add(-clocks).UnixMilli()) {
			ids = append(ids, o.ID)
		}
	}
	for _, r := range cur.Rows {
		if slices.Contains(seen.Rows, r) || len(ids)+int(r.N) > maxCarried {
			continue
		}
		for p, err := range x.segments.Pictures(ctx, r, pet.ID{}) {
			if err != nil {
				return nil, err
			}
			ids = append(ids, p.ID)
		}
	}
	slices.SortFunc(ids, pet.Compare)
	ids = slices.Compact(ids)
	if len(ids) > x.limits.overrides {
		return nil, fmt.Errorf("index of %s: %d pictures were changed meanwhile: %w: run it again", x.label, len(ids), ErrBusy)
	}
	return ids, nil
}

// touch journals that pictures may have changed, and folds.
func (x *Index) touch(ctx context.Context, ids []pet.ID) error {
	err := parallel.Each(len(ids), 64, func(i int) error { _, err := x.journal.Post(ctx, journal.Note{ID: ids[i]}); return err })
	return errors.Join(err, x.sweep(ctx))
}
