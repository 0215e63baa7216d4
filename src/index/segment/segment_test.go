package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/pet"
)

// idAt spreads n ids over the whole range, as hashes are.
func idAt(i, n int) pet.ID {
	var id pet.ID
	binary.BigEndian.PutUint64(id[:], uint64(i)*(^uint64(0)/uint64(n)))
	id[15] = byte(pet.JPEG)
	return id
}

// newStore has no memory for segments: all are read in parts.
func newStore() *Store {
	return Open(Config{Label: "cat", Store: blob.NewMemory(nil), Now: time.Now, Rand: rand.New(rand.NewPCG(1, 2)), Log: slog.New(slog.DiscardHandler)})
}

func tableWith(n int, weight func(i int) pet.Weight) *Table {
	recs := make([]rec, n)
	for i := range recs {
		recs[i].ID, recs[i].Weight = idAt(i, n), weight(i)
	}
	return newTable(recs)
}

// bodyOf is a segment in memory as a body to be stored.
func bodyOf(s *Table) body {
	b := newBody(len(s.recs))
	for _, r := range s.recs {
		b = b.add(Entry{r.ID, r.Weight})
	}
	return b
}

func (s *Table) encode() []byte {
	b, _ := bodyOf(s).finish(0)
	return b
}

func (s *Table) row(name uint64) Row {
	_, r := bodyOf(s).finish(name)
	return r
}

// The exactness of the draw, without statistics: over all columns, each picture's mass is exactly n times its weight.
func TestAliasTableIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	heavyTail := func(int) pet.Weight { return pet.Weight(1 + rnd.Uint32N(1<<rnd.UintN(24))) }
	oneDominant := func(i int) pet.Weight {
		if i == 77 {
			return pet.MaxWeight
		}
		return 1
	}
	for _, c := range []struct {
		name   string
		n      int
		weight func(int) pet.Weight
	}{
		{"one", 1, func(int) pet.Weight { return 1 }},
		{"two", 2, func(i int) pet.Weight { return pet.Weight(1 + 2*i) }},
		{"equal", 1000, func(int) pet.Weight { return 7 }},
		{"heavy tail", 12_345, heavyTail},
		{"one dominant", 5000, oneDominant},
		{"most, all heaviest", Max, func(int) pet.Weight { return pet.MaxWeight }},
		{"most, heavy tail", Max, heavyTail},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tableWith(c.n, c.weight)
			mass := make([]uint64, c.n)
			for i, r := range s.recs {
				threshold, alias := r.cell>>slotBits, r.cell&slotMask
				if threshold > s.total || alias >= uint64(c.n) {
					t.Fatalf("column %d: threshold %d of %d, alias %d of %d", i, threshold, s.total, alias, c.n)
				}
				mass[i] += threshold
				mass[alias] += s.total - threshold
			}
			for i, m := range mass {
				if want := uint64(s.recs[i].Weight) * uint64(c.n); m != want {
					t.Fatalf("picture %d of weight %d: mass %d, want %d", i, s.recs[i].Weight, m, want)
				}
			}
		})
	}
}

func TestBelowIsUniform(t *testing.T) {
	rnd := rand.NewPCG(3, 4)
	for _, n := range []uint64{1, 2, 3, 1000, 1<<44 - 1, 1<<63 + 1} {
		for range 1000 {
			if got := Below(rnd, n); got >= n {
				t.Fatalf("below(%d) = %d", n, got)
			}
		}
	}
	// Words at the edge of Lemire's rejection: with n = 3, only the word 0 is rejected.
	if got := Below(&words{0, 1}, 3); got != 0 {
		t.Errorf("got %d, want 0 from the second word", got)
	}
	counts := [3]int{}
	for range 300_000 {
		counts[Below(rnd, 3)]++
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

func TestSegmentRoundTrip(t *testing.T) {
	s := tableWith(1000, func(i int) pet.Weight { return pet.Weight(1 + i%7) })
	r := s.row(9)
	body := s.encode()
	got, err := Decode(body, r)
	if err != nil || got.total != s.total || got.recs[999] != s.recs[999] || got.recs[5] != s.recs[5] {
		t.Fatalf("got %v", err)
	}
	for name, damage := range map[string]func([]byte) ([]byte, Row){
		"empty":          func([]byte) ([]byte, Row) { return nil, r },
		"truncated":      func(b []byte) ([]byte, Row) { return b[:len(b)-1], r },
		"flipped":        func(b []byte) ([]byte, Row) { b[500] ^= 1; return b, r },
		"future version": func(b []byte) ([]byte, Row) { b[4] = 99; return b, r },
		"another's":      func(b []byte) ([]byte, Row) { o := r; o.N++; return b, o },
		"not ours":       func([]byte) ([]byte, Row) { return bytes.Repeat([]byte("<html>"), 100), r },
	} {
		b, as := damage(bytes.Clone(body))
		if _, err := Decode(b, as); !errors.Is(err, box.ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
}

// A draw from a segment that is not in memory is the same as from one that is: the same column and height give the same picture.
func TestRemoteAt(t *testing.T) {
	x := newStore()
	s := tableWith(500, func(i int) pet.Weight { return pet.Weight(1 + i*i) })
	r, err := x.put(t.Context(), bodyOf(s))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.NewPCG(1, 1)
	for i := range uint64(2000) {
		column, height := i%500, Below(rnd, s.total)
		want := s.At(column, height)
		got, err := x.At(t.Context(), r, column, height)
		if err != nil || got.ID != want.ID || got.Weight != want.Weight {
			t.Fatalf("column %d, height %d: got %+v %v, want %+v", column, height, got, err, want)
		}
	}
}

func TestLookup(t *testing.T) {
	x := newStore()
	rnd := rand.New(rand.NewPCG(1, 1))
	for name, c := range map[string]struct {
		n   int
		ids func(i, n int) pet.ID
	}{
		"one":       {1, idAt},
		"few":       {10, idAt},
		"many":      {20_000, idAt},
		"clustered": {20_000, func(i, n int) pet.ID { id := idAt(i, n*1000); id[0] |= byte(i / (n / 2) * 0xF0); return id }},
	} {
		var pictures []Entry
		for i := range c.n {
			pictures = append(pictures, Entry{c.ids(i, c.n), pet.Weight(i + 1)})
		}
		r, err := x.put(t.Context(), bodyOf(Of(pictures)))
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			i := rnd.IntN(c.n)
			if got, err := x.Lookup(t.Context(), r, pictures[i].ID); err != nil || got != pictures[i].Weight {
				t.Fatalf("%s: picture %d: got %d, %v", name, i, got, err)
			}
			missing := pictures[i].ID
			missing[14] ^= 1
			if got, err := x.Lookup(t.Context(), r, missing); err != nil || got != 0 {
				t.Fatalf("%s: a picture that is not there: got %d, %v", name, got, err)
			}
		}
	}
}

func FuzzDecodeSegment(f *testing.F) {
	s := tableWith(5, func(i int) pet.Weight { return pet.Weight(1 + i) })
	f.Add(s.encode(), uint32(5))
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		r := s.row(1)
		r.N = n
		if got, err := Decode(b, r); err == nil {
			got.At(0, 0)
		}
	})
}
