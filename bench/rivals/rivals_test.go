package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"petpick/infra"
)

func TestNginxFollowsTheTemplate(t *testing.T) {
	conf, err := nginxFromTemplate(infra.Template, "127.0.0.1:1", "http://127.0.0.1:2", "/x")
	if err != nil {
		t.Fatal(err)
	}
	for location, cached := range map[string]bool{"= /random": false, "/cat/": true, "/dog/": true, "/": false} {
		_, rest, found := strings.Cut(conf, "location "+location+" {")
		block, _, _ := strings.Cut(rest, "}\n")
		if !found || strings.Contains(block, "proxy_cache pictures;") != cached {
			t.Errorf("location %s: found %v, want cached %v: %s", location, found, cached, block)
		}
	}
	other := strings.Replace(string(infra.Template), cachingUncompressed, "658327ea-f89d-4fab-a63d-7e88639e58f6", 1)
	if _, err := nginxFromTemplate([]byte(other), "127.0.0.1:1", "http://127.0.0.1:2", "/x"); err == nil {
		t.Error("a cache policy that is not known here is no error")
	}
}

func TestEdgeLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	const log = "/random - 302 0\n/cat/1.jpg MISS 200 10\n/random - 302 0\n/cat/1.jpg HIT 200 10\n/random - 302 0\n/cat/2.jpg MISS 403 5\n"
	if err := os.WriteFile(name, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	res := edgeResult{cpu: time.Second}
	if err := res.readLog(name); err != nil {
		t.Fatal(err)
	}
	if want := (edgeResult{cpu: time.Second, pictures: 2, hits: 1, misses: 1, draws: 3, bytes: 20}); res != want {
		t.Errorf("got %+v, want %+v", res, want)
	}
}

// TestBarsCanBeMissed: each bar, by figures just beside it.
func TestBarsCanBeMissed(t *testing.T) {
	cfg := config{million: 1_000_000}
	way1 := func(name string, rate, p99 float64) *way {
		return &way{name: name, rounds: []measured{{Requests: rate, Seconds: 1, P99: p99, CPU: time.Second}}}
	}
	ways := func(largest, p99, smallest, thousand float64) []*way {
		return []*way{
			way1("petpick, 100 pictures", smallest, 1), way1("petpick, 1000000 pictures", largest, p99), way1("petpick, 1000 pictures", thousand, 1),
			way1("net/http, a constant 302", 10_000, 1), way1("LIST for each request", 40, 1), way1("weights.json for each request", 500, 1),
		}
	}
	for _, c := range []struct {
		name                             string
		largest, p99, smallest, thousand float64
		missed                           int
	}{
		{"all met", 5000, 3, 5500, 4000, 0}, {"too slow, by both measures", 4900, 3, 5000, 4000, 2}, {"p99", 5000, 3.1, 5000, 4000, 1}, {"not flat", 5000, 3, 5600, 4000, 1},
		{"not faster than LIST", 5000, 3, 5000, 3900, 1}, {"nothing", 5000, 3, 5000, 400, 2},
	} {
		missed := 0
		for _, b := range bars(cfg, ways(c.largest, c.p99, c.smallest, c.thousand)) {
			if !b.met() {
				missed++
			}
		}
		if missed != c.missed {
			t.Errorf("%s: %d bars are missed, want %d", c.name, missed, c.missed)
		}
	}
}
