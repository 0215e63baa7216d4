// Command invoke measures what one invocation of the deployed functions takes: their bootstraps, built as `make build` builds them but for
// this machine's processor, run under a Runtime API with the memory limits of the template, over an S3 server whose calls are counted.
// It writes a page, and the figures as JSON for bench/cost.
//
//	go run ./bench/invoke -out bench/results/DATE-invoke
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"petpick/bench/page"
	"petpick/bench/rig"
	"petpick/infra"
	"petpick/src/access"
	"petpick/src/gateway"
)

type config struct {
	out                              string
	pictures, draws, uploads, starts int
}

func main() {
	var cfg config
	flag.StringVar(&cfg.out, "out", "", "the files to write, without extension")
	flag.IntVar(&cfg.pictures, "pictures", 1_000_000, "pictures that are drawn from")
	flag.IntVar(&cfg.draws, "draws", 20_000, "draws to measure")
	flag.IntVar(&cfg.uploads, "uploads", 6, "uploads of each kind to measure")
	flag.IntVar(&cfg.starts, "starts", 20, "cold starts to measure")
	flag.Parse()
	if cfg.out == "" {
		fmt.Fprintln(os.Stderr, "invoke: -out is missing")
		os.Exit(2)
	}
	if err := rig.Within(20*time.Minute, func(ctx context.Context) error { return run(ctx, cfg) }); err != nil {
		fmt.Fprintln(os.Stderr, "invoke:", err)
		os.Exit(1)
	}
}

// Figures are what was measured.
type Figures struct {
	Machine string `json:"machine"`      // with the date
	Load    string `json:"load_average"` // at the end
	// Conditions are those that the page tells of.
	Conditions string `json:"conditions"`
	Random     Draw   `json:"random"`
	Image      Work   `json:"image"` // GET /random?format=image
	Upload     []Work `json:"upload"`
	Tend       Work   `json:"tend"`
}

// Draw is the random function.
type Draw struct {
	Work
	Pictures int `json:"pictures"`
	// AnswerBytes is the response as HTTP/1.1 would write it, before CloudFront adds its own headers.
	AnswerBytes int `json:"answer_bytes"`
	// InitMS is from the start of the process to its first question for work; FirstMS the first draw's time, with InitCPUMS for both.
	InitMS    float64 `json:"init_ms"`
	FirstMS   float64 `json:"first_ms"`
	InitCPUMS float64 `json:"init_cpu_ms"`
	FirstGets float64 `json:"first_gets"`
}

// Work is an invocation's.
type Work struct {
	Name     string  `json:"name,omitempty"`
	Bytes    int     `json:"bytes,omitempty"`
	MemoryMB int     `json:"memory_mb"` // as in the template
	N        int     `json:"n"`
	CPUMS    float64 `json:"cpu_ms"`
	P50MS    float64 `json:"p50_ms"`
	P99MS    float64 `json:"p99_ms"`
	PeakMB   float64 `json:"peak_mb"`
	// Calls to S3 for each invocation, by the method that S3 charges for.
	Calls map[string]float64 `json:"calls"`
}

type bench struct {
	cfg       config
	dir       string
	functions map[string]rig.Function
	store     *rig.Store
	env       []string
	token     string // which uploads carry
}

func run(ctx context.Context, cfg config) (err error) {
	if cfg.out, err = filepath.Abs(cfg.out); err != nil {
		return err
	}
	b := &bench{cfg: cfg}
	if b.dir, err = os.MkdirTemp("", "petpick-invoke-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.functions, err = rig.Functions(infra.Template); err != nil {
		return err
	}
	for _, name := range []string{"random", "upload", "tend"} {
		if err := build(ctx, b.dir, name); err != nil {
			return err
		}
	}
	data := filepath.Join(b.dir, "data")
	if err := rig.Fill(ctx, data, cfg.pictures); err != nil {
		return err
	}
	if b.store, err = rig.OpenStore(ctx, data); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.store.Close()) }()
	token, text, err := access.New("bench", []access.Scope{access.Upload}, 24*time.Hour, time.Now())
	if err != nil {
		return err
	}
	b.token = text
	parameters, err := parameters(token)
	if err != nil {
		return err
	}
	ssm := httptest.NewServer(parameters)
	defer ssm.Close()
	b.env = append(rig.Environment(), "AWS_ENDPOINT_URL_S3="+b.store.Endpoint(), "AWS_ENDPOINT_URL_SSM="+ssm.URL,
		"PETPICK_PHOTOS_BUCKET="+rig.Photos, "PETPICK_INDEX_BUCKET="+rig.Index,
		"PETPICK_STAGE=bench", "PETPICK_TOKENS_PATH="+tokensPath, "PETPICK_PUBLIC_URL_PARAMETER="+publicURL, "PETPICK_DISTRIBUTION_PARAMETER=/petpick/bench/distribution",
		"GOMAXPROCS=2") // what a Lambda of less than 3 GB sees, however little of it is its own
	conditions, err := page.Quiet(ctx)
	if err != nil {
		return err
	}
	f := Figures{Machine: page.Machine()}
	if f.Random, err = b.random(ctx); err != nil {
		return fmt.Errorf("random: %w", err)
	}
	// The small ones first: they are what format=image draws from.
	for _, what := range [][]upload{uploads[:1], uploads[1:]} {
		if f.Upload, err = b.upload(ctx, f.Upload, what); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		if f.Image.N > 0 {
			continue
		}
		if f.Image, err = b.image(ctx); err != nil {
			return fmt.Errorf("format=image: %w", err)
		}
	}
	if f.Tend, err = b.tend(ctx); err != nil {
		return fmt.Errorf("tend: %w", err)
	}
	f.Load, f.Conditions = page.Load(), conditions.Text()
	return f.write(cfg)
}

