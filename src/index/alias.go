package index

import (
	"math/bits"

	"petpick/src/pet"
)

// Source yields uniform 64-bit words. A Source used by several goroutines must be safe for that.
type Source interface{ Uint64() uint64 }

const (
	slotBits = 20
	slotMask = 1<<slotBits - 1
)

// buildAlias fills the cells of Walker's alias table by Vose's method, in integers: no rounding, so the draw is exact.
//
// Scale each weight by n: the scaled weights sum to n*total, so n columns of height total hold them. A column holds its own
// picture up to the threshold, and one other, its alias, above it. Each step closes a column that is less than full with a
// part of one that is more than full; the last columns are exactly full, since no step loses anything.
func buildAlias(entries []entry, total uint64) {
	n := uint64(len(entries))
	rest := make([]uint64, n) // what of the scaled weight is not placed yet: below 2^24 * 2^20
	var small, large []uint32
	for i := range entries {
		rest[i] = uint64(entries[i].weight) * n
		if rest[i] < total {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		entries[s].cell = rest[s]<<slotBits | uint64(l)
		rest[l] -= total - rest[s]
		if rest[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(large, small...) { // exactly full
		entries[i].cell = total<<slotBits | uint64(i)
	}
}

// drawAlias takes a column, then a height in it: P(picture) = weight / total.
func drawAlias(entries []entry, total uint64, rnd Source) (pet.ID, pet.Weight) {
	e := &entries[below(rnd, uint64(len(entries)))]
	if below(rnd, total) >= e.cell>>slotBits {
		e = &entries[e.cell&slotMask]
	}
	return e.id, e.weight
}

// below is uniform in [0, n), n > 0, by Lemire's multiplication with rejection ("Fast Random Integer Generation in an Interval",
// ACM TOMACS 29, 2019): exact, and almost never a division.
func below(rnd Source, n uint64) uint64 {
	hi, lo := bits.Mul64(rnd.Uint64(), n)
	if lo < n {
		for short := -n % n; lo < short; {
			hi, lo = bits.Mul64(rnd.Uint64(), n)
		}
	}
	return hi
}
