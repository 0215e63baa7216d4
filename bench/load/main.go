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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"petpick/bench/rig"
)

type config struct {
	binary, k6, url, out, command string
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
	if err := run(context.Background(), cfg); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// stand is what the scripts run against.
type stand struct {
	url     string
	store   *rig.Store   // nil for a host elsewhere
	service *rig.Service // likewise
}

func (s *stand) calls() map[string]int {
	if s.store == nil {
		return nil
	}
	return s.store.Calls()
}

// sample is the service's process at a moment of a script.
type sample struct {
	script string
	rig.Usage
}

// outcome is a script's run.
type outcome struct {
	script  string
	metrics map[string]metric
	took    time.Duration
	calls   map[string]int
	samples []sample
	err     error
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
	dir, err := os.MkdirTemp("", "petpick-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	st, stop, err := start(ctx, cfg, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	r := runner{cfg: cfg, scripts: scripts, dir: dir, stand: st}
	if cfg.soak {
		return r.soak(ctx)
	}
	var all []outcome
	var failed error
	for name := range strings.SplitSeq(cfg.scripts, ",") {
		o, err := r.script(ctx, name, map[string]string{"RATE": fmt.Sprint(r.rateOf(name)), "DURATION": fmt.Sprintf("%ds", cfg.seconds)})
		if err != nil {
			return err
		}
		failed = errors.Join(failed, o.err)
		all = append(all, o)
	}
	if cfg.out != "" {
		failed = errors.Join(failed, write(cfg, st, all))
	}
	return failed
}

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
	for _, label := range []string{"cat", "dog"} {
		weight := func(i int) string { return fmt.Sprint(1 + i%7) }
		// 320 x 240 pixels of noise are about 70 kB.
		if _, err := rig.Upload(ctx, service.URL, "dev", label, (cfg.pictures+1)/2, 320, 240, weight); err != nil {
			return nil, nil, errors.Join(err, stop())
		}
	}
	return &stand{service.URL, store, service}, stop, nil
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

// script runs one, and watches the service meanwhile. That a threshold is missed is in the outcome.
func (r *runner) script(ctx context.Context, name string, env map[string]string) (o outcome, err error) {
	fmt.Fprintf(os.Stderr, "== %s.js %v\n", name, env)
	o.script = name
	summary := filepath.Join(r.dir, name+".json")
	cmd := exec.CommandContext(ctx, r.cfg.k6, "run", "--quiet", "--no-usage-report", filepath.Join(r.scripts, name+".js"))
	cmd.Env = append(os.Environ(), "BASE_URL="+r.stand.url, "SUMMARY="+summary)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	began, before := time.Now(), r.stand.calls()
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- r.watch(watching, name, &o.samples) }()
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
	var data struct{ Metrics map[string]metric }
	err = json.Unmarshal(text, &data)
	o.metrics = data.Metrics
	return o, err
}

func (r *runner) watch(ctx context.Context, script string, samples *[]sample) error {
	if r.stand.service == nil {
		return nil
	}
	for tick := time.NewTicker(time.Second); ; {
		u, err := r.stand.service.Usage()
		if err != nil {
			return err
		}
		*samples = append(*samples, sample{script, u})
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
}
