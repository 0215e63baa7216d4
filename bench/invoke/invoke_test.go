package main

import (
	"errors"
	"testing"
)

// TestSettle: draws go on while each takes a call, stop when few do, and end when they never stop.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name      string
		remote    int // draws that take a call each
		settles   bool
		untilDraw int
	}{
		{"at once", 0, true, 1000}, {"after a while", 2500, true, 4000}, {"a few in the last thousand", 1009, true, 2000}, {"never", 1 << 30, false, 100_000},
	} {
		draws, calls := 0, 0
		err := settle(func() error {
			if draws++; draws <= c.remote {
				calls++
			}
			return nil
		}, func() int { return calls })
		if (err == nil) != c.settles || draws != c.untilDraw {
			t.Errorf("%s: %d draws, %v", c.name, draws, err)
		}
	}
	broken := errors.New("broken")
	if err := settle(func() error { return broken }, func() int { return 0 }); !errors.Is(err, broken) {
		t.Errorf("a draw that fails: %v", err)
	}
}
