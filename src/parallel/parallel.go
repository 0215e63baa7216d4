// Package parallel is work that goes on at the same time: some calls beside each other, or one for many callers.
package parallel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
)

// Each calls f(0) … f(n-1), at most wide at a time, and returns all their errors. A panic becomes one: it must not end the process, and
// with it the requests beside this one.
func Each(n, wide int, f func(int) error) error {
	var g errgroup.Group
	g.SetLimit(wide)
	errs := make([]error, n)
	for i := range n {
		g.Go(func() error {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			errs[i] = f(i)
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// Shared is work that several callers may want at a time.
type Shared[T any] struct{ flights singleflight.Group }

// Do does it once for all who ask for the same meanwhile: it is no one's, and does not end when one of them goes away, but when its time
// is up.
func (s *Shared[T]) Do(ctx context.Context, what string, most time.Duration, f func(context.Context) (T, error)) (T, error) {
	done := s.flights.DoChan(what, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), most)
		defer cancel()
		var v T
		err := Each(1, 1, func(int) (err error) { v, err = f(ctx); return err })
		return v, err
	})
	select {
	case r := <-done:
		return r.Val.(T), r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// Pause lets a crowd spread out: it takes a random part of a time, or until the context ends.
func Pause(ctx context.Context, rnd *rand.Rand, most time.Duration) error {
	t := time.NewTimer(time.Duration(rnd.Int64N(int64(most))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
