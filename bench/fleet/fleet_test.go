// Package fleet simulates more Lambdas than one machine has: each is the service's own index over a store with S3's latencies and limits, and
// all of them live in virtual time. What is simulated is AWS; what draws, refreshes and uploads is the code that is deployed.
//
//	go test ./bench/fleet -run TestReport -count 1 -timeout 0 -fleet bench/results/2026-11-24-fleet
package fleet_test

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/blob"
	"petpick/src/index"
	"petpick/src/pet"
)

var out = flag.String("fleet", "", "write a report to these files, without extension")

// What is assumed of S3.
const (
	getMedian, firstGetMedian, putMedian = 20 * time.Millisecond, 60 * time.Millisecond, 60 * time.Millisecond
	// spread is that of a log-normal distribution whose 99th percentile is five times the median.
	spread = 0.69
	// readsPerSecond of one prefix: what is beyond is answered with 503, and not tried again as the SDK would. S3 would divide a prefix that
	// stays busy, by labels at first; here it never does.
	readsPerSecond, writesPerSecond = 5500, 3500
)

// bucket is S3: objects that all share.
type bucket struct {
	*blob.Memory
	reads   counter // of the index's prefix, all labels together
	refused counter // of those
}

// counter counts events by the second.
type counter struct {
	mu       sync.Mutex
	began    time.Time
	bySecond []int
}

// add counts one, and says how many there were in this second.
func (c *counter) add() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := int(time.Since(c.began) / time.Second)
	c.reach(s + 1)
	c.bySecond[s]++
	return c.bySecond[s]
}

func (c *counter) reach(seconds int) {
	for len(c.bySecond) < seconds {
		c.bySecond = append(c.bySecond, 0)
	}
}

// busiest is the most in a second; readings that nobody waits for may have counted, too.
func (c *counter) busiest() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Max(c.bySecond)
}

// within are the counts of the whole seconds between two times.
func (c *counter) within(from, to time.Time) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, end := int(math.Ceil(from.Sub(c.began).Seconds())), int(to.Sub(c.began)/time.Second)
	c.reach(end)
	return c.bySecond[first:end]
}

// newBucket has two pictures of each label, in a segment.
func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{Memory: blob.NewMemory(nil)}
	for label, x := range index.OpenAll(index.Config{Photos: b.Memory, Index: b.Memory}) {
		add(t, x, picture(label, 1, 1))
		add(t, x, picture(label, 2, 1))
		if err := x.Reindex(t.Context(), func(index.Fault) {}, func(int) {}); err != nil {
			t.Fatal(err)
		}
		if page, err := b.List(t.Context(), "index/"+string(label)+"/segments/", "", 2); err != nil || len(page.Objects) != 1 {
			t.Fatalf("%s has %d segments, want 1: %v", label, len(page.Objects), err)
		}
	}
	time.Sleep(time.Minute) // a fold looks into segments for what was uploaded about when they were written
	b.reads.began, b.refused.began = time.Now(), time.Now()
	return b
}

// connection is one environment's way to the bucket: its first call takes longer.
type connection struct {
	*bucket
	used atomic.Bool
}

// call takes as long as S3 does, drawn once; S3 does what it is asked somewhere on the way.
func call[T any](ctx context.Context, c *connection, median time.Duration, do func() (T, error)) (v T, err error) {
	if !c.used.Swap(true) {
		median = firstGetMedian
	}
	took := time.Duration(float64(median) * math.Exp(spread*rand.NormFloat64()))
	before := time.Duration(rand.Float64() * float64(took))
	pause(ctx, before)
	v, err = do()
	pause(ctx, took-before)
	if ctx.Err() != nil { // the answer found nobody
		return v, fmt.Errorf("%w: %w: %w", blob.ErrUnclear, blob.ErrUnavailable, ctx.Err())
	}
	return v, err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// read is a call that may be one too many of the index's prefix.
func read(ctx context.Context, c *connection, key string, do func() (blob.Object, error)) (blob.Object, error) {
	if strings.HasPrefix(key, "index/") && c.reads.add() > readsPerSecond {
		c.refused.add()
		do = func() (blob.Object, error) { return blob.Object{}, fmt.Errorf("get %s: %w", key, blob.ErrUnavailable) }
	}
	return call(ctx, c, getMedian, do)
}

// Get implements blob.Store.
func (c *connection) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	return read(ctx, c, key, func() (blob.Object, error) { return c.Memory.Get(ctx, key, etag) })
}

// GetRange implements blob.Store.
func (c *connection) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	return read(ctx, c, key, func() (blob.Object, error) { return c.Memory.GetRange(ctx, key, offset, n) })
}

