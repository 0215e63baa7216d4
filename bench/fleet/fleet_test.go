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
	// stays busy; here it never does.
	readsPerSecond = 5500
)

// bucket is S3: objects that all share.
type bucket struct {
	*blob.Memory
	reads   counter // of the index's prefix
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
	for len(c.bySecond) <= s {
		c.bySecond = append(c.bySecond, 0)
	}
	c.bySecond[s]++
	return c.bySecond[s]
}

func newBucket() *bucket {
	now := time.Now()
	return &bucket{Memory: blob.NewMemory(nil), reads: counter{began: now}, refused: counter{began: now}}
}

// connection is one environment's way to the bucket: its first call takes longer.
type connection struct {
	*bucket
	used atomic.Bool
}

func (c *connection) wait(ctx context.Context, median time.Duration) {
	if !c.used.Swap(true) {
		median = firstGetMedian
	}
	t := time.NewTimer(time.Duration(float64(median) * math.Exp(spread*rand.NormFloat64())))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Get implements blob.Store.
func (c *connection) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	if strings.HasPrefix(key, "index/") && c.reads.add() > readsPerSecond {
		c.refused.add()
		c.wait(ctx, getMedian)
		return blob.Object{}, fmt.Errorf("get %s: %w", key, blob.ErrUnavailable)
	}
	// S3 answers with what is there when it looks, somewhere on the way.
	c.wait(ctx, getMedian/2)
	o, err := c.Memory.Get(ctx, key, etag)
	c.wait(ctx, getMedian/2)
	return o, err
}

// Create implements blob.Store.
func (c *connection) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	c.wait(ctx, putMedian)
	return c.Memory.Create(ctx, key, body, attr)
}

// Swap implements blob.Store.
func (c *connection) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	c.wait(ctx, putMedian)
	return c.Memory.Swap(ctx, key, etag, body, attr)
}

// Head implements blob.Store.
func (c *connection) Head(ctx context.Context, key string) (blob.Info, error) {
	c.wait(ctx, getMedian)
	return c.Memory.Head(ctx, key)
}

// List implements blob.Store.
func (c *connection) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	c.wait(ctx, 2*getMedian)
	return c.Memory.List(ctx, prefix, after, limit)
}

// environment is a Lambda's index of cats.
func environment(b *bucket) *index.Index {
	c := &connection{bucket: b}
	return index.Open(index.Config{Label: "cat", Photos: c, Index: c})
}

// Two pictures: a draw that knows of the new one draws it, but once in sixteen million times.
var (
	first  = picture(1, 1)
	second = picture(2, pet.MaxWeight)
)

func picture(seed byte, w pet.Weight) index.Photo {
	return index.Photo{ID: pet.NewID(sha256.Sum256([]byte{seed}), pet.JPEG), Body: []byte{seed}, Width: 1, Height: 1, Weight: w}
}

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

// run is what a warm fleet did.
type run struct {
	environments, draws, failed int
	waits                       []time.Duration // of draws, sorted
	stale                       []time.Duration // of each environment: the age of the upload at the last draw that did not know of it; sorted
	reads                       []int           // by the second, once all are warm
	refused                     int             // of those
}

const (
	drawsPerSecond = 5 // of each environment
	warmUp         = 5 * time.Second
	afterUpload    = 10 * time.Second
	// landed is when readings of the root that nobody waits for have ended, too: virtual time stops with the test.
	landed = 10 * time.Second
)

// simulate lets a fleet draw while a picture is uploaded.
func simulate(t *testing.T, environments int) (r run) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket()
		uploader := environment(b)
		add(t, uploader, first)
		began := time.Now()
		ends := began.Add(warmUp + afterUpload)
		var acknowledged atomic.Int64 // Unix nanoseconds
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range environments {
			wg.Go(func() {
				e := drawing{x: environment(b), acknowledged: &acknowledged, warm: began.Add(warmUp)}
				e.until(t.Context(), ends)
				mu.Lock()
				defer mu.Unlock()
				r.draws, r.failed = r.draws+e.draws, r.failed+e.failed
				r.waits = append(r.waits, e.waits...)
				r.stale = append(r.stale, e.stale)
			})
		}
		time.Sleep(warmUp)
		add(t, uploader, second)
		acknowledged.Store(time.Now().UnixNano())
		wg.Wait()
		time.Sleep(landed)
		from := int((time.Since(b.reads.began) - landed - afterUpload) / time.Second)
		r.environments, r.reads = environments, b.reads.bySecond[from:len(b.reads.bySecond)-1]
		for s := from; s < min(len(b.refused.bySecond), from+len(r.reads)); s++ {
			r.refused += b.refused.bySecond[s]
		}
	})
	slices.Sort(r.waits)
	slices.Sort(r.stale)
	return r
}

// drawing is an environment that draws.
type drawing struct {
	x            *index.Index
	acknowledged *atomic.Int64
	warm         time.Time

	draws, failed int
	waits         []time.Duration
	stale         time.Duration // how long after the upload was acknowledged the last draw began that did not draw it
}

func (e *drawing) until(ctx context.Context, ends time.Time) {
	pause := func() { time.Sleep(time.Duration(rand.ExpFloat64() / drawsPerSecond * float64(time.Second))) }
	for pause(); time.Now().Before(ends); pause() {
		began := time.Now()
		pick, err := e.x.Draw(ctx, source{})
		if began.Before(e.warm) {
			continue
		}
		e.draws++
		e.waits = append(e.waits, time.Since(began))
		if err != nil {
			e.failed++
			continue
		}
		if at := e.acknowledged.Load(); at > 0 && began.UnixNano() > at && pick.ID != second.ID {
			e.stale = began.Sub(time.Unix(0, at))
		}
	}
}

func at(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// TestWarmFleet: the promises that hold for one environment hold for a hundred.
func TestWarmFleet(t *testing.T) {
	r := simulate(t, 100)
	if r.failed > 0 || r.refused > 0 {
		t.Errorf("%d draws failed, the store refused %d reads", r.failed, r.refused)
	}
	// A reading that began before the upload's acknowledgement may still be on its way for as long as a draw waits for it.
	if worst := at(r.stale, 1); worst > 1300*time.Millisecond || worst == 0 {
		t.Errorf("a draw %v after the acknowledgement did not know of the upload, want at most 1.3 s, and some", worst)
	}
	if most := slices.Max(r.reads); most > 105 {
		t.Errorf("%d reads of the root in a second by 100 environments", most)
	}
	if p := at(r.waits, 0.5); p != 0 {
		t.Errorf("half of the draws wait %v, want nothing", p)
	}
}
