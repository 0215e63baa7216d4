package index

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"petpick/src/pet"
)

const (
	// waitBudget is how long a change waits to be folded. After it the caller hears ErrBusy; the entry stays, and will be folded.
	waitBudget = 5 * time.Second
	// removalRest: after a removal, uploads of the same picture wait until no DELETE of its photo can still land: 30 s of a
	// handler and 15 minutes of a signature.
	removalRest = 16 * time.Minute
)

// Result says what a change came to.
type Result struct {
	Picture
	// Created is false when the picture was there before; then nothing of it was changed.
	Created bool
	// Version is a version of the index that has the change.
	Version uint64
}

// Add stores a picture and brings it into the draw. When it returns, the picture is durable and in the index. A picture that was
// there before keeps what it has. ErrBlocked, and ErrRemoved for a while, when it was taken away.
//
// The photo is written first, and the journal after it: a crash between the two leaves a photo that is not drawn, which adding it
// again, or fsck, heals; the reverse would draw a picture that is not there. The verdict is read before the photo is written and
// again after it: a removal that comes in between has either seen the photo, or is seen here.
func (x *Index) Add(ctx context.Context, p Photo) (Result, error) {
	v, _, err := x.verdict(ctx, p.ID)
	if err != nil {
		return Result{}, err
	}
	if err := x.mayAdd(p.ID, v); err != nil {
		return Result{}, err
	}
	created, date, err := x.createPhoto(ctx, p)
	if err != nil {
		return Result{}, err
	}
	after, _, err := x.verdict(ctx, p.ID)
	if err != nil {
		return Result{}, err
	}
	if err := x.mayAdd(p.ID, after); err != nil {
		return Result{}, errors.Join(err, x.withdraw(ctx, p.ID))
	}
	if after.state == removed || after.state == blocked { // long ago: back to life
		err := x.decide(ctx, p.ID, func(old verdict) (verdict, error) {
			if err := x.mayAdd(p.ID, old); err != nil {
				return verdict{}, err
			}
			if old.state == live {
				return old, nil
			}
			return verdict{state: live, weight: p.Weight}, nil
		})
		if err != nil {
			return Result{}, err
		}
	}
	version, err := x.announce(ctx, note{id: p.ID, add: created && after.state == undecided, weight: p.Weight, date: date})
	if err != nil {
		return Result{}, err
	}
	pic, err := x.Look(ctx, p.ID)
	return Result{Picture: pic, Created: created, Version: version}, err
}

// mayAdd says whether a verdict lets a picture in.
func (x *Index) mayAdd(id pet.ID, v verdict) error {
	switch {
	case v.state == blocked:
		return fmt.Errorf("%s/%s: %w", x.label, id, ErrBlocked)
	case v.state == removed && x.now().Sub(v.when) < removalRest:
		return fmt.Errorf("%s/%s: %w", x.label, id, ErrRemoved)
	}
	return nil
}

// withdraw takes back a photo that a removal overtook. Never at once: the index may draw it until it has folded the removal.
func (x *Index) withdraw(ctx context.Context, id pet.ID) error {
	if _, err := x.announce(ctx, note{id: id}); err != nil {
		return err
	}
	return x.photos.Delete(ctx, pet.Key(x.label, id))
}

// Set changes a picture's weight; 0 pauses it. The verdict, the truth, is written first; the index follows from it.
func (x *Index) Set(ctx context.Context, id pet.ID, w pet.Weight) (Result, error) {
	if _, err := x.Look(ctx, id); err != nil {
		return Result{}, err
	}
	err := x.decide(ctx, id, func(old verdict) (verdict, error) {
		switch old.state {
		case removed:
			return verdict{}, fmt.Errorf("%s/%s: %w", x.label, id, ErrRemoved)
		case blocked:
			return verdict{}, fmt.Errorf("%s/%s: %w", x.label, id, ErrBlocked)
		}
		return verdict{state: live, weight: w}, nil
	})
	if err != nil {
		return Result{}, err
	}
	version, err := x.announce(ctx, note{id: id})
	if err != nil {
		return Result{}, err
	}
	pic, err := x.Look(ctx, id)
	return Result{Picture: pic, Version: version}, err
}

