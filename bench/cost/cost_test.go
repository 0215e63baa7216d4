package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"petpick/bench/page"
)

// TestREADMEIsFresh: what README and the page say is what the program computes of the files that are there.
func TestREADMEIsFresh(t *testing.T) {
	m, err := load("../..", workloadJSON)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := page.Between(string(readme), marker, m.section(m.date+"-cost"))
	if err != nil {
		t.Fatal(err)
	}
	if fresh != string(readme) {
		t.Error("README's costs are stale: make cost")
	}
	text, err := os.ReadFile(filepath.Join("../../bench/results", m.date+"-cost.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != m.page(m.date+"-cost") {
		t.Error("the page of costs is stale: make cost")
	}
}

func TestTiers(t *testing.T) {
	p := price{Free: 100, Tiers: []tier{{1000, 0.5}, {2000, 0.25}, {0, 0.125}}}
	for _, c := range []struct{ n, want float64 }{{0, 0}, {100, 0}, {101, 0.5}, {1000, 450}, {1001, 450.25}, {2000, 700}, {3000, 825}} {
		if got := p.of(c.n); got != c.want {
			t.Errorf("%v units cost %v, want %v", c.n, got, c.want)
		}
	}
}

func TestPlans(t *testing.T) {
	m, err := load("../..", workloadJSON)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		use  usage
		plan string
	}{
		{usage{edgeRequests: 1e6, edgeBytes: 100}, "Free"}, {usage{edgeRequests: 1e6 + 1, edgeBytes: 100}, "Pro"}, {usage{edgeRequests: 1e6, edgeBytes: 101}, "Pro"},
		{usage{edgeRequests: 11e6, edgeBytes: 1}, "Business"}, {usage{edgeRequests: 7e9, edgeBytes: 1}, ""},
	} {
		if name, _, ok := m.prices.flat(c.use); name != c.plan || ok != (c.plan != "") {
			t.Errorf("%v: the plan is %q, want %q", c.use, name, c.plan)
		}
	}
}

// TestAgainstAFewLinesOfArithmetic: 100 million draws, by hand, where the fleet is large enough for draws to hardly wait.
func TestAgainstAFewLinesOfArithmetic(t *testing.T) {
	m, err := load("../..", workloadJSON)
	if err != nil {
		t.Fatal(err)
	}
	const n = 100e6
	bill := m.prices.bill(m.petpick(n))
	w, r := m.work, m.measured.Random
	gb := n * (w.PictureBytes + r.AnswerBytes + 2*w.CloudFrontHeaderBytes) / (1 << 30)
	want := (gb - 1024) * 0.085
	if gb > 10240 {
		want = 9216*0.085 + (gb-10240)*0.08
	}
	near := func(what string, got, want, within float64) {
		t.Helper()
		if math.Abs(got-want) > within*want {
			t.Errorf("%s: %.2f, want %.2f", what, got, want)
		}
	}
	near("bytes", bill[edgeBytes], want, 0.001)
	near("requests at the edge", bill[edgeRequests], (2*n+w.Uploads-10e6)*1e-6, 0.001)
	near("Lambda requests", bill[lambdaRequests], (n-1e6+w.Uploads+month/60)*0.2e-6, 0.001)
	least := max(0, n*r.MemoryMB/1024*math.Ceil(r.CPUMS/(r.MemoryMB/1769))/1000-400_000) * 0.0000133334
	if got := bill[lambdaCompute]; got < least || got > 3*least+5 {
		t.Errorf("compute: %.2f, and draws without a wait alone are %.2f", got, least)
	}
}

func TestFreshnessCanFail(t *testing.T) {
	old := "a\n<!-- cost: begin -->\nx\n<!-- cost: end -->\nb\n"
	if got, err := page.Between(old, "cost", "y\n"); err != nil || got == old || !strings.Contains(got, "\ny\n") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := page.Between("a\n", "cost", "y\n"); err == nil {
		t.Error("a text without markers is no error")
	}
}
