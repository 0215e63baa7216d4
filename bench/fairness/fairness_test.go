package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"

	"petpick/bench/rig"
	"petpick/src/index/drawtest"
)

// TestVerdict: what is drawn fairly passes, and what is a few percent off does not, even if it is one small picture; nor does what is dealt
// from a shuffled deck.
func TestVerdict(t *testing.T) {
	const draws = 200_000
	for _, c := range []struct {
		name   string
		biased int     // the picture whose weight
		bias   float64 // is multiplied by this
		of     map[string]int
		deck   bool
		fair   bool
	}{
		{"fair", 20, 1, nil, false, true},
		{"the largest picture 10 % too often", 20, 1.1, nil, false, false},
		{"a small picture 20 % too often", 1, 1.2, nil, false, false},
		{"a small picture 20 % too seldom", 1, 0.8, nil, false, false},
		{"a paused picture was drawn", 20, 1, map[string]int{"0": 1}, false, false},
		{"a picture that was never uploaded", 20, 1, map[string]int{"?": 1}, false, false},
		{"a shuffled deck", 20, 1, nil, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pictures := []rig.Picture{{ID: "0"}}
			weights, total := []float64{0}, 0.0
			for i := 1; i <= 20; i++ {
				pictures = append(pictures, rig.Picture{ID: fmt.Sprint(i), Weight: float64(i)})
				w := float64(i)
				if i == c.biased {
					w *= c.bias
				}
				weights, total = append(weights, w), total+w
			}
			counts, rnd := map[string]int{}, rand.New(rand.NewPCG(1, 2))
			for id, n := range c.of {
				counts[id] = n
			}
			for n := range draws - len(c.of) {
				height := rnd.Float64() * total
				if c.deck {
					height = math.Mod(float64(n), total)
				}
				for i, w := range weights {
					if height -= w; height < 0 {
						counts[fmt.Sprint(i)]++
						break
					}
				}
			}
			err := write(config{out: filepath.Join(t.TempDir(), "x"), draws: draws, clients: 1}, pictures, counts, 1)
			if fair := err == nil; fair != c.fair {
				t.Errorf("fair: %v (%v), want %v", fair, err, c.fair)
			}
		})
	}
}

// TestEachJudgeIsNeeded: a run may fail by any of them alone.
func TestEachJudgeIsNeeded(t *testing.T) {
	good := judged{z: 0, bands: 100, most: 9, outside: 9}
	if !good.fair() {
		t.Errorf("%+v is fair", good)
	}
	for _, change := range []func(*judged){
		func(j *judged) { j.z = drawtest.MaxZ }, func(j *judged) { j.z = -drawtest.MaxZ }, func(j *judged) { j.z = math.Inf(1) },
		func(j *judged) { j.outside++ }, func(j *judged) { j.far++ }, func(j *judged) { j.never++ },
	} {
		j := good
		if change(&j); j.fair() {
			t.Errorf("%+v is not fair", j)
		}
	}
}

// TestSmallPicture: among 75 that are drawn as they should be, one that is 7 standard deviations off is seen, though neither the test of all
// nor the number of bands says so.
func TestSmallPicture(t *testing.T) {
	const draws = 1_000_000
	rnd := rand.New(rand.NewPCG(3, 4))
	counts, weights := map[string]int{}, map[string]float64{}
	pictures := []rig.Picture{{ID: "0", Weight: 0.2}}
	for i := 1; i <= 75; i++ {
		pictures = append(pictures, rig.Picture{ID: fmt.Sprint(i), Weight: float64(i)})
	}
	total := 0.0
	for _, p := range pictures {
		weights[p.ID] = p.Weight
		total += p.Weight
	}
	expected := draws * pictures[0].Weight / total // about 70
	for range draws {
		height := rnd.Float64() * total
		for _, p := range pictures {
			if height -= p.Weight; height < 0 {
				counts[p.ID]++
				break
			}
		}
	}
	for _, c := range []struct {
		off  float64
		fair bool
	}{{0, true}, {7, false}} {
		more := int(expected+c.off*math.Sqrt(expected)) - counts["0"]
		counts["0"] += more
		counts["75"] -= more
		j := judge(shares(pictures, counts, draws), drawtest.Z(counts, weights), draws)
		if j.fair() != c.fair || math.Abs(j.z) >= drawtest.MaxZ || j.outside > j.most {
			t.Errorf("%v standard deviations off: %+v, fair %v, want %v by the band of all alone", c.off, j, j.fair(), c.fair)
		}
	}
}

func TestWeightsText(t *testing.T) {
	for n, want := range map[int]string{2: "weights from 0.001 to 0.001, and 1 of 0", 12: "weights from 0.001 to 1.024, and 1 of 0", 120: "weights from 0.001 to 8,388.608, and 1 of 0"} {
		pictures := make([]rig.Picture, n)
		for i := range pictures {
			w, err := strconv.ParseFloat(weightOf(i), 64)
			if err != nil {
				t.Fatal(err)
			}
			pictures[i] = rig.Picture{ID: fmt.Sprint(i), Weight: w}
		}
		if got := weightsText(shares(pictures, nil, 1000)); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
