// Command rivals measures GET /random beside other ways to answer it, all in one run: wrk on one core, the server with its S3 server on
// the other, the same pictures. It writes a page and a plot, and ends with status 1 when a ratio misses its bar.
//
//	go run ./bench/rivals -out bench/results/DATE-rivals
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"petpick/bench/page"
	"petpick/bench/rig"
)

//go:embed wrk.lua
var script []byte

type config struct {
	binary, out, dir, k6     string
	seconds, rounds, clients int
	million                  int
	pictureSeconds           int
}

func main() {
	var cfg config
	flag.StringVar(&cfg.binary, "binary", "build/petpick", "the program that serves")
	flag.StringVar(&cfg.k6, "k6", "build/k6-v1.8.1/k6", "k6, for the pictures behind nginx")
	flag.StringVar(&cfg.out, "out", "", "the files to write, without extension")
	flag.IntVar(&cfg.seconds, "seconds", 3, "seconds of each measurement")
	flag.IntVar(&cfg.rounds, "rounds", 5, "measurements of each way, by turns; their median is reported")
	flag.IntVar(&cfg.clients, "clients", 16, "connections of wrk")
	flag.IntVar(&cfg.million, "largest", 1_000_000, "pictures in the largest index")
	flag.IntVar(&cfg.pictureSeconds, "picture-seconds", 15, "seconds of pictures through nginx")
	rival := flag.String("rival", "", "be one of the small implementations: constant, list, weights")
	addr := flag.String("addr", "", "its address")
	endpoint := flag.String("endpoint", "", "its S3 server")
	flag.Parse()
	err := errors.New("-out is missing")
	switch {
	case *rival != "":
		err = serve(*rival, *addr, *endpoint)
	case cfg.out != "":
		err = rig.Within(10*time.Minute, func(ctx context.Context) error { return run(ctx, cfg) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}

// The cores: one for all that serves, one for the client.
const serverCore, clientCore = "0", "1"

// small is how many real pictures there are: those that the S3 server lists.
const small = 1000

// way is one way to answer GET /random.
type way struct {
	name, url string
	process   *rig.Process
	rounds    []measured
}

// measured is what wrk says: latencies in milliseconds.
type measured struct {
	Requests, Seconds, P50, P99, Max float64
	Failed                           int
	// CPU of the way's own process meanwhile, and of all others: of the S3 server, if that is another's.
	CPU, Others time.Duration `json:"-"`
}

func (m measured) rate() float64 { return m.Requests / m.Seconds }

// own and others are microseconds of CPU a request, cpu all of them.
func (m measured) own() float64    { return float64(m.CPU.Microseconds()) / m.Requests }
func (m measured) others() float64 { return float64(m.Others.Microseconds()) / m.Requests }
func (m measured) cpu() float64    { return m.own() + m.others() }

func (m measured) p50() float64 { return m.P50 }
func (m measured) p99() float64 { return m.P99 }

// spread is what several rounds gave.
type spread struct{ low, median, high float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1]}
}

// over is the spread of one figure of a way.
func (w *way) over(figure func(measured) float64) spread {
	var values []float64
	for _, m := range w.rounds {
		values = append(values, figure(m))
	}
	return spreadOf(values)
}

// ratio divides round by round: what disturbs the machine for a while disturbs both.
func ratio(a, b *way, figure func(measured) float64) spread {
	var values []float64
	for i := range a.rounds {
		values = append(values, figure(a.rounds[i])/figure(b.rounds[i]))
	}
	return spreadOf(values)
}

func run(ctx context.Context, cfg config) (err error) {
	for _, tool := range []string{"wrk", "nginx", "taskset", cfg.k6} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: apt-get install wrk nginx-light; make %s", err, cfg.k6)
		}
	}
	for _, p := range []*string{&cfg.binary, &cfg.out, &cfg.k6} { // the S3 server changes the working directory
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	scripts, err := filepath.Abs("bench")
	if err != nil {
		return err
	}
	if cfg.dir, err = os.MkdirTemp("", "petpick-rivals-"); err != nil {
		return err
	}
	defer os.RemoveAll(cfg.dir)
	if err := os.WriteFile(filepath.Join(cfg.dir, "wrk.lua"), script, 0o600); err != nil {
		return err
	}
	conditions, err := page.Quiet(ctx)
	if err != nil {
		return err
	}
	ways, err := start(ctx, cfg)
	if err == nil {
		err = measure(ctx, cfg, ways)
	}
	for _, w := range slices.Backward(ways) { // the rivals hold connections to petpick's S3 server
		err = errors.Join(err, w.process.Stop())
	}
	if err != nil {
		return err
	}
	edge, err := throughNginx(ctx, cfg, scripts)
	if err != nil {
		return err
	}
	return write(cfg, conditions, ways, edge)
}

