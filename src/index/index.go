// Package index draws pictures by weight, exactly, from objects in a bucket, with no database. It owns the order in which the
// truth (photos and verdicts) and the index (a root per label) are written and read, and the formats of both: FORMAT.md.
// It knows nothing of HTTP, Lambda or the AWS SDK, nor of what is inside a picture.
package index

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/index/journal"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/index/view"
	"petpick/src/parallel"
	"petpick/src/pet"
	"petpick/src/truth"
)

// What a caller branches on, beside blob.ErrUnavailable and blob.ErrUnclear.
var (
	// ErrEmpty: no picture of the label has a weight above 0, as of a reading that began after the call.
	ErrEmpty = view.ErrEmpty
	// ErrNoPicture: the photos bucket has no such picture.
	ErrNoPicture = truth.ErrNoPicture
	// ErrRemoved: the picture was removed; its bytes may be uploaded again, but not sooner than truth.Rest after.
	ErrRemoved = truth.ErrRemoved
	// ErrBlocked: the picture was removed, and may not come back.
	ErrBlocked = truth.ErrBlocked
	// ErrChanged: the picture is not as the caller of SetIf or RemoveIf had to find it.
	ErrChanged = errors.New("picture changed")
	// ErrFormat: an object of ours is truncated or corrupt. Nothing but petpick reindex overwrites it.
	ErrFormat = box.ErrFormat
	// ErrNewer, an ErrFormat, too: a newer program wrote the object. Not even reindex overwrites it.
	ErrNewer = box.ErrNewer
	// ErrBusy: the change could not be brought into the index in time. It is durable in the photos bucket; asking again
	// finishes it.
	ErrBusy = truth.ErrBusy
)

const (
	// defaultMemory for segments: 3.5 million pictures at 32 B.
	defaultMemory = 112 << 20
	// maxShared bounds work that several callers wait for, whoever of them goes away.
	maxShared = 10 * time.Second
)

type (
	// Picture is what the truth has of a picture, Photo what Add takes.
	Picture = truth.Picture
	Photo   = truth.Photo
	// Pick is a drawn picture, with its weight.
	Pick = segment.Entry
	// Source yields uniform 64-bit words.
	Source = segment.Source
	// Stats is a label in numbers.
	Stats = view.Stats
)

// limits are constants but for tests, which reach them with fewer pictures.
type limits struct {
	// tail and overrides are what a root holds before it is spilled, or must be merged.
	tail, overrides int
	// segment is the most that a merge puts into one.
	segment int
	// merge segments of one size are merged, so that their number grows with the logarithm of the pictures; absorb overrides
	// that are old enough are worth a merge of their own.
	merge, absorb int
}

// Config says what an index is made of.
type Config struct {
	Label pet.Label
	// Photos is the truth; Index holds what is derived from it.
	Photos, Index blob.Store
	// Now is the wall clock; nil means time.Now. A Lambda is frozen between requests, and its monotonic clock with it, so
	// ages are differences of wall times.
	Now func() time.Time
	// Rand chooses names, pauses, and who folds; it is safe for concurrent use. nil means the runtime's own generator.
	Rand Source
	// Memory is how many bytes of segments are kept in memory, 32 a picture; what is beyond it is drawn by ranged GETs.
	// 0 means 112 MiB.
	Memory int64
	// Forget drops the copies of a photo that are elsewhere, such as in a CDN; nil does nothing.
	Forget func(ctx context.Context, key string) error
	// Log gets refreshes that failed; nil discards them.
	Log *slog.Logger
}

// Index is one label's index. It is safe for concurrent use.
type Index struct {
	label    pet.Label
	truth    *truth.Truth
	store    blob.Store // the index's objects
	segments *segment.Store
	journal  *journal.Journal
	now      func() time.Time
	rnd      *rand.Rand
	log      *slog.Logger
	forget   func(context.Context, string) error
	rootKey  string
	limits   limits

	reader   *view.Reader
	folds    parallel.Shared[folded]
	counters counters
}

// Open returns the index of a label. It makes no call to the store: the first draw or change does.
func Open(cfg Config) *Index {
	x := &Index{
		label: cfg.Label, rootKey: view.RootKey(cfg.Label), log: cfg.Log, forget: cfg.Forget, rnd: rand.New(runtimeSource{}),
		limits: limits{tail: root.MaxTail, overrides: root.MaxOverrides, segment: segment.Max, merge: 4, absorb: 256},
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	x.now = func() time.Time { return cfg.Now().Round(0) } // Round strips the monotonic clock
	if cfg.Rand != nil {
		x.rnd = rand.New(cfg.Rand)
	}
	if x.forget == nil {
		x.forget = func(context.Context, string) error { return nil }
	}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	x.truth = truth.Open(cfg.Label, cfg.Photos, x.now, x.rnd)
	x.use(cfg.Index, cmp.Or(cfg.Memory, defaultMemory))
	return x
}

// use has the index's objects in a store.
func (x *Index) use(store blob.Store, memory int64) {
	x.store, x.journal = store, journal.Open(x.label, store, x.rnd, x.log)
	x.segments = segment.Open(segment.Config{
		Label: x.label, Store: store, Now: x.now, Rand: x.rnd, Log: x.log, Memory: memory, Loaded: func() { x.reader.Loaded() },
	})
	x.reader = view.Open(x.label, store, x.segments, x.now, x.log)
}

// OpenAll opens an index for every label; cfg.Label does not matter.
func OpenAll(cfg Config) All {
	all := All{}
	for _, l := range pet.Labels {
		cfg.Label = l
		all[l] = Open(cfg)
	}
	return all
}

// Look reads what the photos bucket, the truth, has of a picture; see truth.Truth.
func (x *Index) Look(ctx context.Context, id pet.ID) (Picture, error) { return x.truth.Look(ctx, id) }

// List lists pictures in the order of ids, those after one; see truth.Truth.
func (x *Index) List(ctx context.Context, after pet.ID, limit int) (pics []Picture, next pet.ID, more bool, err error) {
	return x.truth.List(ctx, after, limit, x.log)
}

// Draw returns a picture with probability weight / sum of weights; see view.Reader.
func (x *Index) Draw(ctx context.Context, rnd Source) (Pick, error) { return x.reader.Draw(ctx, rnd) }

// Stats reports on the label; see view.Reader.
func (x *Index) Stats(ctx context.Context) (Stats, error) { return x.reader.Stats(ctx) }

// Refresh returns after a reading of the root that began after the call: what the caller saw may be out of date (a picture that
// it drew is gone).
func (x *Index) Refresh(ctx context.Context) error {
	_, err := x.reader.Newer(ctx)
	return err
}

// runtimeSource is the runtime's generator, safe for concurrent use; so is a rand.Rand on it, which has no state of its own.
type runtimeSource struct{}

func (runtimeSource) Uint64() uint64 { return rand.Uint64() }
