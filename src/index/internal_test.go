package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"petpick/src/blob"
	"petpick/src/pet"
)

// idAt spreads n ids over the whole range, as hashes are.
func idAt(i, n int) pet.ID {
	var id pet.ID
	binary.BigEndian.PutUint64(id[:], uint64(i)*(^uint64(0)/uint64(n)))
	id[15] = byte(pet.JPEG)
	return id
}

func segmentWith(n int, weight func(i int) pet.Weight) *segment {
	recs := make([]rec, n)
	for i := range recs {
		recs[i].id, recs[i].weight = idAt(i, n), weight(i)
	}
	return newSegment(recs)
}

// bodyOf is a segment in memory as a body to be stored.
func bodyOf(s *segment) body {
	b := newBody(len(s.recs))
	for _, r := range s.recs {
		b = b.add(weighted{r.id, r.weight})
	}
	return b
}

func (s *segment) encode() []byte {
	b, _ := bodyOf(s).finish(0)
	return b
}

func (s *segment) row(name uint64) row {
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
		{"most, all heaviest", maxSegment, func(int) pet.Weight { return pet.MaxWeight }},
		{"most, heavy tail", maxSegment, heavyTail},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := segmentWith(c.n, c.weight)
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
				if want := uint64(s.recs[i].weight) * uint64(c.n); m != want {
					t.Fatalf("picture %d of weight %d: mass %d, want %d", i, s.recs[i].weight, m, want)
				}
			}
		})
	}
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

func someRoot() *root {
	s := segmentWith(1000, func(i int) pet.Weight { return pet.Weight(1 + i) })
	return &root{
		version: 42, epoch: 3, rows: []row{s.row(7), s.row(8)},
		tail:      []weighted{{idAt(1, 9), 5}, {idAt(2, 9), 6}},
		overrides: []override{{weighted{idAt(3, 9), 0}, held{334, 7}, 1000}, {weighted{idAt(4, 9), 9}, held{}, 2000}},
	}
}

func TestRootRoundTrip(t *testing.T) {
	r := someRoot()
	got, err := decodeRoot(r.encode(7))
	if err != nil || got.version != 42 || !slices.Equal(got.rows, r.rows) || !slices.Equal(got.tail, r.tail) || !slices.Equal(got.overrides, r.overrides) || got.epoch != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if bytes.Equal(r.encode(1), r.encode(2)) {
		t.Error("two roots with other nonces are equal: they would share an ETag")
	}
	if n, total := r.counts(); n != 2002 || total != 2*500500+11+9-334 {
		t.Errorf("counts %d, %d", n, total)
	}
}

func TestSegmentRoundTrip(t *testing.T) {
	s := segmentWith(1000, func(i int) pet.Weight { return pet.Weight(1 + i%7) })
	r := s.row(9)
	body := s.encode()
	got, err := decodeSegment(body, r)
	if err != nil || got.total != s.total || got.recs[999] != s.recs[999] || got.recs[5] != s.recs[5] {
		t.Fatalf("got %v", err)
	}
	for name, damage := range map[string]func([]byte) ([]byte, row){
		"empty":          func([]byte) ([]byte, row) { return nil, r },
		"truncated":      func(b []byte) ([]byte, row) { return b[:len(b)-1], r },
		"flipped":        func(b []byte) ([]byte, row) { b[500] ^= 1; return b, r },
		"future version": func(b []byte) ([]byte, row) { b[4] = 99; return b, r },
		"another's":      func(b []byte) ([]byte, row) { o := r; o.n++; return b, o },
		"not ours":       func([]byte) ([]byte, row) { return bytes.Repeat([]byte("<html>"), 100), r },
	} {
		b, as := damage(bytes.Clone(body))
		if _, err := decodeSegment(b, as); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
}

// A draw from a segment that is not in memory is the same as from one that is: the same column and height give the same picture.
func TestRemoteAt(t *testing.T) {
	x := Open(Config{Label: "cat", Index: blob.NewMemory(nil)})
	s := segmentWith(500, func(i int) pet.Weight { return pet.Weight(1 + i*i) })
	r, err := x.putSegment(t.Context(), bodyOf(s))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.NewPCG(1, 1)
	for i := range uint64(2000) {
		column, height := i%500, below(rnd, s.total)
		want := s.at(column, height)
		got, err := x.remoteAt(t.Context(), r, column, height)
		if err != nil || got.id != want.id || got.weight != want.weight {
			t.Fatalf("column %d, height %d: got %+v %v, want %+v", column, height, got, err, want)
		}
	}
}

func TestLookup(t *testing.T) {
	x := Open(Config{Label: "cat", Index: blob.NewMemory(nil)})
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
		var pictures []weighted
		for i := range c.n {
			pictures = append(pictures, weighted{c.ids(i, c.n), pet.Weight(i + 1)})
		}
		r, err := x.putSegment(t.Context(), bodyOf(segmentOf(pictures)))
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			i := rnd.IntN(c.n)
			if got, err := x.lookup(t.Context(), r, pictures[i].id); err != nil || got != pictures[i].weight {
				t.Fatalf("%s: picture %d: got %d, %v", name, i, got, err)
			}
			missing := pictures[i].id
			missing[14] ^= 1
			if got, err := x.lookup(t.Context(), r, missing); err != nil || got != 0 {
				t.Fatalf("%s: a picture that is not there: got %d, %v", name, got, err)
			}
		}
	}
}

