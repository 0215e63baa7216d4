package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/pet"
)

var (
	tortureFor  = flag.Duration("torture", 3*time.Second, "how long TestTorture tries new seeds")
	tortureSeed = flag.Uint64("seed", 0, "the only seed that TestTorture tries; 0 means new ones")
)

// torn is a world in which everything goes wrong at random: store calls fail before or after the fact, writes land late, processes
// die between any two calls, clocks jump.
type torn struct {
	rnd           *rand.Rand
	mu            sync.Mutex // guards rnd
	photos, store *blob.Memory
	now           atomic.Int64
	calm          atomic.Bool
	late          sync.WaitGroup // writes that land after they were reported failed
}

func newTorn(seed uint64) *torn {
	w := &torn{rnd: rand.New(rand.NewPCG(seed, 1))}
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w.photos, w.store = blob.NewMemory(w.clock), blob.NewMemory(w.clock)
	return w
}

func (w *torn) clock() time.Time { return time.Unix(0, w.now.Load()) }

func (w *torn) chance(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

// lateStore fails calls, some of which take effect all the same, now or later.
type lateStore struct {
	blob.Store
	w *torn
}

func (s lateStore) write(op blobtest.Op, key string, call func(context.Context) (blob.Info, error), ctx context.Context) (blob.Info, error) {
	if s.w.calm.Load() {
		return call(ctx)
	}
	if err := ctx.Err(); err != nil {
		return blob.Info{}, err
	}
	switch s.w.chance(40) {
	case 0:
		return blob.Info{}, blobtest.Outage(op, key)
	case 1:
		_, _ = call(context.WithoutCancel(ctx))
		return blob.Info{}, blobtest.Outage(op, key)
	case 2:
		s.w.late.Go(func() {
			time.Sleep(time.Duration(s.w.chance(3000)) * time.Microsecond) // a delay of the network, not a synchronisation
			_, _ = call(context.WithoutCancel(ctx))
		})
		return blob.Info{}, blobtest.Outage(op, key)
	case 3:
		return blob.Info{}, fmt.Errorf("%s %s: %w: 409", op, key, blob.ErrUnclear)
	}
	return call(ctx)
}

func (s lateStore) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	return s.write(blobtest.Create, key, func(ctx context.Context) (blob.Info, error) { return s.Store.Create(ctx, key, body, attr) }, ctx)
}

func (s lateStore) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	return s.write(blobtest.Swap, key, func(ctx context.Context) (blob.Info, error) { return s.Store.Swap(ctx, key, etag, body, attr) }, ctx)
}

func (s lateStore) DeleteMany(ctx context.Context, keys []string) error {
	_, err := s.write(blobtest.Delete, "keys", func(ctx context.Context) (blob.Info, error) {
		if n := len(keys); n > 1 && !s.w.calm.Load() && s.w.chance(10) == 0 { // a part of them
			return blob.Info{}, errors.Join(s.Store.DeleteMany(ctx, keys[:n/2]), blobtest.Outage(blobtest.Delete, "keys"))
		}
		return blob.Info{}, s.Store.DeleteMany(ctx, keys)
	}, ctx)
	return err
}

func (s lateStore) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	if !s.w.calm.Load() && s.w.chance(60) == 0 {
		return blob.Object{}, blobtest.Outage(blobtest.Get, key)
	}
	return s.Store.Get(ctx, key, etag)
}

func (w *torn) process() *Index {
	x := Open(Config{Label: "cat", Photos: lateStore{w.photos, w}, Index: lateStore{w.store, w}, Now: w.clock})
	x.limits = limits{tail: 6, overrides: 12, segment: 16, merge: 2, absorb: 3}
	return x
}

