package page

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot/plotter"
)

// TestQuiet: the wait ends when the machine is quiet, when it takes too long, and when the run is called off.
func TestQuiet(t *testing.T) {
	loads := func(all ...string) func() string {
		return func() (load string) {
			if load = all[0]; len(all) > 1 {
				all = all[1:]
			}
			return load
		}
	}
	c, err := quiet(t.Context(), time.Hour, time.Microsecond, loads("3.00", "0.50", "0.49", "9.00"))
	if err != nil || c.load != "0.49" {
		t.Errorf("load %s, %v: want 0.49, the first below the bar", c.load, err)
	}
	c, err = quiet(t.Context(), time.Millisecond, time.Microsecond, loads("3.00"))
	if err != nil || !strings.HasPrefix(c.Text(), "**measured on a busy machine**: load average 3.00 at the start") {
		t.Errorf("%q, %v: does not say that the machine was busy", c.Text(), err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := quiet(gone, time.Hour, time.Hour, loads("3.00")); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was called off waits on: %v", err)
	}
}

func TestConditions(t *testing.T) {
	begin := parseTicks("cpu  100 0 100 700 50 20 20 10 999 999")
	if want := (ticks{steal: 10, all: 1000}); begin != want {
		t.Fatalf("%+v, want %+v", begin, want)
	}
	for _, c := range []struct {
		load string
		end  ticks
		want string
	}{
		{"0.10", ticks{steal: 20, all: 2000}, "load average 0.10 at the start and 2.00 at the end, 1.0% of the CPU stolen by the hypervisor"},
		{"0.10", ticks{steal: 110, all: 2000}, "**measured on a busy machine**: load average 0.10 at the start and 2.00 at the end, 10.0% of the CPU stolen by the hypervisor"},
		{"0.50", begin, "**measured on a busy machine**: load average 0.50 at the start and 2.00 at the end"},
		{"unknown", begin, "**measured on a busy machine**: load average unknown at the start and 2.00 at the end"},
	} {
		if got := (Conditions{c.load, begin}).text("2.00", c.end); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if none := parseTicks("cpu 1 2 3"); none != (ticks{}) {
		t.Errorf("a line that is too short has %+v", none)
	}
}

// TestWrite: what cannot be written leaves what was there, and nothing beside it stays.
func TestWrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.md")
	for _, content := range []string{"old", "new"} {
		if err := Write(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(name+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, []byte("newer")); err == nil {
		t.Error("a file that was not written is no error")
	}
	if b, err := os.ReadFile(name); string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestChartWithoutPoints: a line of which nothing was measured is left out, and the others are drawn.
func TestChartWithoutPoints(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.svg")
	c := Chart{Title: "x", Lines: []Line{{Name: "nothing"}, {Name: "something", XYs: plotter.XYs{{X: 1, Y: 1}, {X: 2, Y: 3}}}}}
	if err := c.Save("here", name); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(svg), "something") || strings.Contains(string(svg), "nothing") {
		t.Errorf("%v: %s", err, svg)
	}
}
