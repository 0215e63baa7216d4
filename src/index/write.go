package index

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"petpick/src/blob"
	"petpick/src/pet"
)

// Result says what a change came to.
type Result struct {
	Picture
	// Created is false when the picture was there before; then nothing of it was changed.
	Created bool
	// Version is a version of the index that has the change.
	Version uint64
}

// Add stores a picture and brings it into the draw. When it returns, the picture is durable and in the index.
//
// The photo is written first: a crash between the two leaves a photo that is not drawn, and adding it again heals that; the
// reverse would draw a picture that is not there. A picture that was there before keeps what it has.
func (x *Index) Add(ctx context.Context, p Photo) (Result, error) {
	created, err := x.createPhoto(ctx, p)
	if err != nil {
		return Result{}, err
	}
	r, err := x.touch(ctx, p.ID)
	r.Created = created
	return r, err
}

// Set changes a picture's weight; 0 pauses it. The verdict, the truth, is written first; the index follows from it.
func (x *Index) Set(ctx context.Context, id pet.ID, w pet.Weight) (Result, error) {
	if _, err := x.Look(ctx, id); err != nil {
		return Result{}, err
	}
	if err := x.decide(ctx, id, w); err != nil {
		return Result{}, err
	}
	return x.touch(ctx, id)
}

// change is a picture whose truth may have changed: "look at it again, and bring the index in line".
type change struct {
	id     pet.ID
	result Result // what the truth said, and a version of the index that agrees
	err    error  // the truth could not be read
	done   chan struct{}
}

// touch returns when the index holds what the truth said of id at some moment after the call. Callers that meet in one process
// share a swap: one folds for all who wait.
func (x *Index) touch(ctx context.Context, id pet.ID) (Result, error) {
	c := &change{id: id, done: make(chan struct{})}
	x.queueMu.Lock()
	x.queue = append(x.queue, c)
	x.queueMu.Unlock()
	for {
		select {
		case <-c.done:
			return c.result, c.err
		case <-ctx.Done():
			x.withdraw(c)
			return Result{}, fmt.Errorf("%s/%s: %w: %w", x.label, id, ErrBusy, ctx.Err())
		case x.lead <- struct{}{}:
			err := x.foldQueue(ctx)
			<-x.lead
			if err != nil {
				x.withdraw(c)
				return Result{}, err
			}
		}
	}
}

func (x *Index) withdraw(c *change) {
	x.queueMu.Lock()
	defer x.queueMu.Unlock()
	x.queue = slices.DeleteFunc(x.queue, func(q *change) bool { return q == c })
}

// foldQueue folds all that waits. When it fails, everything waits again, and the next waiter tries.
func (x *Index) foldQueue(ctx context.Context) error {
	x.queueMu.Lock()
	batch := x.queue
	x.queue = nil
	x.queueMu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := x.fold(ctx, batch); err != nil {
		x.queueMu.Lock()
		x.queue = append(batch, x.queue...)
		x.queueMu.Unlock()
		return err
	}
	for _, c := range batch {
		close(c.done)
	}
	return nil
}

// fold brings the pictures of batch into the root by compare-and-swap. The order makes it safe beside any other writer: the root
// is read first, then the truth, and the swap fails if the root moved in between; so a truth can never be overwritten in the
// index by an older one.
func (x *Index) fold(ctx context.Context, batch []*change) error {
	ctx, cancel := context.WithTimeout(ctx, foldBudget)
	defer cancel()
	base := x.view.Load() // may be old: then the swap fails, or the check that it still stands does
	for {
		if base == nil {
			var err error
			if base, err = x.load(ctx, nil, x.now()); err != nil {
				return err
			}
		}
		changes, err := x.differences(ctx, base.root, batch)
		if err != nil {
			return err
		}
		var now *view
		if len(changes) == 0 {
			now, err = x.confirm(ctx, base)
		} else {
			now, err = x.swap(ctx, base, changes)
		}
		if err != nil {
			return err
		}
		if now != nil {
			x.publish(now)
			for _, c := range batch {
				c.result.Version = now.version
			}
			return nil
		}
		if err := x.pause(ctx); err != nil {
			return err
		}
		base = nil
	}
}

// differences reads the truth of every picture of the batch, after the root r was read, and returns where r differs. A picture
// whose truth cannot be read fails alone.
func (x *Index) differences(ctx context.Context, r *root, batch []*change) (map[pet.ID]pet.Weight, error) {
	each(len(batch), 16, func(i int) {
		c := batch[i]
		c.result.Picture, c.err = x.Look(ctx, c.id)
	})
	if err := ctx.Err(); err != nil { // the folder's own end is no reason to fail those who wait
		return nil, fmt.Errorf("index of %s: %w: %w", x.label, ErrBusy, err)
	}
	changes := map[pet.ID]pet.Weight{}
	for _, c := range batch {
		gone := errors.Is(c.err, ErrNoPicture) // weighs nothing
		if (c.err == nil || gone) && r.weight(c.id) != c.result.Weight {
			changes[c.id] = c.result.Weight
		}
	}
	return changes, nil
}

// swap writes the next root. It returns nil and no error when another writer was first, or when nobody knows: start over then,
// for the root says what happened.
func (x *Index) swap(ctx context.Context, base *view, changes map[pet.ID]pet.Weight) (*view, error) {
	next, err := base.with(changes)
	if err != nil {
		return nil, err
	}
	sent := x.now()
	// The nonce keeps two roots with equal contents from sharing an ETag: a swap from the first would succeed on the second.
	body := next.encode(x.nonce())
	var info blob.Info
	if base.etag == "" {
		info, err = x.store.Create(ctx, x.rootKey(), body, blob.Attr{Once: true})
	} else {
		info, err = x.store.Swap(ctx, x.rootKey(), base.etag, body, blob.Attr{Once: true})
	}
	switch {
	case err == nil:
		return &view{root: next, etag: info.ETag, sent: sent, known: x.now()}, nil
	case ctx.Err() == nil && (errors.Is(err, blob.ErrChanged) || errors.Is(err, blob.ErrExists) || errors.Is(err, blob.ErrUnclear)):
		return nil, nil
	}
	return nil, err
}

// confirm returns a view of base if it is still the current root after the truth was read, and nil if it is not.
func (x *Index) confirm(ctx context.Context, base *view) (*view, error) {
	now, err := x.load(ctx, base, x.now())
	if err != nil || now.etag != base.etag {
		return nil, err
	}
	return now, nil
}

// pause lets a crowd of writers spread out; ErrBusy when the time is up.
func (x *Index) pause(ctx context.Context) error {
	t := time.NewTimer(rand.N(40 * time.Millisecond))
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
