package segment

import "math/bits"

// Source yields uniform 64-bit words. A Source used by several goroutines must be safe for that.
type Source interface{ Uint64() uint64 }

const (
	slotBits = 20
	slotMask = 1<<slotBits - 1
)

// columns is a table in the making, in memory or in the bytes of a segment.
type columns interface {
	size() int
	weight(i int) uint64
	cell(i int) uint64
	setCell(i int, cell uint64)
}

// buildAlias fills the cells of Walker's alias table by Vose's method, in integers: no rounding, so the draw is exact.
//
// Scale each weight by n: the scaled weights sum to n*total, so n columns of height total hold them. A column holds its own
// picture up to the threshold, and one other, its alias, above it. Each step closes a column that is less than full with a
// part of one that is more than full; the last columns are exactly full, since no step loses anything.
func buildAlias[C columns](c C, total uint64) {
	n := c.size()
	// Until its column is closed a picture's cell holds what of its scaled weight is not placed yet, below 2^24 * 2^20. Both stacks are in
	// one array, for each picture is on one of them at most: a merge has little room beside a million records.
	stack := make([]uint32, n)
	small, large := 0, n
	for i := range n {
		scaled := c.weight(i) * uint64(n)
		if c.setCell(i, scaled); scaled < total {
			stack[small] = uint32(i)
			small++
		} else {
			large--
			stack[large] = uint32(i)
		}
	}
	for small > 0 && large < n {
		small--
		s, l := int(stack[small]), int(stack[large])
		left := c.cell(l) - (total - c.cell(s))
		c.setCell(s, c.cell(s)<<slotBits|uint64(l))
		if c.setCell(l, left); left < total {
			large++
			stack[small] = uint32(l)
			small++
		}
	}
	for _, i := range append(stack[:small:small], stack[large:]...) { // exactly full
		c.setCell(int(i), total<<slotBits|uint64(i))
	}
}

// Below is uniform in [0, n), n > 0, by Lemire's multiplication with rejection ("Fast Random Integer Generation in an Interval",
// ACM TOMACS 29, 2019): exact, and almost never a division.
func Below(rnd Source, n uint64) uint64 {
	hi, lo := bits.Mul64(rnd.Uint64(), n)
	if lo < n {
		for short := -n % n; lo < short; {
			hi, lo = bits.Mul64(rnd.Uint64(), n)
		}
	}
	return hi
}
