package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"petpick/src/index/journal"
	"petpick/src/index/view"
	"petpick/src/pet"
	"petpick/src/truth"
)

// waitBudget is how long a change waits to be folded. After it the caller hears ErrBusy; the entry stays, and will be folded.
const waitBudget = 5 * time.Second

// Result says what a change came to.
type Result struct {
	Picture
	// Created is false when the picture was there before; then nothing of it was changed.
	Created bool
	// Version is a version of the index that has the change.
	Version uint64
	// Before says what a change of weight, or a removal, puts an end to: a weight, "removed" or "blocked". Beside an error it says that
	// the change was begun, and may be done, by upkeep at the latest; else it is empty then.
	Before string
}

// Add stores a picture and brings it into the draw. When it returns, the picture is durable and in the index. A picture that was
// there before keeps what it has. ErrBlocked, and ErrRemoved for a while, when it was taken away.
//
// The photo is written first, and the journal after it: a crash between the two leaves a photo that is not drawn, which adding it
// again, or fsck, heals; the reverse would draw a picture that is not there. The verdict is read before the photo is written and
// again after it: a removal that comes in between has either seen the photo, or is seen here.
func (x *Index) Add(ctx context.Context, p Photo) (Result, error) {
	if err := x.truth.Admit(ctx, p.ID); err != nil {
		return Result{}, err
	}
	at := x.now()
	created, date, err := x.truth.Create(ctx, p, at)
	if err != nil {
		return Result{}, err
	}
	after, _, err := x.truth.Verdict(ctx, p.ID)
	if err != nil {
		return Result{}, err
	}
	if err := x.truth.MayAdd(p.ID, after); err != nil {
		return Result{}, errors.Join(err, x.withdraw(ctx, p.ID, at))
	}
	if after.State == truth.Removed || after.State == truth.Blocked { // long ago: back to life
		err := x.truth.Decide(ctx, p.ID, func(old truth.Verdict) (truth.Verdict, error) {
			if old.State == truth.Live {
				return old, nil
			}
			return truth.Verdict{State: truth.Live, Weight: p.Weight}, x.truth.MayAdd(p.ID, old)
		})
		if err != nil {
			return Result{}, err
		}
	}
	plain := created && after.State == truth.Undecided
	version, err := x.announce(ctx, journal.Note{ID: p.ID, Add: plain, Weight: p.Weight, Date: date})
	if err != nil {
		return Result{}, err
	}
	pic := Picture{Label: x.label, ID: p.ID, Bytes: int64(len(p.Body)), Width: p.Width, Height: p.Height, Weight: p.Weight, UploadedAt: at.UTC().Truncate(time.Second)}
	if !plain {
		pic, err = x.Look(ctx, p.ID)
	}
	return Result{Picture: pic, Created: created, Version: version}, err
}

// withdraw takes back a photo that a removal overtook. Never at once: the index may draw it until it has folded the removal.
func (x *Index) withdraw(ctx context.Context, id pet.ID, began time.Time) error {
	return x.intending(ctx, id, func() error {
		if _, err := x.announce(ctx, journal.Note{ID: id}); err != nil {
			return err
		}
		return x.discard(ctx, id, began)
	})
}

// Set changes a picture's weight; 0 pauses it. The verdict, the truth, is written first; the index follows from it, by upkeep when nobody
// else makes it.
func (x *Index) Set(ctx context.Context, id pet.ID, w pet.Weight) (Result, error) {
	return x.SetIf(ctx, id, w, nil)
}

// SetIf is Set of a picture of which a condition holds, ErrChanged of another. The verdict that the condition has seen is the one that is
// replaced: of several who expect the same, one succeeds. (ErrChanged may also mean that the answer to the change was lost, and
// that another change followed it.)
func (x *Index) SetIf(ctx context.Context, id pet.ID, w pet.Weight, holds func(Picture) bool) (Result, error) {
	pic, err := x.Look(ctx, id)
	if err != nil {
		return Result{}, err
	}
	res := Result{Picture: pic}
	next := func(old truth.Verdict) (truth.Verdict, error) {
		before := pic.Under(old)
		if err := x.truth.Standing(id, old); err != nil {
			return old, err
		}
		if holds != nil && !holds(before) {
			return old, fmt.Errorf("%s/%s: %w", x.label, id, ErrChanged)
		}
		res.Before = before.Weight.String()
		// As this change leaves it, which is what its caller asks about; it may be changed again at any moment.
		res.Picture, res.Weight, res.Seq = before, w, before.Seq+1
		return truth.Verdict{State: truth.Live, Weight: w}, nil
	}
	err = x.intending(ctx, id, func() (err error) {
		if err = x.truth.Decide(ctx, id, next); err == nil {
			res.Version, err = x.announce(ctx, journal.Note{ID: id})
		}
		return err
	})
	return res, err
}

// announce journals a change and returns when the root holds it: when this process folded its entry, or the entry is gone. (That the
// picture is in the root would not be enough: it may be there as it was before.)
func (x *Index) announce(ctx context.Context, n journal.Note) (uint64, error) {
	began := x.now()
	key, err := x.journal.Post(ctx, n)
	if err != nil {
		return 0, err
	}
	// A pause is a few times as long as a call takes, whether the store is across a network or on the same machine.
	most := min(max(4*x.now().Sub(began), 5*time.Millisecond), 250*time.Millisecond)
	ctx, cancel := context.WithTimeout(ctx, waitBudget)
	defer cancel()
	for {
		// Without a view nobody knows of a crowd: the fold says what is wrong.
		if v, err := x.reader.Fresh(ctx); err != nil || x.rnd.Float64() < eagerness(v) {
			for range 2 { // the first may have begun before the entry was there
				f, err := x.foldShared(ctx)
				if errors.Is(err, errBeaten) {
					break
				}
				if err != nil || f.keys[key] {
					return f.version, x.busy(ctx, err)
				}
			}
		}
		if err := x.pause(ctx, most); err != nil {
			return 0, err
		}
		still, err := x.journal.Pending(ctx, key)
		if err != nil {
			return 0, x.busy(ctx, err)
		}
		if !still {
			v, err := x.reader.Read(ctx, x.reader.Current(), x.now())
			if err != nil {
				return 0, x.busy(ctx, err)
			}
			return v.Version, nil
		}
	}
}

// busy is err, or that the time is up when that is why.
func (x *Index) busy(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("index of %s: %w: %w", x.label, ErrBusy, err)
	}
	return err
}

const (
	// folders is how many of a crowd try to fold before the others have looked again: with few more swaps than folds, somebody
	// nearly always does.
	folders = 2
	// crowdHalf is after how long without a fold a crowd counts half: it is leaving, or those who should have folded it did not.
	crowdHalf = 250 * time.Millisecond
)

// eagerness is the probability of trying to fold rather than leaving it to others. The last fold says how many wait at a time: all
// of them together elect about as many folders as it takes, without speaking to each other.
func eagerness(v *view.View) float64 {
	idle := max(0, v.Sent.Sub(v.At))
	return min(1, folders/(float64(v.Crowd)*math.Exp2(-idle.Seconds()/crowdHalf.Seconds())))
}
