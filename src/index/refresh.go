package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"petpick/src/blob"
)

// flight is one reading of the root that any number of callers wait for.
type flight struct {
	number  uint64
	started time.Time
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // set before done is closed
	// abandoned: it took too long, and another has taken its place.
	abandoned atomic.Bool
}

// isFresh: a view is good for maxAge. A clock that was set back makes it old, not young forever.
func (x *Index) isFresh(v *view, now time.Time) bool {
	age := now.Sub(v.sent)
	return age >= 0 && age < maxAge
}

// fresh returns a view that is at most maxAge old where the store allows it within maxWait, and else the last one.
func (x *Index) fresh(ctx context.Context) (*view, error) {
	now := x.now()
	v := x.view.Load()
	if v != nil && x.isFresh(v, now) {
		return v, nil
	}
	if v == nil {
		return x.newer(ctx)
	}
	f := x.refresh(now)
	if f == nil { // it failed a moment ago
		return v, nil
	}
	wait := maxWait - now.Sub(f.started)
	if wait <= 0 { // others have waited long enough; it goes on behind our back
		return v, nil
	}
	timer := time.NewTimer(min(wait, maxWait))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return x.view.Load(), nil
}

// newer returns a view whose reading began after the call, or the reason why there is none.
func (x *Index) newer(ctx context.Context) (*view, error) {
	x.mu.Lock()
	after := x.flights
	wait := x.retryAt.Sub(x.now())
	failed := x.lastErr
	x.mu.Unlock()
	if failed != nil && wait > 0 && wait <= maxAge { // a failing store is asked once a second, whoever wants to know
		return nil, failed
	}
	for {
		f := x.join()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("index of %s: %w: %w", x.label, blob.ErrUnavailable, ctx.Err())
		}
		if f.number <= after || f.abandoned.Load() { // it left before we asked, or is given up: the next one will do
			continue
		}
		if f.err != nil {
			return nil, f.err
		}
		return x.view.Load(), nil
	}
}

// refresh joins the flight that is under way or starts one, unless the last one failed less than a second ago.
func (x *Index) refresh(now time.Time) *flight {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flight == nil {
		if wait := x.retryAt.Sub(now); wait > 0 && wait <= maxAge {
			return nil
		}
	}
	return x.startLocked(now)
}

func (x *Index) join() *flight {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.startLocked(x.now())
}

func (x *Index) startLocked(now time.Time) *flight {
	if f := x.flight; f != nil {
		if age := now.Sub(f.started); age >= 0 && age < maxFlight {
			return f
		}
		f.abandoned.Store(true)
		f.cancel()
	}
	x.flights++
	ctx, cancel := context.WithTimeout(context.Background(), maxFlight)
	f := &flight{number: x.flights, started: now, cancel: cancel, done: make(chan struct{})}
	x.flight = f
	go func() {
		defer cancel()
		f.err = x.read(ctx, f.started)
		x.mu.Lock()
		if x.flight == f {
			x.flight = nil
			x.lastErr = f.err
			if f.err == nil {
				x.retryAt, x.failing = time.Time{}, time.Time{}
			} else {
				x.retryAt = x.now().Add(maxAge)
				if x.failing.IsZero() {
					x.failing = f.started
				}
			}
		}
		x.mu.Unlock()
		close(f.done)
	}()
	return f
}

func (x *Index) failingSince() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failing
}

// read gets the root if it changed, and publishes it.
func (x *Index) read(ctx context.Context, started time.Time) error {
	old := x.view.Load()
	next, err := x.load(ctx, old, started)
	if err != nil {
		x.log.WarnContext(ctx, "refresh failed", slog.Any("label", x.label), slog.Any("error", err))
		return err
	}
	x.publish(x.newView(next.root, next.etag, next.sent))
	if took := x.now().Sub(started); took > maxWait {
		x.log.WarnContext(ctx, "refresh slow: draws went on with the last view", slog.Any("label", x.label), slog.Duration("took", took))
	}
	return nil
}

// load reads the root once, and lays nothing out; with the view that is known, the answer may be that it still stands.
func (x *Index) load(ctx context.Context, known *view, started time.Time) (*view, error) {
	etag := ""
	if known != nil {
		etag = known.etag
	}
	o, err := x.store.Get(ctx, x.rootKey(), etag)
	switch {
	case errors.Is(err, blob.ErrNotModified):
		return &view{root: known.root, etag: etag, sent: started, known: x.now()}, nil
	case errors.Is(err, blob.ErrNotFound):
		return &view{root: &root{}, sent: started, known: x.now()}, nil
	case err != nil:
		return nil, err
	}
	r, err := decodeRoot(o.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Key, err)
	}
	return &view{root: r, etag: o.ETag, sent: started, known: x.now()}, nil
}

// publish replaces the view, unless the new one is an old answer: read before the present one was known, and of a lower version.
func (x *Index) publish(next *view) {
	for {
		cur := x.view.Load()
		if cur != nil && next.version < cur.version && next.sent.Before(cur.known) {
			return
		}
		if x.view.CompareAndSwap(cur, next) {
			x.forget(next.root)
			return
		}
	}
}
