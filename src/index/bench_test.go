package index

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// growth adds the sizes that take gigabytes and minutes.
var growth = flag.Bool("growth", false, "measure with 10,000,000 and 100,000,000 pictures in memory, too")

// sink keeps what a benchmark computes from being optimized away.
var sink pet.ID

// equally is what every label has until somebody sets a weight.
func equally(n int) []pet.Weight {
	weights := make([]pet.Weight, n)
	for i := range weights {
		weights[i] = pet.DefaultWeight
	}
	return weights
}

// heavyTailed spreads weights evenly over the orders of magnitude, from 1 to the largest there is.
func heavyTailed(n int) []pet.Weight {
	rnd := rand.New(rand.NewPCG(1, 2))
	weights := make([]pet.Weight, n)
	for i := range weights {
		weights[i] = pet.Weight(1 + rnd.Uint32N(1<<rnd.UintN(24)))
	}
	return weights
}

// BenchmarkDraw is a draw from memory, refresh check included, beside other ways of drawing.
func BenchmarkDraw(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000, 1_000_000, 8_000_000}
	if *growth {
		sizes = append(sizes, 10_000_000, 100_000_000)
	}
	for _, kind := range []struct {
		name string
		of   func(n int) []pet.Weight
	}{{"heavy-tailed", heavyTailed}, {"equal", equally}} {
		for _, n := range sizes {
			if n > 8_000_000 && kind.name == "equal" {
				continue
			}
			b.Run(fmt.Sprintf("weights=%s/pictures=%d", kind.name, n), func(b *testing.B) {
				weights := kind.of(n)
				for _, w := range ways {
					if n <= w.most {
						b.Run("by="+w.name, func(b *testing.B) { benchmarkWay(b, w, weights) })
					}
				}
			})
		}
	}
}

func benchmarkWay(b *testing.B, w way, weights []pet.Weight) {
	draw := w.build(b, weights)
	sink = draw() // reads the root, where there is one
	b.ReportAllocs()
	for b.Loop() {
		sink = draw()
	}
}

// TestDrawAllocatesNothing within the second of a refresh, and from memory.
func TestDrawAllocatesNothing(t *testing.T) {
	x := indexInMemory(t, heavyTailed(1000))
	now := time.Now()
	x.now = func() time.Time { return now }
	src := newSource()
	n := testing.AllocsPerRun(1000, func() {
		if _, err := x.Draw(t.Context(), src); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations a draw", n)
	}
}

// BenchmarkRemoteDraw is what a draw from a segment that is not in memory costs here, beside the one call to the store: the answer is
// computed in place.
func BenchmarkRemoteDraw(b *testing.B) {
	for _, n := range growingSizes {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			x, store := syntheticIndex(b, n)
			src, ctx := newSource(), b.Context()
			if _, err := x.Draw(ctx, src); err != nil {
				b.Fatal(err)
			}
			store.calls.Store(0)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Draw(ctx, src); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(store.calls.Load())/float64(b.N), "calls/op") // refreshes are in it
		})
	}
}

// BenchmarkColdStart is the first draw of a process: what it reads before it can answer, and the time but for the store's.
func BenchmarkColdStart(b *testing.B) {
	for _, n := range growingSizes {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			warm, store := syntheticIndex(b, n)
			src, ctx := newSource(), b.Context()
			for b.Loop() {
				x := Open(Config{Label: "cat", Index: warm.store, Memory: 1})
				if _, err := x.Draw(ctx, src); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(store.calls.Load())/float64(b.N), "calls/op")
			b.ReportMetric(float64(store.bytes.Load())/float64(b.N), "B-read/op")
		})
	}
}

// growingSizes are of indexes that need not be in memory.
var growingSizes = []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000}

// syntheticIndex has a full tail, if there are more pictures than that, and the rest in segments, none of which it may load.
func syntheticIndex(b *testing.B, pictures int) (*Index, *metered) {
	inner := blob.NewMemory(nil)
	x := Open(Config{Label: "cat", Memory: 1})
	tail := someTail(min(pictures, root.MaxTail))
	store, rows := newSynthetic(inner, x, pictures-len(tail))
	r := &root.Root{Version: 1, Rows: rows, Tail: tail}
	if _, err := inner.Create(b.Context(), x.rootKey, r.Encode(1), blob.Attr{}); err != nil {
		b.Fatal(err)
	}
	counting := &metered{Store: store}
	x.use(counting, 1)
	return x, counting
}

func someTail(n int) []segment.Entry {
	tail := make([]segment.Entry, n)
	for i := range tail {
		tail[i] = segment.Entry{ID: idAt(i, n), Weight: pet.DefaultWeight}
	}
	return tail
}

// BenchmarkDecodeRoot is a root of a billion pictures: 954 segments and a full tail, without overrides and with as many as there may be.
func BenchmarkDecodeRoot(b *testing.B) {
	for _, overrides := range []int{0, root.MaxOverrides} {
		b.Run(fmt.Sprintf("segments=954/tail=%d/overrides=%d", root.MaxTail, overrides), func(b *testing.B) {
			r := &root.Root{Version: 1, Tail: someTail(root.MaxTail)}
			for name := range uint64(954) {
				r.Rows = append(r.Rows, syntheticRow(name, segment.Max))
			}
			for i := range overrides {
				r.Overrides = append(r.Overrides, root.Override{Entry: segment.Entry{ID: idAt(i, overrides), Weight: 2000}, Held: root.Held{Old: 1000, In: uint64(i % 954)}, At: 1})
			}
			body := r.Encode(1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := root.Decode(body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(body)), "B-of-root")
		})
	}
}

// BenchmarkResident loads a segment as draws do, and says what stays on the heap.
func BenchmarkResident(b *testing.B) {
	for _, n := range []int{10_000, segment.Max} {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			var each float64
			for b.Loop() {
				each = residentBytes(b, n)
			}
			b.ReportMetric(each, "B/picture")
		})
	}
}

// TestResidentBytes: a picture takes 32 B, and what is beside the pictures hardly counts.
func TestResidentBytes(t *testing.T) {
	if each := residentBytes(t, 100_000); each > segment.Bytes+1 {
		t.Errorf("%.2f B a picture, want %d", each, segment.Bytes)
	}
}

// residentBytes is by how much the live heap grows when a segment is loaded behind the draws, for each of its pictures.
func residentBytes(tb testing.TB, n int) float64 {
	inner := blob.NewMemory(nil)
	layout := Open(Config{Label: "cat"})
	store, rows := newSynthetic(inner, layout, n)
	if _, err := inner.Create(tb.Context(), layout.rootKey, (&root.Root{Version: 1, Rows: rows}).Encode(1), blob.Attr{}); err != nil {
		tb.Fatal(err)
	}
	counting := &metered{Store: store}
	x := Open(Config{Label: "cat", Index: counting, Now: func() time.Time { return time.Unix(1, 0) }, Memory: 1 << 30})
	src := newSource()
	before := liveHeap()
	for silent := 0; silent < 10; silent++ { // until draws make no call
		calls := counting.calls.Load()
		if _, err := x.Draw(tb.Context(), src); err != nil {
			tb.Fatal(err)
		}
		if counting.calls.Load() > calls {
			silent = 0
			time.Sleep(time.Millisecond)
		}
	}
	grown := liveHeap() - before
	runtime.KeepAlive(x)
	return float64(grown) / float64(n)
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
