package index_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index"
	"petpick/src/index/drawtest"
	"petpick/src/pet"
)

// world is two buckets, a clock that tests turn, and any number of processes on them.
type world struct {
	photos, store *blobtest.Faulty
	now           atomic.Int64
}

func newWorld() *world {
	w := &world{}
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w.photos, w.store = blobtest.NewFaulty(blob.NewMemory(w.clock)), blobtest.NewFaulty(blob.NewMemory(w.clock))
	return w
}

func (w *world) clock() time.Time        { return time.Unix(0, w.now.Load()) }
func (w *world) pass(d time.Duration)    { w.now.Add(int64(d)) }
func (w *world) open() *index.Index      { return w.openLabel("cat") }
func (w *world) failIndex(on bool)       { w.fail(w.store, on) }
func (w *world) failPhotos(on bool)      { w.fail(w.photos, on) }
func (w *world) calls() int64            { return w.photos.Calls() + w.store.Calls() }
func (w *world) rootKey(l string) string { return "index/" + l + "/root" }

func (w *world) openLabel(l pet.Label) *index.Index {
	return index.Open(index.Config{Label: l, Photos: w.photos, Index: w.store, Now: w.clock})
}

func (w *world) fail(f *blobtest.Faulty, on bool) {
	if on {
		f.Fail(blobtest.Outage, nil)
	} else {
		f.Fail(nil, nil)
	}
}

func photo(n int, w pet.Weight) index.Photo {
	body := binary.BigEndian.AppendUint64([]byte("photo"), uint64(n))
	return index.Photo{ID: pet.NewID(sha256.Sum256(body), pet.JPEG), Body: body, Width: 3, Height: 2, Weight: w}
}

func add(t *testing.T, x *index.Index, p index.Photo) index.Result {
	t.Helper()
	r, err := x.Add(t.Context(), p)
	if err != nil {
		t.Fatalf("add %s: %v", p.ID, err)
	}
	return r
}

func source(seed uint64) index.Source { return rand.NewPCG(seed, 0) }

func draw(t *testing.T, x *index.Index, rnd index.Source) index.Pick {
	t.Helper()
	p, err := x.Draw(t.Context(), rnd)
	if err != nil {
		t.Fatalf("draw: %v", err)
	}
	return p
}

func TestAddThenDraw(t *testing.T) {
	w := newWorld()
	writer, reader := w.open(), w.open()
	if _, err := reader.Draw(t.Context(), source(1)); !errors.Is(err, index.ErrEmpty) {
		t.Fatalf("empty label: got %v, want ErrEmpty", err)
	}
	p := photo(1, 2500)
	r := add(t, writer, p)
	if !r.Created || r.Weight != 2500 || r.Width != 3 || r.Height != 2 || r.Bytes != int64(len(p.Body)) || r.Version == 0 || !r.UploadedAt.Equal(w.clock()) {
		t.Errorf("got %+v", r)
	}
	// The clock stands still: only the rule "no 404 from a stale view" makes the reader look again.
	if got := draw(t, reader, source(1)); got.ID != p.ID || got.Weight != 2500 {
		t.Errorf("got %+v, want %s", got, p.ID)
	}
	q := photo(2, 1_000_000)
	add(t, writer, q)
	w.pass(time.Second)
	seen := map[pet.ID]bool{}
	for i := range uint64(500) {
		seen[draw(t, reader, source(i)).ID] = true
	}
	if !seen[q.ID] {
		t.Error("a second later the heavy newcomer was never drawn")
	}
	again := p
	again.Weight = 1 // ignored: the picture keeps what it has
	if r := add(t, w.open(), again); r.Created || r.Weight != 2500 {
		t.Errorf("again: got %+v, want the first upload's weight and not created", r)
	}
	if _, err := w.openLabel("dog").Draw(t.Context(), source(1)); !errors.Is(err, index.ErrEmpty) {
		t.Errorf("the other label: got %v, want ErrEmpty", err)
	}
}

func TestManyProcessesAddAtOnce(t *testing.T) {
	w := newWorld()
	const processes, each = 8, 30
	var wg sync.WaitGroup
	var acknowledged sync.Map
	for p := range processes {
		x := w.open()
		for i := range each {
			wg.Go(func() {
				ph := photo(p*1000+i, pet.Weight(1+i))
				if _, err := x.Add(context.Background(), ph); err != nil {
					t.Errorf("process %d, picture %d: %v", p, i, err)
					return
				}
				acknowledged.Store(ph.ID, true)
			})
		}
	}
	wg.Wait()
	s, err := w.open().Stats(t.Context())
	if err != nil || s.Pictures != processes*each || s.Total != processes*each*(each+1)/2 {
		t.Errorf("got %+v, %v; want %d pictures of total %d", s, err, processes*each, processes*each*(each+1)/2)
	}
}

