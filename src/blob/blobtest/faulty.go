package blobtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"petpick/src/blob"
)

// Op names an operation of blob.Store.
type Op string

// The operations.
const (
	Create   Op = "create"
	Swap     Op = "swap"
	Get      Op = "get"
	GetRange Op = "getrange"
	Head     Op = "head"
	List     Op = "list"
	Delete   Op = "delete"
)

// Faulty is a store that counts calls and fails on purpose.
type Faulty struct {
	blob.Store
	mu sync.Mutex
	// before runs ahead of a call, which an error keeps from happening; after runs once it happened, and its error is what the
	// caller gets: a write that was applied and is reported failed.
	before, after func(op Op, key string) error
	calls         atomic.Int64
}

// NewFaulty wraps a store; until Fail is called nothing fails.
func NewFaulty(s blob.Store) *Faulty { return &Faulty{Store: s} }

// Fail sets the hooks; nil is none. A hook may block: the call is then slow.
func (f *Faulty) Fail(before, after func(op Op, key string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// Calls is the number of calls so far.
func (f *Faulty) Calls() int64 { return f.calls.Load() }

// Outage fails every call as an unreachable store does.
func Outage(op Op, key string) error {
	switch op {
	case Create, Swap, Delete:
		return fmt.Errorf("%s %s: %w: %w: outage", op, key, blob.ErrUnclear, blob.ErrUnavailable)
	}
	return fmt.Errorf("%s %s: %w: outage", op, key, blob.ErrUnavailable)
}

func run[T any](f *Faulty, op Op, key string, call func() (T, error)) (T, error) {
	f.calls.Add(1)
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	var none T
	if before != nil {
		if err := before(op, key); err != nil {
			return none, err
		}
	}
	v, err := call()
	if err == nil && after != nil {
		if err := after(op, key); err != nil {
			return none, err
		}
	}
	return v, err
}

// Create implements blob.Store.
func (f *Faulty) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	return run(f, Create, key, func() (blob.Info, error) { return f.Store.Create(ctx, key, body, attr) })
}

// Swap implements blob.Store.
func (f *Faulty) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	return run(f, Swap, key, func() (blob.Info, error) { return f.Store.Swap(ctx, key, etag, body, attr) })
}

// Get implements blob.Store.
func (f *Faulty) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	return run(f, Get, key, func() (blob.Object, error) { return f.Store.Get(ctx, key, etag) })
}

// GetRange implements blob.Store.
func (f *Faulty) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	return run(f, GetRange, key, func() (blob.Object, error) { return f.Store.GetRange(ctx, key, offset, n) })
}

// Head implements blob.Store.
func (f *Faulty) Head(ctx context.Context, key string) (blob.Info, error) {
	return run(f, Head, key, func() (blob.Info, error) { return f.Store.Head(ctx, key) })
}

// List implements blob.Store.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	return run(f, List, prefix, func() (blob.Page, error) { return f.Store.List(ctx, prefix, after, limit) })
}

// Delete implements blob.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	_, err := run(f, Delete, key, func() (struct{}, error) { return struct{}{}, f.Store.Delete(ctx, key) })
	return err
}

// DeleteMany implements blob.Store.
func (f *Faulty) DeleteMany(ctx context.Context, keys []string) error {
	_, err := run(f, Delete, fmt.Sprint(len(keys), " keys"), func() (struct{}, error) { return struct{}{}, f.Store.DeleteMany(ctx, keys) })
	return err
}