// realData is the data folder with the pictures that were uploaded.
func (cfg config) realData() string { return filepath.Join(cfg.dir, "real") }

// start starts all ways; those that idle meanwhile take nothing.
func start(ctx context.Context, cfg config) (ways []*way, err error) {
	add := func(name, url string, p *rig.Process) { ways = append(ways, &way{name: name, url: url, process: p}) }
	for _, n := range []int{100, 10_000, cfg.million} {
		data := filepath.Join(cfg.dir, fmt.Sprint(n))
		if err := rig.Fill(ctx, data, n); err != nil {
			return ways, err
		}
		s, err := rig.Serve(ctx, cfg.binary, data, serverCore, nil)
		if err != nil {
			return ways, err
		}
		add(fmt.Sprintf("petpick, %d pictures", n), s.URL+"/random?label=cat", s.Process)
	}
	service, err := rig.Serve(ctx, cfg.binary, cfg.realData(), serverCore, nil)
	if err != nil {
		return ways, err
	}
	add(fmt.Sprintf("petpick, %d pictures", small), service.URL+"/random?label=cat", service.Process)
	weights := func(i int) string { return fmt.Sprint(1 + i%7) }
	pictures, err := rig.Upload(ctx, service.URL, "dev", "cat", small, 64, 48, weights)
	if err != nil {
		return ways, err
	}
	secret, err := os.ReadFile(filepath.Join(cfg.realData(), "s3-secret"))
	if err != nil {
		return ways, err
	}
	if err := writeWeights(ctx, service.S3Endpoint, string(secret), pictures); err != nil {
		return ways, err
	}
	for _, r := range []struct{ kind, name string }{
		{"constant", "net/http, a constant 302"},
		{"list", fmt.Sprintf("LIST for each request, %d pictures", small)},
		{"weights", fmt.Sprintf("weights.json for each request, %d pictures", small)},
	} {
		url, p, err := startRival(ctx, r.kind, service.S3Endpoint, string(secret))
		if err != nil {
			return ways, err
		}
		add(r.name, url, p)
	}
	url, p, err := startNginx(ctx, cfg.dir)
	if err != nil {
		return ways, err
	}
	add("nginx, return 302", url, p)
	return ways, nil
}

func startRival(ctx context.Context, kind, endpoint, secret string) (url string, p *rig.Process, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	addr, err := rig.FreeAddr()
	if err != nil {
		return "", nil, err
	}
	env := []string{"AWS_SECRET_ACCESS_KEY=" + secret}
	p, err = rig.Run(serverCore, env, self, "-rival", kind, "-addr", addr, "-endpoint", endpoint)
	if err != nil {
		return "", nil, err
	}
	url = "http://" + addr + "/random?label=cat"
	return url, p, p.Await(ctx, url)
}

