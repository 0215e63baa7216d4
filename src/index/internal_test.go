package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"petpick/src/blob"
	"petpick/src/pet"
)

func entriesOf(n int, weight func(i int) pet.Weight) ([]entry, uint64) {
	entries := make([]entry, n)
	var total uint64
	for i := range entries {
		entries[i].id = pet.ID{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 15: byte(pet.JPEG)}
		entries[i].weight = weight(i)
		total += uint64(entries[i].weight)
	}
	return entries, total
}

// The exactness of the draw, without statistics: over all columns, each picture's mass is exactly n times its weight.
func TestAliasTableIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	heavyTail := func(int) pet.Weight { return pet.Weight(1 + rnd.Uint32N(1<<rnd.UintN(24))) }
	for _, c := range []struct {
		name   string
		n      int
		weight func(int) pet.Weight
	}{
		{"one", 1, func(int) pet.Weight { return 1 }},
		{"two", 2, func(i int) pet.Weight { return pet.Weight(1 + 2*i) }},
		{"equal", 1000, func(int) pet.Weight { return 7 }},
		{"heavy tail", 12_345, heavyTail},
		{"one dominant", 5000, func(i int) pet.Weight { return []pet.Weight{1, pet.MaxWeight}[b(i == 77)] }},
		{"most, all heaviest", maxPictures, func(int) pet.Weight { return pet.MaxWeight }},
		{"most, heavy tail", maxPictures, heavyTail},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, total := entriesOf(c.n, c.weight)
			buildAlias(entries, total)
			mass := make([]uint64, c.n)
			for i, e := range entries {
				threshold, alias := e.cell>>slotBits, e.cell&slotMask
				if threshold > total || alias >= uint64(c.n) {
					t.Fatalf("column %d: threshold %d of %d, alias %d of %d", i, threshold, total, alias, c.n)
				}
				mass[i] += threshold
				mass[alias] += total - threshold
			}
			for i, m := range mass {
				if want := uint64(entries[i].weight) * uint64(c.n); m != want {
					t.Fatalf("picture %d of weight %d: mass %d, want %d", i, entries[i].weight, m, want)
				}
			}
		})
	}
}

func b(v bool) int {
	if v {
		return 1
	}
	return 0
}

func TestBelowIsUniform(t *testing.T) {
	rnd := rand.NewPCG(3, 4)
	for _, n := range []uint64{1, 2, 3, 1000, 1<<44 - 1, 1<<63 + 1} {
		for range 1000 {
			if got := below(rnd, n); got >= n {
				t.Fatalf("below(%d) = %d", n, got)
			}
		}
	}
	// Words at the edge of Lemire's rejection: with n = 3, only the word 0 is rejected.
	if got := below(&words{0, 1}, 3); got != 0 {
		t.Errorf("got %d, want 0 from the second word", got)
	}
	counts := [3]int{}
	for range 300_000 {
		counts[below(rnd, 3)]++
	}
	for i, c := range counts {
		if c < 98_500 || c > 101_500 { // 6 standard deviations are 1,549
			t.Errorf("%d of 300,000 draws gave %d", c, i)
		}
	}
}

type words []uint64

func (w *words) Uint64() uint64 {
	x := (*w)[0]
	*w = (*w)[1:]
	return x
}

func TestRootRoundTrip(t *testing.T) {
	entries, total := entriesOf(1000, func(i int) pet.Weight { return pet.Weight(1 + i) })
	r := &root{version: 42, total: total, entries: entries}
	got, err := decodeRoot(r.encode(7))
	if err != nil || got.version != 42 || got.total != total || len(got.entries) != 1000 || got.entries[999] != entries[999] {
		t.Fatalf("got version %d, total %d, %d entries, %v", got.version, got.total, len(got.entries), err)
	}
	if bytes.Equal(r.encode(1), r.encode(2)) {
		t.Error("two roots with other nonces are equal: they would share an ETag")
	}
}

func TestWith(t *testing.T) {
	r := &root{}
	rnd := rand.New(rand.NewPCG(5, 6))
	want := map[pet.ID]pet.Weight{}
	for round := range 60 {
		changes := map[pet.ID]pet.Weight{}
		for range 1 + rnd.IntN(150) {
			id := pet.ID{byte(rnd.IntN(4)), byte(rnd.IntN(256)), 15: byte(pet.PNG)}
			changes[id] = pet.Weight(rnd.IntN(3))
			want[id] = changes[id]
		}
		next, err := r.with(changes)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = decodeRoot(next.encode(uint64(round))); err != nil { // checks order, sums and weights
			t.Fatal(err)
		}
	}
	for id, w := range want {
		if got := r.weight(id); got != w {
			t.Errorf("%s: got %d, want %d", id, got, w)
		}
	}
	if r.version != 60 {
		t.Errorf("version %d after 60 changes", r.version)
	}
	full, total := entriesOf(maxPictures, func(int) pet.Weight { return 1 })
	if _, err := (&root{entries: full, total: total}).with(map[pet.ID]pet.Weight{{0xFF, 15: 1}: 1}); err == nil {
		t.Error("a full index took one more")
	}
}

func FuzzDecodeRoot(f *testing.F) {
	entries, total := entriesOf(3, func(i int) pet.Weight { return pet.Weight(1 + i) })
	f.Add((&root{version: 1, total: total, entries: entries}).encode(9))
	f.Add((&root{}).encode(0))
	f.Add([]byte("PPRT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err != nil {
			return
		}
		if len(r.entries)*entrySize > len(b) {
			t.Fatalf("%d entries out of %d bytes", len(r.entries), len(b))
		}
		r.ready()
		if r.total > 0 {
			drawAlias(r.entries, r.total, rand.NewPCG(1, 1))
		}
	})
}

func FuzzDecodeVerdict(f *testing.F) {
	f.Add(verdict{seq: 3, weight: 1500}.encode(1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeVerdict(b); err == nil {
			if again, err := decodeVerdict(v.encode(5)); err != nil || again != v {
				t.Fatalf("%+v read back as %+v, %v", v, again, err)
			}
		}
	})
}

// BenchmarkDraw is a draw from memory, refresh check included.
func BenchmarkDraw(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			entries, total := entriesOf(n, func(int) pet.Weight { return pet.Weight(1 + rnd.Uint32N(1<<20)) })
			r := &root{version: 1, total: total, entries: entries}
			store := blob.NewMemory(nil)
			if _, err := store.Create(b.Context(), "index/cat/root", r.encode(1), blob.Attr{}); err != nil {
				b.Fatal(err)
			}
			x := Open(Config{Label: "cat", Index: store})
			src := rand.NewPCG(3, 4)
			if _, err := x.Draw(b.Context(), src); err != nil { // loads it
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Draw(b.Context(), src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoad is what a refresh costs when the root has changed: decoding it and building the alias table.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			entries, total := entriesOf(n, func(i int) pet.Weight { return pet.Weight(1 + i%1000) })
			body := (&root{total: total, entries: entries}).encode(1)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r, err := decodeRoot(body)
				if err != nil {
					b.Fatal(err)
				}
				r.ready()
			}
		})
	}
}