// mass is what a reader would draw: for every picture, its weight; an error where it is there twice.
func (w *torn) mass(ctx context.Context, r *root) (map[pet.ID]pet.Weight, error) {
	mass := map[pet.ID]pet.Weight{}
	add := func(id pet.ID, weight pet.Weight, where string) error {
		if mass[id] > 0 {
			return fmt.Errorf("%s is in the index twice: again in %s, root version %d", id, where, r.version)
		}
		if weight > 0 {
			mass[id] = weight
		}
		return nil
	}
	old := map[pet.ID]uint32{}
	for _, row := range r.rows {
		o, err := w.store.Get(ctx, fmt.Sprintf("index/cat/segments/%016x", row.name), "")
		if err != nil {
			return nil, fmt.Errorf("root version %d lists a segment that is not there: %w", r.version, err)
		}
		s, err := decodeSegment(o.Body, row)
		if err != nil {
			return nil, err
		}
		for _, p := range s.recs {
			if _, overridden := findOverride(r.overrides, p.id); overridden {
				old[p.id] += uint32(p.weight)
			} else if err := add(p.id, p.weight, "a segment"); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range r.tail {
		if err := add(t.id, t.weight, "the tail"); err != nil {
			return nil, err
		}
	}
	for _, o := range r.overrides {
		if err := add(o.id, o.weight, "overrides"); err != nil {
			return nil, err
		}
		if old[o.id] != o.old {
			return nil, fmt.Errorf("override of %s supersedes %d, the root says %d", o.id, old[o.id], o.old)
		}
	}
	return mass, nil
}

func (w *torn) root(ctx context.Context) (*root, error) {
	o, err := w.store.Get(ctx, "index/cat/root", "")
	if errors.Is(err, blob.ErrNotFound) {
		return &root{}, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeRoot(o.Body)
}

func tortureID(i int) (pet.ID, []byte) {
	body := binary.BigEndian.AppendUint64(nil, uint64(i))
	return pet.NewID(sha256.Sum256(body), pet.PNG), body
}

// TestTorture runs the real code against stores that fail in every way, and compares index and truth when the storm is over.
func TestTorture(t *testing.T) {
	if *tortureSeed != 0 {
		torture(t, *tortureSeed)
		return
	}
	until := time.Now().Add(*tortureFor)
	runs := 0
	for seed := uint64(time.Now().UnixNano()); time.Now().Before(until) && !t.Failed(); seed++ {
		torture(t, seed)
		runs++
	}
	t.Logf("%d storms", runs)
}

func torture(t *testing.T, seed uint64) {
	w := newTorn(seed)
	fail := func(format string, args ...any) {
		t.Errorf("seed %d: %s", seed, fmt.Sprintf(format, args...))
	}
	const pictures, processes, steps = 24, 4, 25
	var broken [pictures]atomic.Bool // some change of it was not acknowledged: it may be half done
	var inFlight sync.RWMutex
	var wg sync.WaitGroup
	stop := make(chan struct{})
	watch := sync.WaitGroup{}
	watch.Go(func() { // no root that anybody could see has a picture twice
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := w.root(context.Background())
			if err == nil {
				_, err = w.mass(context.Background(), r)
			}
			// A segment may be collected between the two reads; then the root has moved on.
			if err != nil && !(errors.Is(err, blob.ErrNotFound) && moved(w, r)) {
				fail("%v", err)
				return
			}
		}
	})
	for range processes {
		x := w.process()
		wg.Go(func() {
			for range steps {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+w.chance(60))*time.Millisecond) // the end of a process
				i := w.chance(pictures)
				id, body := tortureID(i)
				inFlight.RLock()
				var err error
				switch w.chance(8) {
				case 0, 1, 2, 3:
					_, err = x.Add(ctx, Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: pet.Weight(1 + w.chance(5))})
				case 4, 5:
					_, err = x.Set(ctx, id, pet.Weight(w.chance(4)))
				case 6:
					_, err = x.Remove(ctx, id, w.chance(6) == 0)
				case 7:
					_ = x.Tend(ctx)
				}
				cancel()
				inFlight.RUnlock()
				if err != nil && (!gone(err) || errors.Is(err, blob.ErrUnavailable) || errors.Is(err, ErrBusy)) {
					broken[i].Store(true)
				}
				w.now.Add(int64(time.Duration(w.chance(5000)) * time.Millisecond))
				if w.chance(60) == 0 { // no handler lives that long: the protocol counts on it
					inFlight.Lock()
					w.now.Add(int64(17 * time.Minute))
					inFlight.Unlock()
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	watch.Wait()
	w.late.Wait()
	w.calm.Store(true)
	ctx := t.Context()
	x := w.process()
	for range 3 { // one to fold what is left, then merges
		if err := x.Tend(ctx); err != nil {
			fail("tend: %v", err)
		}
		w.now.Add(int64(2 * collectAge))
	}
	// Nothing that was acknowledged needs healing.
	compareWithTruth(ctx, w, x, fail, func(i int) bool { return !broken[i].Load() && i < pictures }, pictures)
	// What was half done is found, and mended; then nothing is found any more.
	for round := range 4 {
		faults := 0
		err := x.Check(ctx, true, func(f Fault) { faults++ }, func(int) {})
		if err != nil && !errors.Is(err, ErrBusy) { // overrides are few here: upkeep makes room
			fail("check: %v", err)
		}
		if err == nil && faults == 0 {
			break
		}
		if round == 3 {
			fail("%d faults are still found, %v", faults, err)
		}
		w.now.Add(int64(2 * collectAge))
		if err := x.Tend(ctx); err != nil {
			fail("tend: %v", err)
		}
	}
	compareWithTruth(ctx, w, x, fail, func(int) bool { return true }, pictures)
	// The index is derived: destroyed and made anew it says the same, and so it does when it is made anew beside itself.
	for range 2 {
		if err := x.Reindex(ctx, func(f Fault) { fail("after reindex: %s: %s", f.ID, f.What) }, func(int) {}); err != nil {
			fail("reindex: %v", err)
		}
		compareWithTruth(ctx, w, x, fail, func(int) bool { return true }, pictures)
		w.store = blob.NewMemory(w.clock)
		x = w.process()
	}
	if err := x.Reindex(ctx, func(Fault) {}, func(int) {}); err != nil {
		fail("reindex of nothing: %v", err)
	}
	compareWithTruth(ctx, w, x, fail, func(int) bool { return true }, pictures)
	w.now.Add(int64(2 * collectAge))
	if err := x.Tend(ctx); err != nil {
		fail("tend: %v", err)
	}
	if page, err := w.store.List(ctx, "journal/", "", 10); err != nil || len(page.Objects) > 0 {
		fail("%d entries are left in the journal, %v", len(page.Objects), err)
	}
	r, err := w.root(ctx)
	if err != nil {
		fail("%v", err)
		return
	}
	if page, err := w.store.List(ctx, "index/cat/segments/", "", 1000); err != nil || len(page.Objects) != len(r.rows) {
		fail("%d segments, %d are listed, %v", len(page.Objects), len(r.rows), err)
	}
}

func compareWithTruth(ctx context.Context, w *torn, x *Index, fail func(string, ...any), which func(i int) bool, pictures int) {
	r, err := w.root(ctx)
	if err != nil {
		fail("%v", err)
		return
	}
	mass, err := w.mass(ctx, r)
	if err != nil {
		fail("%v", err)
	}
	for i := range pictures {
		id, _ := tortureID(i)
		truth, err := x.weigh(ctx, id)
		if which(i) && (err != nil || mass[id] != truth) {
			fail("picture %d, %s: the index says %d, the truth %d, %v", i, id, mass[id], truth, err)
		}
	}
	if n, total := r.counts(); n != len(mass) || total != sum(mass) {
		fail("the root counts %d pictures of %d, there are %d of %d", n, total, len(mass), sum(mass))
	}
}

func moved(w *torn, r *root) bool {
	now, err := w.root(context.Background())
	return err == nil && r != nil && now.version != r.version
}

func sum(mass map[pet.ID]pet.Weight) (total uint64) {
	for _, w := range mass {
		total += uint64(w)
	}
	return total
}
