package index

import "math/bits"

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
func buildAlias(recs []rec, total uint64) {
	n := uint64(len(recs))
	rest := make([]uint64, n) // what of the scaled weight is not placed yet: below 2^24 * 2^20
	// Both stacks in one array: each picture is on one of them at most.
	stack := make([]uint32, n)
	small, large := 0, int(n)
	for i := range recs {
		rest[i] = uint64(recs[i].weight) * n
		if rest[i] < total {
			stack[small] = uint32(i)
			small++
		} else {
			large--
			stack[large] = uint32(i)
		}
	}
	for small > 0 && large < int(n) {
		small--
		s, l := stack[small], stack[large]
		recs[s].cell = rest[s]<<slotBits | uint64(l)
		rest[l] -= total - rest[s]
		if rest[l] < total {
			large++
			stack[small] = l
			small++
		}
	}
	for _, i := range append(stack[:small:small], stack[large:]...) { // exactly full
		recs[i].cell = total<<slotBits | uint64(i)
	}
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
