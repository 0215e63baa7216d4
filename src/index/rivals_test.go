package index

import (
	"encoding/binary"
	oldrand "math/rand"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/mroth/weightedrand/v2"
	"gonum.org/v1/gonum/stat/distuv"
	"gonum.org/v1/gonum/stat/sampleuv"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// way is a way of drawing from pictures of given weights; picture i has the id idAt(i, n). Every way draws with replacement, from a PCG,
// and ends with the picture's id, so that all do the same work.
type way struct {
	name  string
	build func(b *testing.B, weights []pet.Weight) func() pet.ID
	// most pictures that it is measured with: beyond, building it takes too long or too much memory.
	most int
}

var ways = []way{
	{"index", drawByIndex, 100_000_000},
	{"alias-float64", drawByFloatAlias, 100_000_000},
	{"binary-search", drawByBinarySearch, 100_000_000},
	{"gonum-categorical", drawByCategorical, 10_000_000},
	{"gonum-weighted", drawByWeighted, 10_000_000},
	{"weightedrand", drawByWeightedrand, 10_000_000},
	{"cache-line", readCacheLine, 100_000_000}, // not a draw: the least that one can cost
}

func newSource() *rand.PCG { return rand.NewPCG(3, 4) }

func idsOf(n int) []pet.ID {
	ids := make([]pet.ID, n)
	for i := range ids {
		ids[i] = idAt(i, n)
	}
	return ids
}

// drawByIndex is the draw that this package is for: from segments of at most 2^20 pictures, all in memory, with the look at the clock
// that tells whether the view is fresh.
func drawByIndex(b *testing.B, weights []pet.Weight) func() pet.ID {
	x := indexInMemory(b, weights)
	src, ctx := newSource(), b.Context()
	return func() pet.ID {
		p, err := x.Draw(ctx, src)
		if err != nil {
			b.Fatal(err)
		}
		return p.ID
	}
}

func indexInMemory(tb testing.TB, weights []pet.Weight) *Index {
	x := Open(Config{Label: "cat", Index: blob.NewMemory(nil), Memory: 1 << 40})
	r := &root.Root{Version: 1}
	for from := 0; from < len(weights); from += segment.Max {
		pictures := make([]segment.Entry, min(segment.Max, len(weights)-from))
		for i := range pictures {
			pictures[i] = segment.Entry{ID: idAt(from+i, len(weights)), Weight: weights[from+i]}
		}
		row := stored(tb, x, pictures)
		if err := x.segments.Load(tb.Context(), row); err != nil {
			tb.Fatal(err)
		}
		if err := x.store.Delete(tb.Context(), x.segments.Key(row.Name)); err != nil { // there is no room for both
			tb.Fatal(err)
		}
		r.Rows = append(r.Rows, row)
	}
	if _, err := x.store.Create(tb.Context(), x.rootKey, r.Encode(1), blob.Attr{}); err != nil {
		tb.Fatal(err)
	}
	return x
}

// drawByFloatAlias is Walker's alias method as textbooks have it, with Vose's construction ("A Linear Algorithm For Generating Random
// Numbers With a Given Distribution", IEEE TSE 17, 1991): probabilities are rounded to float64. A draw is one random word for the
// column, one for the side, a look at the column, and one at the id.
func drawByFloatAlias(_ *testing.B, weights []pet.Weight) func() pet.ID {
	prob, alias := vose(weights)
	ids, rnd := idsOf(len(weights)), rand.New(newSource())
	return func() pet.ID {
		i := rnd.IntN(len(prob))
		if rnd.Float64() >= prob[i] {
			i = int(alias[i])
		}
		return ids[i]
	}
}

func vose(weights []pet.Weight) (prob []float64, alias []uint32) {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	prob, alias = make([]float64, len(weights)), make([]uint32, len(weights))
	var small, large []uint32
	for i, w := range weights {
		prob[i] = float64(w) * float64(len(weights)) / total
		if prob[i] < 1 {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small, large = small[:len(small)-1], large[:len(large)-1]
		alias[s] = l
		prob[l] -= 1 - prob[s]
		if prob[l] < 1 {
			small = append(small, l)
		} else {
			large = append(large, l)
		}
	}
	for _, i := range append(small, large...) { // 1, but for rounding
		prob[i] = 1
	}
	return prob, alias
}

// drawByBinarySearch is exact: a height below the sum of the weights, searched among prefix sums.
func drawByBinarySearch(_ *testing.B, weights []pet.Weight) func() pet.ID {
	ends := make([]uint64, len(weights))
	total := uint64(0)
	for i, w := range weights {
		total += uint64(w)
		ends[i] = total
	}
	ids, rnd := idsOf(len(weights)), rand.New(newSource())
	return func() pet.ID {
		height := rnd.Uint64N(total)
		return ids[sort.Search(len(ends), func(i int) bool { return ends[i] > height })]
	}
}

// drawByCategorical is gonum's distribution over 0..n-1: a walk down a heap of sums in float64.
func drawByCategorical(_ *testing.B, weights []pet.Weight) func() pet.ID {
	c, ids := distuv.NewCategorical(floats(weights), newSource()), idsOf(len(weights))
	return func() pet.ID { return ids[int(c.Rand())] }
}

// drawByWeighted is gonum's sampling without replacement. Taking walks down a heap of sums and sets the weight to 0; putting it back
// walks up again.
func drawByWeighted(b *testing.B, weights []pet.Weight) func() pet.ID {
	floats := floats(weights)
	w, ids := sampleuv.NewWeighted(floats, newSource()), idsOf(len(weights))
	return func() pet.ID {
		i, ok := w.Take()
		if !ok {
			b.Fatal("nothing left")
		}
		w.Reweight(i, floats[i])
		return ids[i]
	}
}

func floats(weights []pet.Weight) []float64 {
	f := make([]float64, len(weights))
	for i, w := range weights {
		f[i] = float64(w)
	}
	return f
}

// drawByWeightedrand is a binary search among prefix sums of the weights in ascending order. It holds the ids itself. Its generator
// is of the older math/rand: the same PCG is behind it.
func drawByWeightedrand(b *testing.B, weights []pet.Weight) func() pet.ID {
	choices := make([]weightedrand.Choice[pet.ID, pet.Weight], len(weights))
	for i, w := range weights {
		choices[i] = weightedrand.NewChoice(idAt(i, len(weights)), w)
	}
	c, err := weightedrand.NewChooser(choices...)
	if err != nil {
		b.Fatal(err)
	}
	rnd := oldrand.New(oldSource{newSource()})
	//lint:ignore SA1019 the same generator for every way; the one that replaces it is the runtime's
	return func() pet.ID { return c.PickSource(rnd) }
}

type oldSource struct{ *rand.PCG }

func (s oldSource) Int63() int64 { return int64(s.Uint64() >> 1) }
func (oldSource) Seed(int64)     {}

// readCacheLine is no draw, but the least that one can cost: a random word, and 64 B at a random place in as much memory as the
// pictures take in segments. What it returns is no id.
func readCacheLine(_ *testing.B, weights []pet.Weight) func() pet.ID {
	lines := make([][8]uint64, (len(weights)*segment.Bytes+63)/64)
	for i := range lines { // memory that was never written is one page of zeros
		lines[i][0] = uint64(i)
	}
	rnd := newSource()
	return func() (id pet.ID) {
		sum := uint64(0)
		for _, word := range lines[segment.Below(rnd, uint64(len(lines)))] {
			sum += word
		}
		binary.LittleEndian.PutUint64(id[:], sum)
		return id
	}
}
