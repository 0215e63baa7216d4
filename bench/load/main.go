// Command load runs the k6 scripts of bench/ and writes one page of them: by itself it starts `petpick serve` on loopback with an S3
// server whose calls are counted, and seeds it with pictures; with -url it goes to that host, and only then. It ends with status 1 when a
// script misses a threshold.
//
//	go run ./bench/load -out bench/results/2026-11-24-load
//	go run ./bench/load -soak -seconds 1800 -out bench/results/2026-11-24-soak
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"petpick/bench/page"
	"petpick/bench/rig"
)

type config struct {
	binary, k6, url, out, command string
	token                         string // for url
	scripts                       string // comma-separated
	pictures, rate, seconds       int
	soak                          bool
}

func main() {
	var cfg config
	flag.StringVar(&cfg.binary, "binary", "build/petpick", "the program that serves")
	flag.StringVar(&cfg.k6, "k6", "build/k6-v1.8.1/k6", "k6")
	flag.StringVar(&cfg.url, "url", "", "the host to load instead of one on loopback; TOKEN is its token")
	flag.StringVar(&cfg.out, "out", "", "the files to write, without extension; none when empty")
	flag.StringVar(&cfg.command, "command", "make bench", "the command that the page names")
	flag.StringVar(&cfg.scripts, "scripts", "random,upload,mixed,spike,soak", "the scripts to run, in this order")
	flag.IntVar(&cfg.pictures, "pictures", 500, "pictures to begin with")
	flag.IntVar(&cfg.rate, "rate", 200, "draws a second")
	flag.IntVar(&cfg.seconds, "seconds", 30, "seconds of each script")
	flag.BoolVar(&cfg.soak, "soak", false, "only soak.js, at half of what the service can do, with a verdict on drift")
	flag.Parse()
	cfg.token = os.Getenv("TOKEN")
	limit := 10 * time.Minute
	if cfg.soak {
		limit += time.Duration(cfg.seconds) * time.Second
	}
	if err := rig.Within(limit, func(ctx context.Context) error { return run(ctx, cfg) }); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// maxSeconds of each script are about seven minutes of all of them: with the wait for a quiet machine, the run ends within ten.
const maxSeconds = 50

// stand is what the scripts run against.
type stand struct {
	url        string
	store      *rig.Store   // nil for a host elsewhere
	service    *rig.Service // likewise
	weight     float64      // of each label's pictures, if known
	conditions page.Conditions
}

func (s *stand) calls() map[string]int {
	if s.store == nil {
		return nil
	}
	return s.store.Calls()
}

// sample is a moment of a script: the service's process, the S3 calls by method, and the requests that k6 has had answers to.
type sample struct {
	script string
	rig.Usage
	calls    map[string]int
	answered float64
	known    bool // k6 has told answered
}

// outcome is a script's run.
type outcome struct {
	script  string
	metrics map[string]metric
	took    time.Duration
	calls   map[string]int
	samples []sample
	err     error
	// seconds that each scenario was to last.
	seconds map[string]float64
}

// metric is one of k6's, or a part of one: its values by name.
type metric struct {
	Values     map[string]float64
	Thresholds map[string]struct{ Ok bool }
}

func run(ctx context.Context, cfg config) (err error) {
	for _, p := range []*string{&cfg.binary, &cfg.k6, &cfg.out} { // the S3 server changes the working directory
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	scripts, err := filepath.Abs("bench")
	if err != nil {
		return err
	}
	chosen, err := cfg.choose()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "petpick-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var conditions page.Conditions
	if cfg.out != "" {
		if conditions, err = page.Quiet(ctx); err != nil {
			return err
		}
	}
	st, stop, err := start(ctx, cfg, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	st.conditions = conditions

	r := runner{cfg: cfg, scripts: scripts, dir: dir, stand: st}
	if cfg.soak {
		return r.soak(ctx)
	}
	var all []outcome
	var failed error
	for _, name := range chosen {
		o, err := r.script(ctx, name, r.environment(name))
		all = append(all, o)
		failed = errors.Join(failed, o.err, err)
		if err != nil || ctx.Err() != nil { // k6 has died, or the service
			break
		}
	}
	if cfg.out != "" {
		failed = errors.Join(failed, write(cfg, st, all, failed))
	}
	return failed
}

// drawsOnly: a host elsewhere takes uploads with a token alone.
func (cfg config) drawsOnly() bool { return cfg.url != "" && cfg.token == "" }

// choose leaves out what uploads where that is not possible.
func (cfg config) choose() (scripts []string, err error) {
	if !cfg.soak && cfg.seconds > maxSeconds {
		return nil, fmt.Errorf("%d seconds of each script are too long: at most %d", cfg.seconds, maxSeconds)
	}
	scripts = strings.Split(cfg.scripts, ",")
	if !cfg.drawsOnly() {
		return scripts, nil
	}
	if cfg.soak {
		return nil, errors.New("soak.js uploads: TOKEN is not set")
	}
	fmt.Fprintln(os.Stderr, "TOKEN is not set: the scripts that upload are left out")
	return slices.DeleteFunc(scripts, func(name string) bool { return !slices.Contains(withoutToken, name) }), nil
}

// withoutToken are the scripts that only draw.
var withoutToken = []string{"random", "spike"}

// start starts the service and fills it, unless there is a host to go to.
func start(ctx context.Context, cfg config, dir string) (st *stand, stop func() error, err error) {
	if cfg.url != "" {
		return &stand{url: cfg.url}, func() error { return nil }, nil
	}
	store, err := rig.OpenStore(ctx, filepath.Join(dir, "store"))
	if err != nil {
		return nil, nil, err
	}
	service, err := rig.Serve(ctx, cfg.binary, filepath.Join(dir, "data"), "", rig.Environment(), "--s3-endpoint", store.Endpoint())
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	stop = func() error { return errors.Join(service.Stop(), store.Close()) }
	st = &stand{url: service.URL, store: store, service: service}
	for _, label := range []string{"cat", "dog"} {
		weight := func(i int) string { return fmt.Sprint(1 + i%7) }
		// 320 x 240 pixels of noise are about 70 kB.
		pictures, err := rig.Upload(ctx, service.URL, "dev", label, (cfg.pictures+1)/2, 320, 240, weight)
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		st.weight = 0
		for _, p := range pictures {
			st.weight += p.Weight
		}
	}
	return st, stop, nil
}

// runner runs scripts.
type runner struct {
	cfg          config
	scripts, dir string
	stand        *stand
}

// rateOf: an upload is decoded, stored and announced, and takes much more than a draw.
func (r *runner) rateOf(script string) int {
	switch script {
	case "upload":
		return max(1, r.cfg.rate/10)
	case "mixed":
		return max(1, r.cfg.rate/2)
	}
	return r.cfg.rate
}

// environment is what a script is told. What it uploads goes with the service's folder here, but for a soak, whose pictures stay as many.
func (r *runner) environment(script string) map[string]string {
	env := map[string]string{"RATE": fmt.Sprint(r.rateOf(script)), "DURATION": fmt.Sprintf("%ds", r.cfg.seconds)}
	if r.stand.service != nil && script != "soak" {
		env["KEEP"] = "yes"
	}
	if r.stand.weight > 0 {
		env["WEIGHT"] = fmt.Sprint(r.stand.weight)
	}
	return env
}

// script runs one, and watches the service meanwhile. That a threshold is missed is in the outcome.
func (r *runner) script(ctx context.Context, name string, env map[string]string) (o outcome, err error) {
	fmt.Fprintf(os.Stderr, "== %s.js %v\n", name, env)
	o.script = name
	summary := filepath.Join(r.dir, name+".json")
	if err := os.Remove(summary); err != nil && !errors.Is(err, os.ErrNotExist) { // of a run before
		return o, err
	}
	api, err := rig.FreeAddr()
	if err != nil {
		return o, err
	}
	cmd := rig.Command(ctx, r.cfg.k6, "run", "--quiet", "--no-usage-report", "--address", api, filepath.Join(r.scripts, name+".js"))
	cmd.Env = append(os.Environ(), "BASE_URL="+r.stand.url, "SUMMARY="+summary)
	if r.stand.service != nil {
		cmd.Env = append(cmd.Env, "TOKEN=dev") // whatever token the shell has for another host
	}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	began, before := time.Now(), r.stand.calls()
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- r.watch(watching, name, api, &o.samples) }()
	if err := cmd.Run(); err != nil {
		o.err = fmt.Errorf("%s.js: %w", name, err)
	}
	o.took = time.Since(began)
	stopWatching()
	if err := <-watched; err != nil {
		return o, errors.Join(err, o.err)
	}
	o.calls = r.stand.calls()
	maps.DeleteFunc(o.calls, func(op string, n int) bool { return n == before[op] })
	for op := range o.calls {
		o.calls[op] -= before[op]
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		return o, errors.Join(o.err, err)
	}
	var data struct {
		Metrics map[string]metric
		Seconds map[string]float64
	}
	err = json.Unmarshal(text, &data)
	o.metrics, o.seconds = data.Metrics, data.Seconds
	return o, err
}

func (r *runner) watch(ctx context.Context, script, api string, samples *[]sample) (err error) {
	for tick := time.NewTicker(time.Second); ; {
		s := sample{script: script, Usage: rig.Usage{At: time.Now()}, calls: byMethod(r.stand.calls())}
		if r.stand.service != nil {
			if s.Usage, err = r.stand.service.Usage(); err != nil {
				return err
			}
		}
		s.answered, s.known = answered(ctx, api)
		*samples = append(*samples, s)
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
}

// answered asks k6's own API, which is there while a script runs and knows nothing until there is an answer.
func answered(ctx context.Context, api string) (n float64, known bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+api+"/v1/metrics/http_reqs", nil)
	if err != nil {
		return 0, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	var m struct {
		Data struct {
			Attributes struct{ Sample struct{ Count *float64 } }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m.Data.Attributes.Sample.Count == nil {
		return 0, false
	}
	return *m.Data.Attributes.Sample.Count, true
}

// byMethod adds up the calls of each method.
func byMethod(calls map[string]int) map[string]int {
	sum := map[string]int{}
	for op, n := range calls {
		method, _, _ := strings.Cut(op, " ")
		sum[method] += n
	}
	return sum
}
