// Package index draws pictures by weight, exactly, from objects in a bucket, with no database. It owns the order in which the
// truth (photos and verdicts) and the index (a root per label) are written and read, and the formats of both: FORMAT.md.
// It knows nothing of HTTP, Lambda or the AWS SDK, nor of what is inside a picture.
package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"petpick/src/blob"
	"petpick/src/pet"
)

// What a caller branches on, beside blob.ErrUnavailable and blob.ErrUnclear.
var (
	// ErrEmpty: no picture of the label has a weight above 0, as of a reading that began after the call.
	ErrEmpty = errors.New("no drawable picture")
	// ErrNoPicture: the photos bucket has no such picture.
	ErrNoPicture = errors.New("no such picture")
	// ErrFull: the label holds as many pictures as it can.
	ErrFull = errors.New("index full")
	// ErrBusy: the change could not be brought into the index in time. It is durable in the photos bucket; asking again
	// finishes it.
	ErrBusy = errors.New("index busy")
)

const (
	// maxAge is how old a view may be before a draw asks for a newer one: the promise is that a change is seen within 1 s.
	maxAge = time.Second
	// maxWait is how long a draw waits for that, when it has an older view to go on with.
	maxWait = 300 * time.Millisecond
	// maxFlight bounds one reading of the root.
	maxFlight = 10 * time.Second
	// abandonFlight is the age, by wall clock, at which a reading counts as dead: a Lambda may have been frozen during it.
	abandonFlight = 15 * time.Second
	// foldBudget is how long a writer tries before it answers ErrBusy.
	foldBudget = 8 * time.Second
)

// Config says what an index is made of.
type Config struct {
	Label pet.Label
	// Photos is the truth; Index holds what is derived from it.
	Photos, Index blob.Store
	// Now is the wall clock; nil means time.Now. A Lambda is frozen between requests, and its monotonic clock with it, so
	// ages are differences of wall times.
	Now func() time.Time
	// Log gets refreshes that failed; nil discards them.
	Log *slog.Logger
}

// Index is one label's index. It is safe for concurrent use.
type Index struct {
	label         pet.Label
	photos, store blob.Store
	now           func() time.Time
	log           *slog.Logger

	view atomic.Pointer[view]

	mu     sync.Mutex // guards the three below
	flight *flight
	// retryAt keeps draws from asking a failing store more than once a second.
	retryAt time.Time
	failing time.Time // since when; zero while the store answers

	queueMu sync.Mutex
	queue   []*change
	lead    chan struct{} // holds a token while a writer folds for all
}

// Open returns the index of a label. It makes no call to the store: the first draw or change does.
func Open(cfg Config) *Index {
	x := &Index{label: cfg.Label, photos: cfg.Photos, store: cfg.Index, log: cfg.Log, lead: make(chan struct{}, 1)}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	x.now = func() time.Time { return now().Round(0) } // Round strips the monotonic clock
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	return x
}

// OpenAll opens an index for every label; cfg.Label does not matter.
func OpenAll(cfg Config) map[pet.Label]*Index {
	all := map[pet.Label]*Index{}
	for _, l := range pet.Labels {
		cfg.Label = l
		all[l] = Open(cfg)
	}
	return all
}

func (x *Index) rootKey() string { return "index/" + string(x.label) + "/root" }

func (x *Index) nonce() uint64 { return rand.Uint64() }

// view is a root as it was read or written.
type view struct {
	*root
	etag string
	// sent and known bound the time of the reading (or of the writing): the root was current at some moment between them.
	sent, known time.Time
}

// Pick is a drawn picture.
type Pick struct {
	ID     pet.ID
	Weight pet.Weight
}

// Draw returns a picture with probability weight / sum of weights. Within a second of the last refresh it makes no call. While
// the store fails it goes on with the last view it has. ErrEmpty is only said after a reading that began after the call.
func (x *Index) Draw(ctx context.Context, rnd Source) (Pick, error) {
	v, err := x.fresh(ctx)
	if err != nil {
		return Pick{}, err
	}
	if v.total == 0 {
		if v, err = x.newerThan(ctx, x.now()); err != nil {
			return Pick{}, err
		}
		if v.total == 0 {
			return Pick{}, fmt.Errorf("%s: %w", x.label, ErrEmpty)
		}
	}
	id, w := drawAlias(v.ready().entries, v.total, rnd)
	return Pick{ID: id, Weight: w}, nil
}

// Stats is a label in numbers.
type Stats struct {
	// Pictures counts those with a weight above 0.
	Pictures int
	// Total is the sum of their weights, in thousandths.
	Total uint64
	// Version grows with every change of the index.
	Version uint64
	// FailingSince is when the store first failed to answer a refresh, if it has not answered one since; else zero.
	FailingSince time.Time
}

// Stats reports on the label, at most about a second behind while the store answers. Unlike a draw it waits for a slow store rather
// than telling what was true before an idle time.
func (x *Index) Stats(ctx context.Context) (Stats, error) {
	v, err := x.fresh(ctx)
	if err != nil {
		return Stats{}, err
	}
	if x.failingSince().IsZero() && !x.isFresh(v, x.now()) {
		if newer, err := x.newerThan(ctx, x.now()); err == nil {
			v = newer
		}
	}
	return Stats{Pictures: len(v.entries), Total: v.total, Version: v.version, FailingSince: x.failingSince()}, nil
}

// Refresh returns after a reading of the root that began after the call: what the caller saw may be out of date (a picture that
// it drew is gone).
func (x *Index) Refresh(ctx context.Context) error {
	_, err := x.newerThan(ctx, x.now())
	return err
}
