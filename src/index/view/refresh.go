package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/parallel"
)

const (
	// maxAge is how old a view may be before a draw asks for a newer one: the promise is that a change is seen within 1 s.
	maxAge = time.Second
	// maxWait is how long a draw waits for that, when it has an older view to go on with.
	maxWait = 300 * time.Millisecond
	// maxFlight bounds one reading of the root. By wall clock it is the age at which a reading counts as dead: a Lambda may have been
	// frozen during it, and its timers with it.
	maxFlight = 3 * time.Second
)

// flights are the readings of the root that draws wait for.
type flights struct {
	mu      sync.Mutex // guards all below
	now     *flight    // nil when there is none
	begun   uint64
	lastErr error     // of the last one
	retryAt time.Time // keeps draws from asking a failing store more than once a second
	failing time.Time // since when; zero while the store answers
}

// flight is one reading that any number of callers wait for.
type flight struct {
	number  uint64
	started time.Time
	cancel  context.CancelFunc // only when another takes its place
	done    chan struct{}
	err     error // set before done is closed
}

// isFresh: a view is good for maxAge. A clock that was set back makes it old, not young forever.
func (x *Reader) isFresh(v *View, now time.Time) bool {
	age := now.Sub(v.Sent)
	return age >= 0 && age < maxAge
}

// Fresh returns a view that is at most maxAge old where the store allows it within maxWait, and else the last one.
func (x *Reader) Fresh(ctx context.Context) (*View, error) {
	now := x.now()
	v := x.view.Load()
	if v == nil {
		return x.Newer(ctx)
	}
	if x.isFresh(v, now) {
		return v, nil
	}
	f, err := x.fly(now)
	if err != nil { // a moment ago
		return x.stale(v), nil
	}
	wait := maxWait - now.Sub(f.started)
	if wait <= 0 { // others have waited long enough; it goes on behind our back
		return x.stale(v), nil
	}
	timer := time.NewTimer(min(wait, maxWait))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	if v = x.view.Load(); !x.isFresh(v, x.now()) {
		x.stale(v)
	}
	return v, nil
}

// Newer returns a view whose reading began after the call, or the reason why there is none.
func (x *Reader) Newer(ctx context.Context) (*View, error) {
	x.flights.mu.Lock()
	after := x.flights.begun
	x.flights.mu.Unlock()
	for {
		f, err := x.fly(x.now())
		if err != nil {
			return nil, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("index of %s: %w: %w", x.label, blob.ErrUnavailable, ctx.Err())
		}
		if f.number <= after || errors.Is(f.err, context.Canceled) { // it left before we asked, or is given up: the next one will do
			continue
		}
		return x.view.Load(), f.err
	}
}

// fly joins the reading under way, or begins one. A failing store is asked once a second, whoever wants to know: until then the last
// error is the answer.
func (x *Reader) fly(now time.Time) (*flight, error) {
	x.flights.mu.Lock()
	defer x.flights.mu.Unlock()
	if f := x.flights.now; f != nil {
		if age := now.Sub(f.started); age >= 0 && age < maxFlight {
			return f, nil
		}
		f.cancel()
	} else if wait := x.flights.retryAt.Sub(now); wait > 0 && wait <= maxAge {
		return nil, x.flights.lastErr
	}
	x.flights.begun++
	ctx, cancel := context.WithCancel(context.Background())
	f := &flight{number: x.flights.begun, started: now, cancel: cancel, done: make(chan struct{})}
	x.flights.now = f
	go func() {
		ctx, stop := context.WithTimeout(ctx, maxFlight)
		defer stop()
		f.err = parallel.Each(1, 1, func(int) error { return x.refresh(ctx, f.started) })
		x.land(f)
		close(f.done)
	}()
	return f, nil
}

// land notes how a reading ended.
func (x *Reader) land(f *flight) {
	x.flights.mu.Lock()
	defer x.flights.mu.Unlock()
	if x.flights.now != f {
		return
	}
	x.flights.now, x.flights.lastErr, x.flights.retryAt = nil, f.err, time.Time{}
	x.counters.refreshes.Add(1)
	switch {
	case f.err == nil:
		x.flights.failing = time.Time{}
	case x.flights.failing.IsZero():
		x.flights.failing = f.started
		fallthrough
	default:
		x.counters.refreshFailures.Add(1)
		x.flights.retryAt = x.now().Add(maxAge)
	}
}

func (x *Reader) failingSince() time.Time {
	x.flights.mu.Lock()
	defer x.flights.mu.Unlock()
	return x.flights.failing
}

// refresh gets the root if it changed, and publishes it.
func (x *Reader) refresh(ctx context.Context, started time.Time) error {
	next, err := x.Read(ctx, x.view.Load(), started)
	if err != nil {
		x.log.WarnContext(ctx, "refresh failed", slog.Any("label", x.label), slog.Any("error", err))
		return err
	}
	x.Take(next.Root, next.ETag, next.Sent)
	if took := x.now().Sub(started); took > maxWait {
		x.log.WarnContext(ctx, "refresh slow: draws went on with the last view", slog.Any("label", x.label), slog.Duration("took", took))
	}
	return nil
}

// Read reads the root once, and lays nothing out; with the view that is known, the answer may be that it still stands.
func (x *Reader) Read(ctx context.Context, known *View, started time.Time) (*View, error) {
	etag := ""
	if known != nil {
		etag = known.ETag
	}
	o, err := x.store.Get(ctx, x.key, etag)
	v := &View{Root: &root.Root{}, ETag: o.ETag, Sent: started, known: x.now()}
	switch {
	case errors.Is(err, blob.ErrNotModified):
		v.Root, v.ETag = known.Root, etag
		return v, nil
	case errors.Is(err, blob.ErrNotFound):
		return v, nil
	case err != nil:
		return nil, err
	}
	if v.Root, err = root.Decode(o.Body); err != nil {
		return v, fmt.Errorf("%s: %w", o.Key, segment.Advise(err))
	}
	return v, nil
}

// publish replaces the view, unless the new one is an old answer: read before the present one was known, and of a lower version.
func (x *Reader) publish(next *View) {
	for {
		cur := x.view.Load()
		if cur != nil && next.Version < cur.Version && !next.Sent.After(cur.known) {
			return
		}
		if x.view.CompareAndSwap(cur, next) {
			x.segments.Keep(next.Rows)
			return
		}
	}
}