// build makes a bootstrap with the flags of `make build`.
func build(ctx context.Context, dir, name string) error {
	args := []string{"build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name)}
	cmd := exec.CommandContext(ctx, "go", append(args, "./src/cmd/"+name)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// parameters is as much of SSM as the functions ask: the public URL, and the one token that uploads carry.
func parameters(token access.Token) (http.Handler, error) {
	record, err := token.Encode()
	if err != nil {
		return nil, err
	}
	url := map[string]string{"Name": publicURL, "Type": "String", "Value": "https://petpick.example"}
	tokens := []map[string]string{{"Name": tokensPath + "/" + token.ID, "Type": "String", "Value": string(record)}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]any{"Parameter": url}
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetParametersByPath") {
			answer = map[string]any{"Parameters": tokens}
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(answer)
	}), nil
}

const publicURL, tokensPath = "/petpick/bench/public-url", "/petpick/bench/tokens"

func (b *bench) start(ctx context.Context, name, id string) (*rig.Lambda, error) {
	return rig.StartLambda(ctx, filepath.Join(b.dir, name), b.functions[id], b.env)
}

func drawEvent(query string) any {
	return gateway.FunctionEvent(gateway.Request{
		Method: http.MethodGet, Host: "abc.lambda-url.us-east-1.on.aws", IP: "203.0.113.9", Path: "/random", RawPath: "/random", Query: query,
		Header: http.Header{
			"User-Agent": {"Amazon CloudFront"}, "Via": {"2.0 abcdef.cloudfront.net (CloudFront)"}, "X-Amz-Cf-Id": {strings.Repeat("x", 56)},
			"X-Forwarded-For": {"203.0.113.9"}, "X-Amzn-Trace-Id": {"Root=1-00000000-000000000000000000000000"},
		},
		Trace: gateway.Trace{RequestID: "00000000-0000-0000-0000-000000000000"},
	})
}

// random draws: cold, and warm one after the other.
func (b *bench) random(ctx context.Context) (d Draw, err error) {
	var inits, firsts, cpus []float64
	gets := 0
	for range b.cfg.starts {
		l, err := b.start(ctx, "random", "RandomFunction")
		if err != nil {
			return d, err
		}
		before := b.store.Calls()
		took, errDraw := draw(ctx, l)
		u, errUsage := l.Usage()
		if err := errors.Join(errDraw, errUsage, l.Close()); err != nil {
			return d, err
		}
		inits, firsts, cpus = append(inits, milliseconds(l.Init)), append(firsts, milliseconds(took)), append(cpus, milliseconds(u.CPU))
		gets += int(sum(since(b.store.Calls(), before)))
	}
	d = Draw{Pictures: b.cfg.pictures, InitMS: median(inits), FirstMS: median(firsts), InitCPUMS: mean(cpus), FirstGets: float64(gets) / float64(b.cfg.starts)}
	l, err := b.start(ctx, "random", "RandomFunction")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := settle(func() error { _, err := draw(ctx, l); return err }, func() int { return total(b.store.Calls()) }); err != nil {
		return d, err
	}
	a, _, err := invoke(ctx, l, drawEvent("label=cat"))
	if err != nil {
		return d, err
	}
	d.AnswerBytes = a.size()
	d.Work, err = b.measure(l, "draw", 0, "RandomFunction", b.cfg.draws, func(int) (time.Duration, error) { return draw(ctx, l) })
	return d, err
}

// settle draws until the segment is in memory: a draw from one that is not takes a call, and others look for a new root now and then. By
// time it would be the machine's speed that decides.
func settle(draw func() error, calls func() int) error {
	const draws, most = 1000, 10
	for range 100 {
		before := calls()
		for range draws {
			if err := draw(); err != nil {
				return err
			}
		}
		if calls()-before < most {
			return nil
		}
	}
	return fmt.Errorf("after 100,000 draws %d more take %d S3 calls and more", draws, most)
}

func draw(ctx context.Context, l *rig.Lambda) (time.Duration, error) {
	r, took, err := invoke(ctx, l, drawEvent("label=cat"))
	if l := r.Headers["Location"]; err == nil && (r.StatusCode != http.StatusFound || !strings.HasPrefix(l, "/cat/") || !strings.HasSuffix(l, ".jpg")) {
		err = fmt.Errorf("status %d to %q is no draw", r.StatusCode, l)
	}
	return took, err
}

// answer is a function's, behind a function URL or an API.
type answer struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// size is what HTTP/1.1 would write of it.
func (a answer) size() int {
	n := len("HTTP/1.1 302 Found\r\n\r\n") + len(a.Body)
	for name, value := range a.Headers {
		n += len(name) + len(value) + len(": \r\n")
	}
	return n
}

func invoke(ctx context.Context, l *rig.Lambda, event any) (a answer, took time.Duration, err error) {
	body, took, err := l.Invoke(ctx, event)
	if err != nil {
		return a, 0, err
	}
	return a, took, json.Unmarshal(body, &a)
}

// image draws with the bytes in the answer, of the pictures that are there by then.
func (b *bench) image(ctx context.Context) (w Work, err error) {
	l, err := b.start(ctx, "random", "RandomFunction")
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	do := func(int) (time.Duration, error) {
		a, took, err := invoke(ctx, l, drawEvent("label=dog&format=image"))
		if err == nil && (a.StatusCode != http.StatusOK || !a.IsBase64Encoded || a.Headers["Content-Type"] != "image/jpeg") {
			err = fmt.Errorf("status %d of type %q is no picture", a.StatusCode, a.Headers["Content-Type"])
		}
		return took, err
	}
	if _, err := do(0); err != nil {
		return w, err
	}
	return b.measure(l, "format=image", uploads[0].size, "RandomFunction", max(1, b.cfg.draws/20), do)
}

// measure invokes n times, and divides what the process took.
func (b *bench) measure(l *rig.Lambda, name string, size int, id string, n int, do func(i int) (time.Duration, error)) (w Work, err error) {
	before, calls := rig.Usage{}, b.store.Calls()
	if before, err = l.Usage(); err != nil {
		return w, err
	}
	took := make([]float64, n)
	for i := range took {
		d, err := do(i)
		if err != nil {
			return w, err
		}
		took[i] = milliseconds(d)
	}
	after, err := l.Usage()
	if err != nil {
		return w, err
	}
	slices.Sort(took)
	w = Work{
		Name: name, Bytes: size, MemoryMB: b.functions[id].MemoryMB, N: n, CPUMS: milliseconds(after.CPU-before.CPU) / float64(n),
		P50MS: took[n/2], P99MS: took[min(n-1, n*99/100)], PeakMB: float64(after.Peak) / 1e6, Calls: map[string]float64{},
	}
	for method, c := range since(b.store.Calls(), calls) {
		w.Calls[method] = c / float64(n)
	}
	fmt.Fprintf(os.Stderr, "%-20s %8d bytes: %.3f ms CPU, p50 %.3f ms, peak %.0f MB, calls %v\n", name, size, w.CPUMS, w.P50MS, w.PeakMB, w.Calls)
	return w, nil
}

// since counts calls by method.
func since(now, before map[string]int) map[string]float64 {
	by := map[string]float64{}
	for op, n := range now {
		method, _, _ := strings.Cut(op, " ")
		if n -= before[op]; n > 0 {
			by[method] += float64(n)
		}
	}
	return by
}

// tend is the upkeep of a service at rest.
func (b *bench) tend(ctx context.Context) (w Work, err error) {
	l, err := b.start(ctx, "tend", "TendFunction")
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	event := map[string]any{"source": "aws.events", "detail-type": "Scheduled Event", "detail": map[string]any{}}
	do := func(int) (time.Duration, error) {
		_, took, err := l.Invoke(ctx, event)
		return took, err
	}
	if _, err := do(0); err != nil { // whatever the uploads have left to do
		return w, err
	}
	return b.measure(l, "upkeep", 0, "TendFunction", 20, do)
}

func total(calls map[string]int) (n int) {
	for _, c := range calls {
		n += c
	}
	return n
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func sum(by map[string]float64) (s float64) {
	for _, n := range by {
		s += n
	}
	return s
}

func mean(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s / float64(len(v))
}

func median(v []float64) float64 {
	return slices.SortedFunc(slices.Values(v), cmp.Compare[float64])[len(v)/2]
}
