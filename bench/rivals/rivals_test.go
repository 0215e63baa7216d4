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
	const log = "/random - 302 0\n/cat/1.jpg MISS 200 10\n/random - 302 0\n/cat/1.jpg HIT 200 10\n/random - 200 7\n/cat/2.jpg MISS 403 5\n/cat/3.jpg MISS 200 9\n"
	if err := os.WriteFile(name, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	res := edgeResult{gets: 2}
	if err := res.readLog(name); err != nil {
		t.Fatal(err)
	}
	if want := (edgeResult{gets: 2, pictures: 3, hits: 1, misses: 2, distinct: 2, draws: 3, drawBytes: 7}); res != want {
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
		gets, missed                     int
	}{
		{"all met", 5000, 3, 5500, 4000, 7, 0}, {"too slow, by both measures", 4900, 3, 5000, 4000, 7, 2}, {"p99", 5000, 3.1, 5000, 4000, 7, 1}, {"not flat", 5000, 3, 5600, 4000, 7, 1},
		{"not faster than LIST", 5000, 3, 5000, 3900, 7, 1}, {"nothing", 5000, 3, 5000, 400, 7, 2}, {"a picture from S3 twice", 5000, 3, 5000, 4000, 8, 1},
	} {
		missed := 0
		for _, b := range bars(cfg, ways(c.largest, c.p99, c.smallest, c.thousand), edgeResult{gets: c.gets, distinct: 7}) {
			if !b.met() {
				missed++
			}
		}
		if missed != c.missed {
			t.Errorf("%s: %d bars are missed, want %d", c.name, missed, c.missed)
		}
	}
}

// TestRatio: by rounds, so that a slow one of the machine changes nothing, and the best round of one way is not held against another's worst.
func TestRatio(t *testing.T) {
	rounds := func(rates ...float64) *way {
		w := &way{}
		for _, r := range rates {
			w.rounds = append(w.rounds, measured{Requests: r, Seconds: 1})
		}
		return w
	}
	for _, c := range []struct {
		a, b *way
		want spread
	}{
		{rounds(50, 5, 50), rounds(100, 10, 100), spread{0.5, 0.5, 0.5}},
		{rounds(10, 20, 90), rounds(100, 100, 100), spread{0.1, 0.2, 0.9}},
		{rounds(10, 30), rounds(100, 100), spread{0.1, 0.2, 0.3}},
	} {
		if got := ratio(c.a, c.b, measured.rate); got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
	if text := (spread{0.1, 0.2, 0.9}).text(twoDigits); text != "0.20 (0.10–0.90)" {
		t.Error(text)
	}
}