func TestSamePictureAtOnce(t *testing.T) {
	w := newWorld()
	var wg sync.WaitGroup
	var created atomic.Int64
	for range 32 {
		x := w.open()
		wg.Go(func() {
			r, err := x.Add(context.Background(), photo(7, 1000))
			if err != nil {
				t.Error(err)
			}
			if r.Created {
				created.Add(1)
			}
		})
	}
	wg.Wait()
	if s, _ := w.open().Stats(t.Context()); s.Pictures != 1 || s.Total != 1000 || created.Load() != 1 {
		t.Errorf("got %+v, %d creators; want one picture of 1000, one creator", s, created.Load())
	}
}

func TestSet(t *testing.T) {
	w := newWorld()
	x, other := w.open(), w.open()
	a, b := photo(1, 1000), photo(2, 1000)
	add(t, x, a)
	add(t, x, b)
	for _, weight := range []pet.Weight{5, 5, 0, 0, 16_777_215, 1000} {
		r, err := other.Set(t.Context(), a.ID, weight)
		if err != nil || r.Weight != weight {
			t.Fatalf("set %d: got %+v, %v", weight, r, err)
		}
		w.pass(time.Second)
		s, err := x.Stats(t.Context())
		if err != nil || s.Total != uint64(weight)+1000 {
			t.Errorf("set %d: total %d, %v", weight, s.Total, err)
		}
		if got, err := x.Look(t.Context(), a.ID); err != nil || got.Weight != weight {
			t.Errorf("set %d: truth says %+v, %v", weight, got, err)
		}
	}
	before, _ := x.Look(t.Context(), a.ID)
	if r := add(t, x, a); r.Weight != 1000 || r.Seq != before.Seq || r.Seq == 0 {
		t.Errorf("uploading again after Set: %+v, want what was set", r)
	}
	if _, err := x.Set(t.Context(), photo(3, 1).ID, 1); !errors.Is(err, index.ErrNoPicture) {
		t.Errorf("unknown picture: got %v, want ErrNoPicture", err)
	}
	// Pausing the only pictures: empty, and said only after a fresh look.
	for _, p := range []index.Photo{a, b} {
		if _, err := other.Set(t.Context(), p.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(time.Second)
	if _, err := x.Draw(t.Context(), source(1)); !errors.Is(err, index.ErrEmpty) {
		t.Errorf("all paused: got %v, want ErrEmpty", err)
	}
}

func TestSettersAtOnceLeaveIndexAndTruthEqual(t *testing.T) {
	w := newWorld()
	p := photo(1, 1000)
	add(t, w.open(), p)
	var wg sync.WaitGroup
	for i := range 16 {
		x := w.open()
		wg.Go(func() {
			if _, err := x.Set(context.Background(), p.ID, pet.Weight(i%3*7)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	x := w.open()
	truth, err := x.Look(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := x.Stats(t.Context()); s.Total != uint64(truth.Weight) || truth.Seq != 16 {
		t.Errorf("index says %d, truth %d after %d verdicts", s.Total, truth.Weight, truth.Seq)
	}
}

// A folder that has read an older truth must not write it over a newer one that the root happened to say already.
func TestAnOldTruthIsNotWrittenOverANewOne(t *testing.T) {
	w := newWorld()
	slow, quick := blobtest.NewFaulty(w.store), w.open()
	p := photo(1, 5)
	add(t, quick, p)
	a := index.Open(index.Config{Label: "cat", Photos: w.photos, Index: slow, Now: w.clock})
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow.Fail(func(op blobtest.Op, _ string) error {
		if op == blobtest.Swap {
			once.Do(func() { close(reached); <-release })
		}
		return nil
	}, nil)
	done := make(chan error)
	go func() { _, err := a.Set(context.Background(), p.ID, 7); done <- err }()
	<-reached // A has read root 5 and truth 7, and is about to swap
	if _, err := quick.Set(t.Context(), p.ID, 5); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	truth, err := quick.Look(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := w.open().Stats(t.Context()); err != nil || s.Total != uint64(truth.Weight) {
		t.Errorf("the index says %d, the truth %d, %v", s.Total, truth.Weight, err)
	}
}

func TestCallsOfADraw(t *testing.T) {
	w := newWorld()
	add(t, w.open(), photo(1, 1000))
	x := w.open()
	count := func() int64 { before := w.calls(); draw(t, x, source(1)); return w.calls() - before }
	if n := count(); n != 1 {
		t.Errorf("cold: %d calls, want 1", n)
	}
	for range 100 {
		if n := count(); n != 0 {
			t.Fatalf("within the second: %d calls, want 0", n)
		}
	}
	w.pass(time.Second)
	if n := count(); n != 1 {
		t.Errorf("after a second: %d calls, want 1", n)
	}
	w.pass(-time.Hour)
	if n := count(); n != 1 {
		t.Errorf("after the clock was set back: %d calls, want 1", n)
	}
}

func TestOutage(t *testing.T) {
	w := newWorld()
	writer, x, cold := w.open(), w.open(), w.open()
	p := photo(1, 1000)
	add(t, writer, p)
	draw(t, x, source(1))
	w.failIndex(true)
	before := w.calls()
	for range 50 {
		w.pass(100 * time.Millisecond)
		if got := draw(t, x, source(1)); got.ID != p.ID {
			t.Fatalf("got %s, want the last view's %s", got.ID, p.ID)
		}
	}
	if n := w.calls() - before; n < 2 || n > 5 {
		t.Errorf("%d calls in 5 s of outage, want at most one a second", n)
	}
	if _, err := cold.Draw(t.Context(), source(1)); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("cold draw: got %v, want ErrUnavailable", err)
	}
	q := photo(2, 1000)
	if _, err := writer.Add(t.Context(), q); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("add: got %v, want ErrUnavailable", err)
	}
	w.failIndex(false)
	w.pass(2 * time.Second)
	if r := add(t, writer, q); r.Created {
		t.Error("the photo of the failed add was lost")
	}
	if s, err := x.Stats(t.Context()); err != nil || s.Pictures != 2 {
		t.Errorf("after the outage: %+v, %v; want 2 pictures", s, err)
	}
	w.failPhotos(true)
	if _, err := writer.Add(t.Context(), photo(3, 1000)); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("add without photos: got %v, want ErrUnavailable", err)
	}
	draw(t, x, source(1)) // needs none
}

func TestEmptyIsNeverSaidDuringAnOutage(t *testing.T) {
	w := newWorld()
	x := w.open()
	if _, err := x.Draw(t.Context(), source(1)); !errors.Is(err, index.ErrEmpty) {
		t.Fatal(err)
	}
	w.failIndex(true)
	if _, err := x.Draw(t.Context(), source(1)); errors.Is(err, index.ErrEmpty) || !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable and not ErrEmpty", err)
	}
}

// Every write of Add and Set fails twice: not applied, and applied but reported failed. Nothing is acknowledged that is not
// there, nothing is doubled, and doing it again heals.
func TestEveryWriteFailsOnceEachWay(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for nth := range 6 {
			t.Run(fmt.Sprintf("write %d, applied %v", nth, applied), func(t *testing.T) {
				w := newWorld()
				x := w.open()
				add(t, x, photo(0, 1000))
				var writes atomic.Int64
				hook := func(op blobtest.Op, key string) error {
					if (op == blobtest.Create || op == blobtest.Swap) && writes.Add(1) == int64(nth+1) {
						return blobtest.Outage(op, key)
					}
					return nil
				}
				for _, f := range []*blobtest.Faulty{w.photos, w.store} {
					if applied {
						f.Fail(nil, hook)
					} else {
						f.Fail(hook, nil)
					}
				}
				p := photo(1, 2000)
				_, errAdd := x.Add(t.Context(), p)
				if errAdd != nil {
					add(t, x, p)
				}
				if _, err := x.Set(t.Context(), p.ID, 5000); err != nil {
					if _, err := x.Set(t.Context(), p.ID, 5000); err != nil {
						t.Fatal(err)
					}
				}
				if writes.Load() <= int64(nth) {
					t.Fatalf("only %d writes: the fault never happened", writes.Load())
				}
				if s, err := w.open().Stats(t.Context()); err != nil || s.Pictures != 2 || s.Total != 6000 {
					t.Errorf("got %+v, %v; want 2 pictures of total 6000", s, err)
				}
			})
		}
	}
}

func TestASlowRefreshDoesNotHoldUpDraws(t *testing.T) {
	w := newWorld()
	x := w.open()
	add(t, x, photo(1, 1000))
	draw(t, x, source(1))
	release := make(chan struct{})
	w.store.Fail(func(op blobtest.Op, _ string) error {
		<-release
		return nil
	}, nil)
	w.pass(time.Second)
	draw(t, x, source(1)) // waits for the bound, then goes on with the last view
	w.pass(time.Second)
	start := time.Now()
	for range 1000 { // the reading is overdue: nobody waits for it any more
		draw(t, x, source(1))
	}
	if took := time.Since(start); took > 30*time.Second { // 1,000 waits of the bound would be 300 s
		t.Errorf("1,000 draws during a slow refresh took %v: they wait for it", took)
	}
	close(release)
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestARefreshThatWasFrozenIsAbandoned(t *testing.T) {
	w := newWorld()
	x, other := w.open(), w.open()
	add(t, x, photo(1, 1000))
	draw(t, x, source(1))
	var stuck atomic.Bool
	stuck.Store(true)
	release := make(chan struct{})
	defer close(release)
	w.store.Fail(func(op blobtest.Op, _ string) error {
		if stuck.Load() && op == blobtest.Get {
			<-release
		}
		return nil
	}, nil)
	w.pass(time.Second)
	draw(t, x, source(1))
	stuck.Store(false)
	add(t, other, photo(2, 1000))
	w.pass(time.Hour)
	draw(t, x, source(1))
	if s, err := x.Stats(t.Context()); err != nil || s.Pictures != 2 {
		t.Errorf("an hour later: %+v, %v; want 2 pictures", s, err)
	}
}

func TestBadRootsAreNeverOverwritten(t *testing.T) {
	good := newWorld()
	add(t, good.open(), photo(1, 1000))
	root, err := good.store.Get(t.Context(), good.rootKey("cat"), "")
	if err != nil {
		t.Fatal(err)
	}
	future := append([]byte{}, root.Body...)
	future[4] = 9
	flipped := append([]byte{}, root.Body...)
	flipped[30] ^= 1
	for name, body := range map[string][]byte{
		"empty": {}, "truncated": root.Body[:len(root.Body)-5], "flipped": flipped, "future version": future, "not ours": []byte("<html>hello, this is not an index root at all</html>"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if _, err := w.store.Create(t.Context(), w.rootKey("cat"), body, blob.Attr{}); err != nil {
				t.Fatal(err)
			}
			x := w.open()
			if _, err := x.Draw(t.Context(), source(1)); !errors.Is(err, index.ErrFormat) {
				t.Errorf("draw: got %v, want ErrFormat", err)
			}
			if _, err := x.Add(t.Context(), photo(2, 1000)); !errors.Is(err, index.ErrFormat) {
				t.Errorf("add: got %v, want ErrFormat", err)
			}
			if o, _ := w.store.Get(t.Context(), w.rootKey("cat"), ""); string(o.Body) != string(body) {
				t.Error("the bad root was overwritten")
			}
		})
	}
}

// A view of before goes on serving when the root turns bad.
func TestBadRootAfterAGoodOne(t *testing.T) {
	w := newWorld()
	x := w.open()
	add(t, x, photo(1, 1000))
	o, _ := w.store.Get(t.Context(), w.rootKey("cat"), "")
	if _, err := w.store.Swap(t.Context(), o.Key, o.ETag, []byte("garbage"), blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	draw(t, x, source(1))
}

func TestDistribution(t *testing.T) {
	const seed = 20260101
	for name, weights := range map[string][]pet.Weight{
		"one":          {7},
		"1 and 3":      {1000, 3000},
		"wide":         {1, 10, 100, 1000, 10_000, 100_000, 1_000_000},
		"equal":        {5, 5, 5, 5, 5},
		"one dominant": {pet.MaxWeight, 1, 1, 1},
		"with paused":  {1000, 0, 3000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			x := w.open()
			want := map[pet.ID]float64{}
			for i, weight := range weights {
				p := photo(i, weight)
				add(t, x, p)
				want[p.ID] = float64(weight)
			}
			rnd := source(seed)
			counts := map[pet.ID]int{}
			for range 200_000 {
				counts[draw(t, x, rnd).ID]++
			}
			if z := drawtest.Z(counts, want); z > drawtest.MaxZ {
				t.Errorf("seed %d: z = %.1f: %v", seed, z, counts)
			}
		})
	}
}

func TestDrawsWhileThePicturesChange(t *testing.T) {
	w := newWorld()
	writer, x := w.open(), w.open()
	add(t, writer, photo(0, 1000))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rnd := source(g)
			for {
				select {
				case <-stop:
					return
				default:
				}
				w.pass(10 * time.Millisecond)
				if _, err := x.Draw(context.Background(), rnd); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		add(t, writer, photo(i, pet.Weight(1+i)))
		if i%3 == 1 { // the first picture keeps its weight: there is always one to draw
			if _, err := writer.Set(t.Context(), photo(i, 0).ID, pet.Weight(i%5)); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}
