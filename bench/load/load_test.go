package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"petpick/bench/rig"
)

// soaked is half an hour of samples, whose memory and descriptors are as told for each second.
func soaked(memory, descriptors func(second float64) float64, second, last float64) outcome {
	o := outcome{script: "soak", took: 30 * time.Minute, metrics: map[string]metric{
		"http_reqs":                      {Values: map[string]float64{"count": 1000}},
		"http_req_failed":                {Values: map[string]float64{"fails": 1000}},
		"http_req_duration{part:second}": {Values: map[string]float64{"p(99)": second, "count": 200}},
		"http_req_duration{part:last}":   {Values: map[string]float64{"p(99)": last, "count": 200}},
	}}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1800 {
		s := float64(i)
		o.samples = append(o.samples, sample{Usage: rig.Usage{At: began.Add(time.Duration(i) * time.Second), Resident: int64(memory(s)), Descriptors: int(descriptors(s))}})
	}
	return o
}

func TestJudge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	constant := func(v float64) func(float64) float64 { return func(float64) float64 { return v } }
	// saw is what collections of garbage make of 100 MB, each period another: up by 20 %, and back.
	saw := func(period float64) func(float64) float64 {
		return func(s float64) float64 {
			return 100e6 * (1 + 0.2*(s/period-float64(int(s/period))) + 0.004*rnd.Float64())
		}
	}
	leak := func(of func(float64) float64, part float64) func(float64) float64 { // of the base, in half an hour
		return func(s float64) float64 { return of(s) + 100e6*part*s/1800 }
	}
	flat := soaked(constant(100e6), constant(50), 10, 10)
	change := func(change func(o *outcome)) outcome {
		o := soaked(constant(100e6), constant(50), 10, 10)
		change(&o)
		return o
	}
	const memory, open, p99, errs = "resident memory: growth an hour, of the mean", "file descriptors: growth an hour", "p99 of the last fifth of the time by the second's", "requests that failed"
	for _, c := range []struct {
		name   string
		o      outcome
		missed []string
	}{
		{"flat", flat, nil},
		{"a fifth slower", soaked(constant(100e6), constant(50), 10, 12), nil},
		{"slower", soaked(constant(100e6), constant(50), 10, 12.1), []string{p99}},
		{"collections of garbage every 7 s", soaked(saw(7), constant(50), 10, 10), nil},
		{"collections of garbage every 47 s", soaked(saw(47), constant(50), 10, 10), nil},
		{"collections of garbage every 100 s", soaked(saw(100), constant(50), 10, 10), nil},
		{"caches that fill in the first fifth", soaked(func(s float64) float64 { return min(100e6, 50e6+s*50e6/300) }, constant(50), 10, 10), nil},
		{"a leak of 5 %", soaked(leak(constant(100e6), 0.05), constant(50), 10, 10), []string{memory}},
		{"a leak of 5 % among collections", soaked(leak(saw(47), 0.05), constant(50), 10, 10), []string{memory}},
		{"a leak of 1 %", soaked(leak(saw(47), 0.01), constant(50), 10, 10), nil},
		{"twice the memory for a second now and then", soaked(func(float64) float64 { return 100e6 * (1 + float64(rnd.IntN(100)/99)) }, constant(50), 10, 10), nil},
		{"memory up and down for minutes", soaked(func(s float64) float64 { return 100e6 * (1 + float64(int(s/300)%2)) }, constant(50), 10, 10), []string{memory}},
		{"16 descriptors in the run", soaked(constant(100e6), func(s float64) float64 { return 50 + 16*s/1800 }, 10, 10), []string{open}},
		{"descriptors that come and go", soaked(constant(100e6), func(s float64) float64 { return 50 + float64(rnd.IntN(20)) }, 10, 10), nil},
		{"errors", change(func(o *outcome) { o.metrics["http_req_failed"].Values["passes"] = 1 }), []string{errs}},
		{"no requests", change(func(o *outcome) { clear(o.metrics["http_req_failed"].Values) }), []string{errs}},
		{"nothing in the last fifth", change(func(o *outcome) { clear(o.metrics["http_req_duration{part:last}"].Values) }), []string{p99}},
		{"nothing in the second fifth", change(func(o *outcome) { delete(o.metrics, "http_req_duration{part:second}") }), []string{p99}},
		{"no samples", change(func(o *outcome) { o.samples = o.samples[:70] }), []string{memory, open}},
		{"nothing at all", outcome{}, []string{errs, p99, memory, open}},
	} {
		var missed []string
		for _, v := range judge(c.o, true) {
			if !v.ok {
				missed = append(missed, v.what)
			}
		}
		if !slices.Equal(missed, c.missed) {
			t.Errorf("%s: missed %q, want %q: %v", c.name, missed, c.missed, judge(c.o, true))
		}
	}
	if n := len(judge(flat, false)); n != 2 {
		t.Errorf("%d verdicts on a host elsewhere, want those on errors and p99 alone", n)
	}
}

func TestTitle(t *testing.T) {
	for metric, want := range map[string][2]string{
		"http_req_duration{scenario:page}": {"random: page", "page"}, "http_req_duration{name:POST /upload}": {"random: POST /upload", ""},
		"page_duration": {"random: whole page", "page"},
		"http_req_duration{expected_response:true}": {}, "http_req_duration": {}, "http_reqs": {}, "checks{scenario:page}": {},
	} {
		what, scenario, ok := title("random", metric)
		if got := [2]string{what, scenario}; ok != (want[0] != "") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", metric, got, ok, want)
		}
	}
}

