package index

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"petpick/src/blob"
	"petpick/src/index/journal"
	"petpick/src/pet"
	"petpick/src/truth"
)

const (
	// intentAge: whoever wrote an older intent has ended. Handlers live for handlerTime.
	intentAge   = time.Minute
	handlerTime = 30 * time.Second
	deleteTries = 3
)

var errNotRemoved = errors.New("not removed")

func (x *Index) removalsPrefix() string { return "removals/" + string(x.label) + "/" }

// Remove takes a picture out of the draw, deletes its bytes, and has copies elsewhere dropped; with block it may not be uploaded again,
// and without, a block that there was is lifted. It may be repeated: each step that a crash left undone is done then. The intent is
// written before and deleted after all of it, so that upkeep finishes what nobody repeats.
func (x *Index) Remove(ctx context.Context, id pet.ID, block bool) (Result, error) {
	return x.RemoveIf(ctx, id, block, nil)
}

// RemoveIf is Remove of a picture of which a condition holds, ErrChanged of another, and of one that was removed: see SetIf.
func (x *Index) RemoveIf(ctx context.Context, id pet.ID, block bool, holds func(Picture) bool) (Result, error) {
	pic, err := x.Look(ctx, id)
	unreadable := errors.Is(err, ErrFormat)
	// A photo whose metadata cannot be read can be drawn, and so must be removable; a verdict that cannot be read stops the swap.
	if err != nil && !errors.Is(err, ErrRemoved) && !errors.Is(err, ErrBlocked) && !unreadable {
		return Result{}, err
	}
	state := truth.Removed
	if block {
		state = truth.Blocked
	}
	res := Result{Picture: pic}
	next := func(old truth.Verdict) (truth.Verdict, error) {
		known := pic.Under(old)
		if holds != nil && (unreadable || x.truth.Standing(id, old) != nil || !holds(known)) {
			return old, fmt.Errorf("%s/%s: %w", x.label, id, ErrChanged)
		}
		res.Before = described(old, known.Weight, unreadable)
		return truth.Verdict{State: state, When: x.now()}, nil
	}
	err = x.intending(ctx, id, func() (err error) {
		res.Version, err = x.remove(ctx, id, next)
		return err
	})
	return res, err
}

// described is what a verdict says of a picture, for people.
func described(v truth.Verdict, weight pet.Weight, unreadable bool) string {
	switch {
	case v.State == truth.Removed:
		return "removed"
	case v.State == truth.Blocked:
		return "blocked"
	case unreadable && v.State != truth.Live:
		return "unreadable"
	}
	return weight.String()
}

// intending writes an intent, which upkeep takes over when f does not come to its end.
func (x *Index) intending(ctx context.Context, id pet.ID, f func() error) error {
	intent := fmt.Sprintf("%s%s-%016x", x.removalsPrefix(), id, x.rnd.Uint64())
	if err := blob.Place(ctx, x.store, intent, nil); err != nil {
		return err
	}
	err := f()
	if err != nil && !errors.Is(err, ErrChanged) && !truth.Gone(err) { // what was kept from happening needs no end
		return err
	}
	if err := x.store.Delete(ctx, intent); err != nil {
		x.log.WarnContext(ctx, "an intent is left: upkeep does the change again, to no effect", "label", x.label, "error", err)
	}
	return err
}

// remove swaps the verdict even when it says "removed" already: an upload that read the old one must not find its swap succeed.
func (x *Index) remove(ctx context.Context, id pet.ID, next func(truth.Verdict) (truth.Verdict, error)) (uint64, error) {
	began := x.now()
	if err := x.truth.Decide(ctx, id, next); err != nil {
		return 0, err
	}
	version, err := x.announce(ctx, journal.Note{ID: id})
	if err != nil {
		return 0, err
	}
	return version, x.discard(ctx, id, began)
}

// discard deletes the bytes, and then their copies: one that is fetched in between is dropped, too. Not by a decision from before a
// process was frozen: the picture may have been uploaded again since, when truth.Rest was over.
func (x *Index) discard(ctx context.Context, id pet.ID, decided time.Time) error {
	if err := x.deleteBytes(ctx, id, decided); err != nil {
		return err
	}
	if err := x.forget(ctx, pet.Key(x.label, id)); err != nil {
		return fmt.Errorf("copies of %s/%s elsewhere: %w: %w", x.label, id, blob.ErrUnavailable, err)
	}
	return nil
}

// deleteBytes tries more than once, and looks at the clock each time: the store's own tries do not.
func (x *Index) deleteBytes(ctx context.Context, id pet.ID, decided time.Time) error {
	for try := 1; ; try++ {
		left := handlerTime - x.now().Sub(decided)
		if left <= 0 {
			return fmt.Errorf("%s/%s: the bytes were not deleted in time: %w", x.label, id, ErrBusy)
		}
		within, cancel := context.WithTimeout(ctx, left) // upkeep lives for longer
		err := x.truth.Delete(within, id)
		cancel()
		if err == nil || try == deleteTries || ctx.Err() != nil {
			return err
		}
		if errPause := x.pause(ctx, 100*time.Millisecond); errPause != nil {
			return err
		}
	}
}

// again does the rest of a change that was cut short. errNotRemoved says that it was one of weight, or had not begun, or that the picture is back.
func (x *Index) again(ctx context.Context, id pet.ID) error {
	_, err := x.remove(ctx, id, func(v truth.Verdict) (truth.Verdict, error) {
		if v.State != truth.Removed && v.State != truth.Blocked {
			return v, errNotRemoved
		}
		return truth.Verdict{State: v.State, When: x.now()}, nil
	})
	if errors.Is(err, errNotRemoved) {
		if _, errTouch := x.announce(ctx, journal.Note{ID: id}); errTouch != nil {
			return errTouch
		}
	}
	return err
}

// finishChanges does the rest of those that were cut short; one that fails does not hold up the others.
func (x *Index) finishChanges(ctx context.Context) error {
	var errs []error
	for o, err := range blob.All(ctx, x.store, x.removalsPrefix(), "") {
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(o.Key, x.removalsPrefix()), "-")
		id, err := pet.ParseID(name)
		if err != nil || x.now().Sub(o.Modified) < intentAge {
			continue
		}
		err = x.again(ctx, id)
		if errors.Is(err, errNotRemoved) {
			if x.now().Sub(o.Modified) < collectAge { // its process may be frozen, and decide yet; until then the picture is looked at each time
				continue
			}
			err = nil
		}
		if err == nil {
			err = x.store.Delete(ctx, o.Key)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
