package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const printed = `goos: linux
cpu: Some Processor
BenchmarkDraw/weights=equal/pictures=1000/by=index-2         	 1000000	        93.4 ns/op	       0 B/op	       0 allocs/op
BenchmarkDraw/weights=equal/pictures=8000000/by=index-2      	 1000000	       233.6 ns/op	       0 B/op	       0 allocs/op
BenchmarkDraw/weights=equal/pictures=8000000/by=cache-line-2 	 1000000	        44 ns/op	       0 B/op	       0 allocs/op
BenchmarkMerge/segments=4/pictures=1000000-2                 	       1	 447698141 ns/op	       121.7 MB-peak	         0.4361 cpu-s/op
PASS
`

func TestReport(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x")
	if err := run(strings.NewReader(printed), "make it", out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(out + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`make it` wrote this page", "| equal | 1,000 | 93.4 |", "| equal | 8,000,000 | 234 | 44 |", "| 4 | 1,000,000 | 447,698,141 | 122 | 0.436 |", "(x-equal.svg)",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in:\n%s", want, page)
		}
	}
	plot, err := os.ReadFile(out + "-equal.svg")
	if err != nil || !strings.Contains(string(plot), "index.Draw, in memory") {
		t.Errorf("the plot has no line for the index, %v", err)
	}
	if err := run(strings.NewReader("PASS\n"), "make it", out); err == nil {
		t.Error("nothing to report is no error")
	}
}