// TestChoose: without a token for a host elsewhere, what uploads is left out; here there is always one.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		url, token string
		soak       bool
		seconds    int
		want       string // "" for an error
	}{
		{"", "", false, 30, "random,upload,mixed,spike,soak"}, {"https://x", "t", false, 30, "random,upload,mixed,spike,soak"}, {"https://x", "", false, 30, "random,spike"},
		{"https://x", "", true, 30, ""}, {"", "", true, 7200, "random,upload,mixed,spike,soak"}, {"", "", false, maxSeconds + 1, ""},
	} {
		got, err := config{url: c.url, token: c.token, soak: c.soak, seconds: c.seconds, scripts: "random,upload,mixed,spike,soak"}.choose()
		if strings.Join(got, ",") != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

// half is a script's run with a scenario that is a third of it.
func half() outcome {
	o := soaked(func(float64) float64 { return 1e8 }, func(float64) float64 { return 50 }, 10, 10)
	o.script, o.took, o.seconds = "random", 90*time.Second, map[string]float64{"redirect": 30}
	o.metrics["http_req_duration{scenario:redirect}"] = metric{Values: map[string]float64{"count": 6000, "med": 1, "p(90)": 2, "p(95)": 3, "p(99)": 4, "max": 5}}
	o.samples = o.samples[:90]
	for i := range o.samples {
		o.samples[i].answered, o.samples[i].known = float64(200*min(i, 30)), i > 0
		o.samples[i].calls = map[string]int{"GET": 3 * i}
	}
	return o
}

// TestPage: rates are of a scenario's own time, and a run that failed says so and leaves the page of one that went well.
func TestPage(t *testing.T) {
	cfg := config{out: filepath.Join(t.TempDir(), "x"), scripts: "random", command: "make it"}
	st := &stand{service: &rig.Service{}}
	if err := write(cfg, st, []outcome{half()}, nil); err != nil {
		t.Fatal(err)
	}
	if err := write(cfg, st, []outcome{half(), {script: "upload"}}, errors.New("upload.js: exit status 108")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, part string
		there      bool
	}{
		{".md", "| random: redirect | 6,000 | 200.0 | 1.00 |", true}, {".md", "(x-s3.svg)", true}, {".md", "(x-throughput.svg)", true}, {".md", "FAILED", false},
		{"-failed.md", ": FAILED\n\n```\nupload.js: exit status 108\n```\n", true}, {"-failed.md", "(x-failed-s3.svg)", true},
		{"-throughput.svg", "answers/s", true}, {"-s3.svg", "calls/s", true}, {"-failed-throughput.svg", "random.js", true},
	} {
		text, err := os.ReadFile(cfg.out + c.name)
		if err != nil || strings.Contains(string(text), c.part) != c.there {
			t.Errorf("%s: %v, want %q there: %v:\n%.2000s", c.name, err, c.part, c.there, text)
		}
	}
}

// TestPageOfAHostElsewhere says what was left out, and has nothing of the service's process.
func TestPageOfAHostElsewhere(t *testing.T) {
	for token, left := range map[string]bool{"": true, "t": false} {
		cfg := config{out: filepath.Join(t.TempDir(), "x"), url: "https://pets.example", token: token}
		if err := write(cfg, &stand{url: cfg.url}, []outcome{half()}, nil); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(cfg.out + ".md")
		if err != nil || strings.Contains(string(text), "There was no TOKEN") != left || strings.Contains(string(text), "The service meanwhile") || !strings.Contains(string(text), "against https://pets.example;") {
			t.Errorf("token %q: %v:\n%s", token, err, text)
		}
	}
}

// TestThroughput: 200 answers a second while there were any, and no point where k6 did not tell.
func TestThroughput(t *testing.T) {
	c := throughput([]outcome{half()})
	if len(c.Lines) != 1 || len(c.Lines[0].XYs) != 29 {
		t.Fatalf("%+v", c.Lines)
	}
	for i, xy := range c.Lines[0].XYs {
		if xy.X != float64(i+2) || xy.Y != 200 {
			t.Errorf("%v", xy)
		}
	}
	calls := s3Calls([]outcome{half()})
	if len(calls.Lines) != 1 || calls.Lines[0].Name != "GET" || len(calls.Lines[0].XYs) != 89 || calls.Lines[0].XYs[5].Y != 3 {
		t.Errorf("%+v", calls.Lines)
	}
}

// TestAnswered reads k6's answer, and does not take what is no count for one.
func TestAnswered(t *testing.T) {
	for body, want := range map[string]float64{`{"data":{"type":"metrics","id":"http_reqs","attributes":{"sample":{"count":42,"rate":7}}}}`: 42, `{"errors":[]}`: -1} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		n, known := answered(t.Context(), strings.TrimPrefix(s.URL, "http://"))
		s.Close()
		if known != (want >= 0) || known && n != want {
			t.Errorf("%s: %v, %v", body, n, known)
		}
	}
}

// TestOldSummary: a script that dies is not judged by the summary of one before it.
func TestOldSummary(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "soak.json")
	if err := os.WriteFile(old, []byte(`{"metrics":{"http_reqs":{"values":{"count":1}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runner{cfg: config{k6: "false"}, dir: dir, stand: &stand{}}
	o, err := r.script(context.Background(), "soak", nil)
	if !errors.Is(err, os.ErrNotExist) || o.metrics != nil {
		t.Errorf("%v, %v", o.metrics, err)
	}
}
