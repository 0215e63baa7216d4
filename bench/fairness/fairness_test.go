package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"petpick/bench/rig"
)

// TestVerdict: what is drawn fairly passes, and what is a few percent off does not.
func TestVerdict(t *testing.T) {
	const draws = 200_000
	for _, c := range []struct {
		name string
		bias float64 // of the first picture's weight
		of   map[string]int
		fair bool
	}{
		{"fair", 1, nil, true},
		{"one picture 10 % too often", 1.1, nil, false},
		{"a paused picture was drawn", 1, map[string]int{"0": 1}, false},
		{"a picture that was never uploaded", 1, map[string]int{"?": 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pictures := []rig.Picture{{ID: "0"}}
			weights, total := []float64{0}, 0.0
			for i := 1; i <= 20; i++ {
				pictures = append(pictures, rig.Picture{ID: fmt.Sprint(i), Weight: float64(i)})
				w := float64(i)
				if i == 20 {
					w *= c.bias
				}
				weights, total = append(weights, w), total+w
			}
			counts, rnd := map[string]int{}, rand.New(rand.NewPCG(1, 2))
			for id, n := range c.of {
				counts[id] = n
			}
			for range draws - len(c.of) {
				height := rnd.Float64() * total
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
