package drawtest_test

import (
	"math/rand/v2"
	"testing"

	"petpick/src/index/drawtest"
)

// A test that cannot fail proves nothing: the right distribution passes, wrong ones do not.
func TestZTellsRightFromWrong(t *testing.T) {
	weights := map[int]float64{0: 1, 1: 3, 2: 0.5, 3: 100, 4: 0}
	draw := func(rnd *rand.Rand, w []float64, n int) map[int]int {
		var total float64
		for _, x := range w {
			total += x
		}
		counts := map[int]int{}
		for range n {
			x := rnd.Float64() * total
			for i, wi := range w {
				if x -= wi; x < 0 {
					counts[i]++
					break
				}
			}
		}
		return counts
	}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		if z := drawtest.Z(draw(rnd, []float64{1, 3, 0.5, 100, 0}, 100_000), weights); z > drawtest.MaxZ || z < -drawtest.MaxZ {
			t.Errorf("seed %d: right weights: z = %.1f", seed, z)
		}
		for name, wrong := range map[string][]float64{
			"uniform":       {1, 1, 1, 1, 0},
			"one left out":  {1, 3, 0, 100, 0},
			"5% off":        {1.15, 3, 0.5, 100, 0},
			"a paused one":  {1, 3, 0.5, 100, 0.01},
			"nearly all it": {0, 0, 0, 1, 0},
		} {
			n := 100_000
			if name == "5% off" {
				n = 2_000_000
			}
			if z := drawtest.Z(draw(rnd, wrong, n), weights); seed < 3 && z <= drawtest.MaxZ {
				t.Errorf("seed %d: %s: z = %.1f passes", seed, name, z)
			}
			if seed >= 3 {
				break
			}
		}
	}
}