// measure takes turns, so that a slow minute of the machine meets all ways.
func measure(ctx context.Context, cfg config, ways []*way) error {
	for round := range cfg.rounds + 1 {
		for _, w := range ways {
			seconds := cfg.seconds
			if round == 0 { // warms up: segments are loaded, connections pooled
				seconds = 1
			}
			if err := answersWell(ctx, w.url); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			own, all, err := cpuOf(w, ways)
			if err != nil {
				return err
			}
			m, err := wrk(ctx, cfg, w.url, seconds)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			ownAfter, allAfter, err := cpuOf(w, ways)
			if err != nil {
				return err
			}
			m.CPU = ownAfter - own
			m.Others = allAfter - all - m.CPU
			if m.Failed > 0 {
				return fmt.Errorf("%s: %d requests failed", w.name, m.Failed)
			}
			if round > 0 {
				w.rounds = append(w.rounds, m)
			}
			fmt.Fprintf(os.Stderr, "%-50s %9.0f requests/s, p50 %.2f ms, p99 %.2f ms, CPU %.1f µs\n", w.name, m.rate(), m.P50, m.P99, m.cpu())
		}
	}
	return nil
}

// cpuOf is what one server and all of them have taken so far: those that idle take next to nothing, and LIST's S3 server is another's process.
func cpuOf(of *way, ways []*way) (own, all time.Duration, err error) {
	for _, w := range ways {
		u, err := w.process.Usage()
		if err != nil {
			return 0, 0, err
		}
		if all += u.CPU; w == of {
			own = u.CPU
		}
	}
	return own, all, nil
}

var location = regexp.MustCompile(`^(http://[^/]+)?/(cat|dog)/[0-9a-f]{32}\.(jpg|png|webp)$`)

// answersWell: wrk counts answers and does not look at them, so it is looked at one.
func answersWell(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if l := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || !location.MatchString(l) {
		return fmt.Errorf("%s to %q is no redirect to a picture", resp.Status, l)
	}
	return nil
}

func wrk(ctx context.Context, cfg config, url string, seconds int) (m measured, err error) {
	cmd := rig.Command(ctx, "taskset", "-c", clientCore, "wrk", "--threads", "1", "--connections", fmt.Sprint(cfg.clients),
		"--duration", fmt.Sprintf("%ds", seconds), "--timeout", "10s", "--script", filepath.Join(cfg.dir, "wrk.lua"), url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return m, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	_, line, _ := bytes.Cut(out, []byte("MEASURED "))
	if err := json.Unmarshal(bytes.SplitN(line, []byte("\n"), 2)[0], &m); err != nil {
		return m, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return m, nil
}

// startNginx serves the least that answers a redirect.
func startNginx(ctx context.Context, dir string) (url string, p *rig.Process, err error) {
	addr, err := rig.FreeAddr()
	if err != nil {
		return "", nil, err
	}
	path := "/cat/" + strings.Repeat("0", 31) + "1.jpg"
	return nginx(ctx, filepath.Join(dir, "nginx"), serverCore, addr, fmt.Sprintf(
		"access_log off; absolute_redirect off; server { listen %s backlog=1024; location = /random { add_header Cache-Control no-store; return 302 %s; } }", addr, path))
}

// nginx runs as one process with the configuration of its http block.
func nginx(ctx context.Context, dir, core, addr, http string) (url string, p *rig.Process, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s; ", kind, dir, kind)
	}
	conf := fmt.Sprintf("daemon off; master_process off; user root; pid %[1]s/pid; error_log stderr warn; events { worker_connections 1024; }\nhttp { keepalive_requests 1000000000; %[2]s\n%[3]s }\n",
		dir, temp.String(), http)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return "", nil, err
	}
	p, err = rig.Run(core, nil, "nginx", "-p", dir, "-e", "stderr", "-c", file)
	if err != nil {
		return "", nil, err
	}
	url = "http://" + addr + "/random?label=cat"
	if err := p.Await(ctx, url); err != nil {
		return "", nil, errors.Join(err, p.Stop())
	}
	return url, p, nil
}