// Create implements blob.Store.
func (c *connection) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	return call(ctx, c, putMedian, func() (blob.Info, error) { return c.Memory.Create(ctx, key, body, attr) })
}

// Swap implements blob.Store.
func (c *connection) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	return call(ctx, c, putMedian, func() (blob.Info, error) { return c.Memory.Swap(ctx, key, etag, body, attr) })
}

// Head implements blob.Store.
func (c *connection) Head(ctx context.Context, key string) (blob.Info, error) {
	return call(ctx, c, getMedian, func() (blob.Info, error) { return c.Memory.Head(ctx, key) })
}

// List implements blob.Store.
func (c *connection) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	return call(ctx, c, 2*getMedian, func() (blob.Page, error) { return c.Memory.List(ctx, prefix, after, limit) })
}

// environment is a Lambda's indexes, one for each label, over one connection.
func environment(b *bucket) index.All {
	c := &connection{bucket: b}
	return index.OpenAll(index.Config{Photos: c, Index: c})
}

// picture is one of a label's; the third of each is the one that is uploaded while a fleet draws.
func picture(l pet.Label, seed byte, w pet.Weight) index.Photo {
	body := []byte{l[0], seed}
	return index.Photo{ID: pet.NewID(sha256.Sum256(body), pet.JPEG), Body: body, Width: 1, Height: 1, Weight: w}
}

func uploaded(l pet.Label) index.Photo { return picture(l, 3, pet.MaxWeight) }

// add uploads as a client does: what was not acknowledged is sent again after a second.
func add(t *testing.T, x *index.Index, p index.Photo) {
	t.Helper()
	var err error
	for range 60 {
		if _, err = x.Add(t.Context(), p); err == nil {
			return
		}
		time.Sleep(time.Second)
	}
	t.Error(err)
}

// source is the runtime's generator.
type source struct{}

func (source) Uint64() uint64 { return rand.Uint64() }

// middle draws from the third quarter of the weights: the uploaded picture has nearly all weight, and who knows of it draws it.
type middle struct{}

func (middle) Uint64() uint64 { return 1<<63 | rand.Uint64()>>2 }

// run is what a warm fleet did.
type run struct {
	environments, draws, failed int
	waits                       []time.Duration // of draws, sorted
	stale                       []time.Duration // of each environment: the age of the upload at the last draw that did not know of it; sorted
	reads                       []int           // by the second, once all are warm
	refused                     int             // of those
}

const (
	drawsPerSecond = 5 // of each environment, of both labels together
	// rampUp is for how long environments start, and the fleet is warm a while later.
	rampUp      = 10 * time.Second
	warmUp      = rampUp + 5*time.Second
	afterUpload = 10 * time.Second
	// landed is when readings of the root that nobody waits for have ended, too: virtual time stops with the test.
	landed = 10 * time.Second
)

// simulate lets a fleet draw while a picture of each label is uploaded.
func simulate(t *testing.T, environments int) (r run) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		warm := time.Now().Add(warmUp)
		ends := warm.Add(afterUpload)
		acknowledged := map[pet.Label]*atomic.Int64{}
		for _, l := range pet.Labels {
			acknowledged[l] = new(atomic.Int64)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range environments {
			wg.Go(func() {
				e := drawing{all: environment(b), acknowledged: acknowledged, warm: warm}
				e.until(t.Context(), ends)
				mu.Lock()
				defer mu.Unlock()
				r.draws, r.failed = r.draws+e.draws, r.failed+e.failed
				r.waits = append(r.waits, e.waits...)
				r.stale = append(r.stale, e.stale)
			})
		}
		time.Sleep(time.Until(warm))
		for l, x := range environment(b) {
			wg.Go(func() {
				add(t, x, uploaded(l))
				acknowledged[l].Store(time.Now().UnixNano())
			})
		}
		wg.Wait()
		time.Sleep(landed)
		r.environments, r.reads = environments, b.reads.within(warm, ends)
		for _, n := range b.refused.within(warm, ends) {
			r.refused += n
		}
	})
	slices.Sort(r.waits)
	slices.Sort(r.stale)
	return r
}

// drawing is an environment that draws.
type drawing struct {
	all          index.All
	acknowledged map[pet.Label]*atomic.Int64 // Unix nanoseconds
	warm         time.Time

	draws, failed int
	waits         []time.Duration
	stale         time.Duration // how long after the upload was acknowledged the last draw began that did not draw it, of either label
}