// Remove takes a picture out of the draw, and then deletes its bytes; with block it may not be uploaded again. It may be repeated:
// each step that a crash left undone is done then. The verdict is swapped even when it says "removed" already: an upload that read
// the old one must not find its swap succeed.
func (x *Index) Remove(ctx context.Context, id pet.ID, block bool) (Result, error) {
	pic, err := x.Look(ctx, id)
	if err != nil && !errors.Is(err, ErrRemoved) && !errors.Is(err, ErrBlocked) {
		return Result{}, err
	}
	err = x.decide(ctx, id, func(old verdict) (verdict, error) {
		if block || old.state == blocked {
			return verdict{state: blocked, when: x.now()}, nil
		}
		return verdict{state: removed, when: x.now()}, nil
	})
	if err != nil {
		return Result{}, err
	}
	version, err := x.announce(ctx, note{id: id})
	if err != nil {
		return Result{}, err
	}
	return Result{Picture: pic, Version: version}, x.photos.Delete(ctx, pet.Key(x.label, id))
}

// announce journals a change and returns when the root holds it: when this process folded its entry, or the entry is gone. (That the
// picture is in the root would not be enough: it may be there as it was before.)
func (x *Index) announce(ctx context.Context, n note) (uint64, error) {
	key, err := x.post(ctx, n)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, waitBudget)
	defer cancel()
	done := x.waiters.add(key)
	defer x.waiters.remove(key)
	for {
		if x.rnd.Float64() < x.waiters.eagerness() {
			folded, err := x.foldInTurn(ctx, done)
			if err != nil {
				return 0, err
			}
			if folded {
				return x.view.Load().version, nil
			}
		}
		if err := x.pause(ctx); err != nil {
			return 0, err
		}
		select {
		case <-done:
			return x.view.Load().version, nil
		default:
		}
		if still, err := x.pending(ctx, key); err != nil {
			return 0, err
		} else if !still {
			v, err := x.newer(ctx)
			if err != nil {
				return 0, err
			}
			return v.version, nil
		}
	}
}

// foldInTurn folds, or waits for another of this process to: one fold carries everyone who waits. It says whether done is closed.
func (x *Index) foldInTurn(ctx context.Context, done <-chan struct{}) (bool, error) {
	select {
	case <-done:
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("index of %s: %w: %w", x.label, ErrBusy, ctx.Err())
	case x.folding <- struct{}{}:
	}
	defer func() { <-x.folding }()
	select {
	case <-done:
		return true, nil
	default:
	}
	applied, err := x.fold(ctx)
	x.waiters.learn(err)
	if errors.Is(err, errBeaten) {
		return false, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("index of %s: %w: %w", x.label, ErrBusy, err)
		}
		return false, err
	}
	x.waiters.wake(applied)
	select {
	case <-done:
		return true, nil
	default:
		return false, nil
	}
}

// waiters are the changes of this process that wait to be folded.
type waiters struct {
	mu     sync.Mutex
	byKey  map[string]chan struct{}
	losses int // swaps lost in a row, about
}

func (w *waiters) add(key string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	w.byKey[key] = done
	return done
}

func (w *waiters) remove(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byKey, key)
}

func (w *waiters) wake(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if done, waits := w.byKey[key]; waits {
			close(done)
			delete(w.byKey, key)
		}
	}
}

// eagerness is the probability of trying to fold rather than leaving it to others. It halves with each swap lost to another
// process: a crowd of them elects about one folder at a time without speaking to each other.
func (w *waiters) eagerness() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return 1 / float64(int(1)<<w.losses)
}

func (w *waiters) learn(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, errBeaten):
		w.losses = min(w.losses+1, 6)
	case err == nil:
		w.losses = max(w.losses-1, 0)
	}
}