// A union of segments has every picture once, what is absorbed in place of what it supersedes.
func TestUnion(t *testing.T) {
	x := Open(Config{Label: "cat", Index: blob.NewMemory(nil)})
	rnd := rand.New(rand.NewPCG(7, 7))
	want := map[pet.ID]pet.Weight{}
	var inputs []row
	const segments, n = 5, 3000
	for s := range segments {
		var pictures []weighted
		for i := range n {
			id, w := idAt(i*segments+s, n*segments), pet.Weight(1+rnd.Uint32N(1000))
			pictures = append(pictures, weighted{id, w})
			want[id] = w
		}
		r, err := x.putSegment(t.Context(), bodyOf(segmentOf(pictures)))
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, r)
	}
	var absorbed []override
	for i := range 200 {
		id := idAt(i*70, n*segments)
		if i%4 == 0 {
			id[14] = 1 // one that no segment has
		}
		o := override{weighted{id, pet.Weight(i % 3)}, held{old: uint32(want[id])}, 0}
		absorbed = append(absorbed, o)
		want[id] = o.weight
	}
	rows, got1, err := x.union(t.Context(), inputs, absorbed)
	if err != nil || len(rows) != 1 || len(got1) != len(absorbed) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if err := x.load(t.Context(), rows[0]); err != nil {
		t.Fatal(err)
	}
	got := x.cache.get(rows[0].name)
	alive := 0
	for id, w := range want {
		if w > 0 {
			alive++
		}
		if got.weight(id) != w {
			t.Fatalf("%s: got %d, want %d", id, got.weight(id), w)
		}
	}
	if len(got.recs) != alive {
		t.Errorf("%d pictures, want %d", len(got.recs), alive)
	}
	if _, _, err := x.union(t.Context(), append(inputs, inputs[0]), nil); !errors.Is(err, ErrFormat) {
		t.Errorf("a picture in two segments: got %v, want ErrFormat", err)
	}
}

func FuzzDecodeRoot(f *testing.F) {
	f.Add(someRoot().encode(9))
	f.Add((&root{}).encode(0))
	f.Add([]byte("PPRT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err != nil {
			return
		}
		if len(r.tail)*tailSize+len(r.rows)*rowSize+len(r.overrides)*overrideSize > len(b) {
			t.Fatalf("more in memory than in %d bytes", len(b))
		}
	})
}

func FuzzDecodeSegment(f *testing.F) {
	s := segmentWith(5, func(i int) pet.Weight { return pet.Weight(1 + i) })
	f.Add(s.encode(), uint32(5))
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		r := s.row(1)
		r.n = n
		if got, err := decodeSegment(b, r); err == nil {
			got.at(0, 0)
		}
	})
}