func (e *drawing) until(ctx context.Context, ends time.Time) {
	time.Sleep(time.Duration(rand.Float64() * float64(rampUp)))
	pause := func() { time.Sleep(time.Duration(rand.ExpFloat64() / drawsPerSecond * float64(time.Second))) }
	for pause(); time.Now().Before(ends); pause() {
		began, l := time.Now(), label()
		pick, err := e.all[l].Draw(ctx, middle{})
		if began.Before(e.warm) {
			continue
		}
		e.draws++
		e.waits = append(e.waits, time.Since(began))
		if err != nil {
			e.failed++
			continue
		}
		if at := e.acknowledged[l].Load(); at > 0 && began.UnixNano() > at && pick.ID != uploaded(l).ID {
			e.stale = max(e.stale, began.Sub(time.Unix(0, at)))
		}
	}
}

// label is one of them, at random.
func label() pet.Label { return pet.Labels[rand.IntN(len(pet.Labels))] }

func at(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// mostEnvironments is up to which number the bars hold: with more, one prefix that S3 never divides does not answer all readings.
const mostEnvironments = 3000

// promised is within which time after its acknowledgement an upload is drawn.
const promised = time.Second

// bars says what a fleet did not keep.
func (r run) bars() (broken []string) {
	if r.failed > 0 || r.refused > 0 {
		broken = append(broken, fmt.Sprintf("%d draws failed, the store refused %d reads", r.failed, r.refused))
	}
	// Of few environments that percentile is the worst of all, which one reading that is slower than draws wait for decides.
	if p := at(r.stale, 0.99); len(r.stale) >= 1000 && p > promised {
		broken = append(broken, fmt.Sprintf("the 99th percentile of staleness is %v, want %v", p, promised))
	}
	if p := at(r.waits, 0.5); p != 0 {
		broken = append(broken, fmt.Sprintf("half of the draws wait %v, want nothing", p))
	}
	// A reading at most each second for each label, and those of the uploads.
	if most := slices.Max(r.reads); most > r.environments*len(pet.Labels)*21/20+10 {
		broken = append(broken, fmt.Sprintf("%d reads of the index in a second", most))
	}
	return broken
}

// TestWarmFleet: the promises that hold for one environment hold for as many as the bars say.
func TestWarmFleet(t *testing.T) {
	for _, n := range []int{1000, mostEnvironments} {
		r := simulate(t, n)
		for _, b := range r.bars() {
			t.Errorf("%d environments: %s", n, b)
		}
		if at(r.stale, 0.9) == 0 {
			t.Errorf("%d environments: no draw began before the upload was known everywhere: nothing was tried", n)
		}
	}
}

// TestBarsCanFail: each bar is missed by a fleet that should miss it.
func TestBarsCanFail(t *testing.T) {
	good := func() run {
		return run{environments: 1000, draws: 3, waits: []time.Duration{0, 0, 1}, stale: slices.Repeat([]time.Duration{promised}, 1000), reads: []int{1, 2000}}
	}
	if b := good().bars(); len(b) > 0 {
		t.Errorf("a good run: %v", b)
	}
	for name, spoil := range map[string]func(*run){
		"failed":  func(r *run) { r.failed = 1 },
		"refused": func(r *run) { r.refused = 1 },
		"stale":   func(r *run) { r.stale = slices.Repeat([]time.Duration{promised + 1}, 1000) },
		"waits":   func(r *run) { r.waits[1] = 1 },
		"reads":   func(r *run) { r.reads[1] = 2200 },
	} {
		r := good()
		if spoil(&r); len(r.bars()) != 1 {
			t.Errorf("%s: %v", name, r.bars())
		}
	}
}

// TestLatencies: what is said of S3's is what is simulated.
func TestLatencies(t *testing.T) {
	const n = 20_000
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		var gets, firsts, puts []time.Duration
		timed := func(to *[]time.Duration, do func()) {
			began := time.Now()
			do()
			*to = append(*to, time.Since(began))
		}
		for i := range n {
			c := &connection{bucket: b}
			get := func() { _, _ = c.Get(t.Context(), "index/cat/root", "") }
			timed(&firsts, get)
			timed(&gets, get)
			timed(&puts, func() { _, _ = c.Create(t.Context(), fmt.Sprint("x", i), nil, blob.Attr{}) })
		}
		for what, c := range map[string]struct {
			took   []time.Duration
			median time.Duration
		}{"GET": {gets, getMedian}, "first GET": {firsts, firstGetMedian}, "PUT": {puts, putMedian}} {
			slices.Sort(c.took)
			if got := at(c.took, 0.5); got < c.median*96/100 || got > c.median*104/100 {
				t.Errorf("%s: median %v, want %v", what, got, c.median)
			}
			if got := at(c.took, 0.99); got < 5*c.median*88/100 || got > 5*c.median*112/100 {
				t.Errorf("%s: 99th percentile %v, want %v", what, got, 5*c.median)
			}
		}
	})
}
