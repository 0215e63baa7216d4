package index

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index/root"
	"petpick/src/index/segment"
)

// counted is an index over a store that counts calls by what they ask for: "get root", "getrange segment".
type counted struct {
	*Index
	t   *testing.T
	now time.Time

	mu    sync.Mutex
	calls map[string]int // of the last draw
	whole int            // segments that were asked for whole, by all draws
	// loading, while it is not nil, holds up whole segments on their way into memory.
	loading chan struct{}
}

// newCounted has a root of so many pictures in the tail and in synthetic segments, and so much memory.
func newCounted(t *testing.T, tail, pictures int, memory int64) *counted {
	t.Helper()
	c := &counted{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), calls: map[string]int{}}
	clock := func() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
	inner := blob.NewMemory(clock)
	layout := Open(Config{Label: "cat"})
	store, rows := newSynthetic(inner, layout, pictures)
	r := &root.Root{Version: 1, Rows: rows}
	for i := range tail {
		r.Tail = append(r.Tail, segment.Entry{ID: idAt(i, tail), Weight: 1000})
	}
	if _, err := inner.Create(t.Context(), layout.rootKey, r.Encode(1), blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	faulty := blobtest.NewFaulty(store)
	faulty.Fail(func(op blobtest.Op, key string) error {
		what := string(op) + " root"
		if strings.Contains(key, "/segments/") {
			what = string(op) + " segment"
		}
		c.mu.Lock()
		c.calls[what]++
		loading := c.loading
		if what != "get segment" {
			loading = nil
		} else {
			c.whole++
		}
		c.mu.Unlock()
		if loading != nil {
			<-loading
		}
		return nil
	}, nil)
	c.Index = Open(Config{Label: "cat", Index: faulty, Now: clock, Memory: memory})
	return c
}

// draw draws once and holds the calls that it made against what it may make.
func (c *counted) draw(when string, src segment.Source, want map[string]int) {
	c.t.Helper()
	c.mu.Lock()
	clear(c.calls)
	c.mu.Unlock()
	if _, err := c.Draw(c.t.Context(), src); err != nil {
		c.t.Fatalf("%s: %v", when, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, "get segment") // behind the draws
	if !maps.Equal(c.calls, want) {
		c.t.Errorf("%s: calls %v, want %v", when, c.calls, want)
	}
}

func (c *counted) pass(d time.Duration) { c.mu.Lock(); c.now = c.now.Add(d); c.mu.Unlock() }

// The calls of a draw do not depend on how many pictures there are: none within the second, one to refresh, one more from a segment
// that is not in memory.
func TestCallsOfADrawWhateverTheSize(t *testing.T) {
	for name, size := range map[string]struct{ tail, pictures int }{
		"one picture":      {1, 0},
		"a tail":           {root.MaxTail, 0},
		"three segments":   {0, 3 * segment.Max},
		"a billion":        {0, 1_000_000_000},
		"954 and the tail": {root.MaxTail, 954 * segment.Max},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t, size.tail, size.pictures, 1)
			src := newSource()
			later, cold := map[string]int{}, map[string]int{"get root": 1}
			if size.pictures > 0 { // in the last of the cases a draw from the tail is too rare to happen here
				later["getrange segment"], cold["getrange segment"] = 1, 1
			}
			c.draw("cold", src, cold)
			for range 20 {
				c.draw("within the second", src, later)
			}
			c.pass(time.Second)
			c.draw("after a second", src, cold)
			if c.whole > 0 {
				t.Errorf("%d segments were read whole, without memory for them", c.whole)
			}
		})
	}
}

// A cold draw does not wait for its segment to get into memory; once it is there, draws make no call.
func TestCallsWhileASegmentIsLoaded(t *testing.T) {
	const n = 10_000
	c := newCounted(t, 0, n, n*segment.Bytes)
	c.loading = make(chan struct{})
	src := newSource()
	c.draw("cold", src, map[string]int{"get root": 1, "getrange segment": 1})
	c.draw("while it is loaded", src, map[string]int{"getrange segment": 1})
	without := c.reader.Current()
	close(c.loading)
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if c.reader.Current() != without { // the clock stands still: nothing else makes a new view
			break
		}
		if time.Now().After(until) {
			t.Fatal("the segment does not get into memory")
		}
	}
	for range 20 {
		c.draw("once it is loaded", src, map[string]int{})
	}
	c.pass(time.Second)
	c.draw("after a second", src, map[string]int{"get root": 1})
}

// A label without pictures is read once before a draw says so, and once more by the next.
func TestCallsOfADrawFromNothing(t *testing.T) {
	store, reads := blobtest.NewFaulty(blob.NewMemory(nil)), 0
	store.Fail(func(blobtest.Op, string) error { reads++; return nil }, nil)
	x := Open(Config{Label: "cat", Index: store})
	for want := 1; want <= 2; want++ {
		if _, err := x.Draw(t.Context(), newSource()); !errors.Is(err, ErrEmpty) || reads != want {
			t.Errorf("got %v after %d calls, want ErrEmpty after %d", err, reads, want)
		}
	}
}
