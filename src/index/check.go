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
		base, err := x.readRoot(ctx, nil, x.now())
		if err != nil {
			return err
		}
		err = x.checkRoot(ctx, base.root, &done, repair, report, progress)
		if !errors.Is(err, blob.ErrNotFound) || base.version == version {
			return err
		}
		version = base.version // a merge has replaced a segment, perhaps: go on by the root that lists its successor
	}
}

// checkRoot compares a root with the truth, from one picture on.
func (x *Index) checkRoot(ctx context.Context, r *root, done *pet.ID, repair bool, report func(Fault), progress func(int)) error {
	sources := append(segmentsOf(ctx, x, r.rows, *done), tailOf(r.tail), overridesOf(r.overrides), x.truths(ctx, *done, progress))
	for group, err := range joined(sources...) {
		if err != nil {
			return err
		}
		if compare(group[0].id, *done) <= 0 {
			continue
		}
		said, copies := massOf(group)
		truth := group[len(group)-1]
		if truth.by != byTruth { // the index alone knows of it
			truth = claim{}
		}
		if truth.bad || uint64(truth.weight) != said || copies > 1 {
			if err := x.settle(ctx, group[0].id, repair, report); err != nil {
				return err
			}
		}
		*done = group[0].id
	}
	return nil
}

// massOf is what a root says of a picture, and in how many places.
func massOf(group []claim) (mass uint64, copies int) {
	for _, c := range group {
		switch c.by {
		case byOverride: // speaks for all copies
			return uint64(c.weight), 1
		case bySegment, byTail:
			mass, copies = mass+uint64(c.weight), copies+1
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
	if errLook != nil && !gone(errLook) {
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
		touch := func() error { _, err := x.announce(ctx, note{id: id}); return err }
		if err := mend(what, touch); err != nil {
			return err
		}
	}
	if !errors.Is(errLook, ErrRemoved) && !errors.Is(errLook, ErrBlocked) {
		return nil
	}
	_, err = x.photos.Head(ctx, pet.Key(x.label, id))
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return mend("its removal was not finished: the bytes are still there", func() error { return x.again(ctx, id) })
}

// saidOf is massOf by the present root.
func (x *Index) saidOf(ctx context.Context, id pet.ID) (mass uint64, copies int, err error) {
	v, err := x.readRoot(ctx, nil, x.now())
	if err != nil {
		return 0, 0, err
	}
	if i, there := findOverride(v.overrides, id); there {
		return uint64(v.overrides[i].weight), 1, nil
	}
	h, copies, err := x.heldIn(ctx, v.rows, id)
	mass = uint64(h.old)
	if i, there := findWeighted(v.tail, id); there {
		mass, copies = mass+uint64(v.tail[i].weight), copies+1
	}
	return mass, copies, err
}

// truths yields the pictures of the photos bucket, from one on: photos and verdicts are listed beside each other, and what no list tells is read for
// a page of them at a time.
func (x *Index) truths(ctx context.Context, from pet.ID, progress func(pictures int)) claims {
	return func(yield func(claim, error) bool) {
		type listing struct{ photo, verdict bool }
		var page []claim
		var found []listing
		flush := func() bool {
			err := each(len(page), 64, func(i int) error { return x.fill(ctx, &page[i], found[i].photo, found[i].verdict) })
			if err != nil {
				yield(claim{}, err)
				return false
			}
			for _, c := range page {
				if !yield(c, nil) {
					return false
				}
			}
			progress(len(page))
			page, found = page[:0], found[:0]
			return true
		}
		for group, err := range joined(x.listed(ctx, x.photosPrefix(), byPhoto, from), x.listed(ctx, x.verdictsPrefix(), byVerdict, from)) {
			if err != nil {
				yield(claim{}, err)
				return
			}
			page = append(page, claim{weighted: group[0].weighted, by: byTruth, at: group[0].at})
			found = append(found, listing{group[0].by == byPhoto, group[len(group)-1].by == byVerdict})
			if len(page) == 1000 && !flush() {
				return
			}
		}
		flush()
	}
}

// fill reads a listed picture's weight.
func (x *Index) fill(ctx context.Context, c *claim, photo, verdict bool) error {
	if verdict {
		p, err := x.Look(ctx, c.id)
		if errors.Is(err, ErrNewer) { // what it says is not known, and must not be left out
			return err
		}
		c.weight = p.Weight
		c.bad = errors.Is(err, ErrFormat) || photo && (errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked))
		if gone(err) || c.bad {
			return nil
		}
		return err
	}
	head, err := x.photos.Head(ctx, pet.Key(x.label, c.id))
	if errors.Is(err, blob.ErrNotFound) { // removed since it was listed
		return nil
	}
	if err != nil {
		return err
	}
	p, err := pictureOf(x.label, c.id, head)
	c.weight, c.bad = p.Weight, err != nil
	return nil
}

// clocks is how far apart the clocks of processes and of the store may be, and then some.
const clocks = time.Minute

// Reindex makes the index of the label anew from the truth, whatever is left of the old one. The label can be drawn from all the time,
// and changes go on: what changed after it was read is looked at again when the new index is in place. Pictures whose truth cannot be
// read are reported and left out.
func (x *Index) Reindex(ctx context.Context, report func(Fault), progress func(pictures int)) error {
	since := x.now().Add(-clocks)
	if _, err := x.readRoot(ctx, nil, x.now()); errors.Is(err, ErrNewer) {
		return err
	}
	made, err := x.rebuild(ctx, since, report, progress)
	if err != nil {
		return err
	}
	for {
		err := x.install(ctx, made, since)
		if err == nil {
			return x.touchSince(ctx, since, made.young)
		}
		if !errors.Is(err, errBeaten) {
			return err
		}
		if err := x.pause(ctx, retryPause); err != nil {
			return err
		}
	}
}

// rebuilt is the whole truth in segments.
type rebuilt struct {
	rows     []row
	young    map[pet.ID]bool // the photos in them that were written since the rebuild began, about
	youngest time.Time       // when the last of all was
}

// rebuild writes segments of all photos that have a weight.
func (x *Index) rebuild(ctx context.Context, since time.Time, report func(Fault), progress func(pictures int)) (made rebuilt, err error) {
	out := &packer{x: x, limit: x.limits.segment}
	made.young = map[pet.ID]bool{}
	for c, err := range x.truths(ctx, pet.ID{}, progress) {
		if err != nil {
			return made, err
		}
		if c.bad {
			if _, err := x.Look(ctx, c.id); errors.Is(err, ErrFormat) {
				report(Fault{ID: c.id, What: err.Error()})
			}
			continue
		}
		if c.weight > 0 && c.at.After(made.youngest) {
			made.youngest = c.at
		}
		if c.weight > 0 && !c.at.Before(since) {
			made.young[c.id] = true
		}
		if err := out.add(ctx, c.weighted); err != nil {
			return made, err
		}
	}
	err = out.flush(ctx)
	made.rows = out.rows
	return made, err
}

// install swaps in a root of the new segments, with the old one's tail less what is in them. A picture that was decided on since gets an
// override: its removal may have been folded, and acknowledged, already.
func (x *Index) install(ctx context.Context, made rebuilt, since time.Time) error {
	rows := made.rows
	cur, err := x.readRoot(ctx, nil, x.now())
	if errors.Is(err, ErrFormat) && !errors.Is(err, ErrNewer) { // what cannot be read is replaced: that is what reindex is for
		cur.root, err = &root{}, nil
	}
	if err != nil {
		return err
	}
	changed, err := x.writtenSince(ctx, x.verdictsPrefix(), since)
	if err != nil {
		return err
	}
	if len(changed) > x.limits.overrides {
		return fmt.Errorf("index of %s: %d pictures were changed meanwhile: %w: run it again", x.label, len(changed), ErrBusy)
	}
	// A rebuild that took longer than collectAge may have lost segments to upkeep.
	err = each(len(rows), 64, func(i int) error { _, err := x.store.Head(ctx, x.segmentKey(rows[i].name)); return err })
	if err != nil {
		return err
	}
	// Versions only grow, also where the old root is gone and its version with it.
	next := &root{version: max(cur.version+1, uint64(x.now().UnixMilli())), epoch: cur.epoch + 1, rows: rows, at: cur.at, crowd: cur.crowd}
	if !made.youngest.IsZero() { // after the date of any photo that is in the rows: a listing has whole seconds
		next.reindexed = uint64(made.youngest.Add(2 * time.Second).UnixMilli())
	}
	there, found := make([]held, len(cur.tail)), make([]finding, len(changed))
	err = errors.Join(
		each(len(there), 64, func(i int) (err error) { there[i], _, err = x.heldIn(ctx, rows, cur.tail[i].id); return err }),
		each(len(found), 64, func(i int) error { found[i] = x.examineOne(ctx, next, changed[i]); return found[i].err }))
	if err != nil {
		return err
	}
	for i, w := range cur.tail {
		if there[i].old == 0 {
			next.setTail(w)
		}
	}
	for i, f := range found {
		next.setOverride(override{weighted{changed[i], f.weight}, f.held, uint64(x.now().UnixMilli())})
	}
	return x.commit(ctx, cur, next)
}

// touchSince journals what was uploaded since and is not in the new segments: the old root may have had it in one of its own.
func (x *Index) touchSince(ctx context.Context, since time.Time, indexed map[pet.ID]bool) error {
	young, err := x.writtenSince(ctx, x.photosPrefix(), since)
	if err != nil {
		return err
	}
	young = slices.DeleteFunc(young, func(id pet.ID) bool { return indexed[id] })
	err = each(len(young), 64, func(i int) error { _, err := x.post(ctx, note{id: young[i]}); return err })
	if err != nil {
		return err
	}
	return x.sweep(ctx)
}

// writtenSince are the pictures under a prefix of the photos bucket that are not older.
func (x *Index) writtenSince(ctx context.Context, prefix string, since time.Time) (ids []pet.ID, err error) {
	for c, err := range x.listed(ctx, prefix, byPhoto, pet.ID{}) {
		if err != nil {
			return nil, err
		}
		if !c.at.Before(since) {
			ids = append(ids, c.id)
		}
	}
	return ids, nil
}
