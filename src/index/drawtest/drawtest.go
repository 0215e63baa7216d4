// Package drawtest judges whether draws follow their weights.
package drawtest

import (
	"math"
	"slices"
)

// MaxZ is the deviation that fails a test: by chance, once in about a billion runs.
const MaxZ = 6

// Z is the likelihood-ratio test (G-test) of counts against weights, as a standard normal deviate: cells are pooled until each
// expects at least 10, and the statistic, which follows a chi-square distribution, is made normal by Wilson and Hilferty's
// cube root (PNAS 17, 1931). A picture of weight 0 that was drawn gives +Inf.
func Z[K comparable](counts map[K]int, weights map[K]float64) float64 {
	type cell struct{ observed, expected float64 }
	var draws, total float64
	for k, n := range counts {
		draws += float64(n)
		if weights[k] == 0 {
			return math.Inf(1)
		}
	}
	for _, w := range weights {
		total += w
	}
	var cells []cell
	for k, w := range weights {
		if w > 0 {
			cells = append(cells, cell{float64(counts[k]), draws * w / total})
		}
	}
	slices.SortFunc(cells, func(a, b cell) int { return int(math.Copysign(1, a.expected-b.expected)) })
	var pooled []cell
	var sum cell
	for _, c := range cells {
		sum.observed += c.observed
		sum.expected += c.expected
		if sum.expected >= 10 {
			pooled = append(pooled, sum)
			sum = cell{}
		}
	}
	if sum.expected > 0 && len(pooled) > 0 {
		pooled[len(pooled)-1].observed += sum.observed
		pooled[len(pooled)-1].expected += sum.expected
	}
	if len(pooled) < 2 {
		return 0
	}
	var g float64
	for _, c := range pooled {
		if c.observed > 0 {
			g += 2 * c.observed * math.Log(c.observed/c.expected)
		}
	}
	df := float64(len(pooled) - 1)
	return (math.Cbrt(max(g, 0)/df) - (1 - 2/(9*df))) / math.Sqrt(2/(9*df))
}
