// Command fairness draws from `petpick serve` over HTTP, as users do, and judges whether pictures come as often as their weights say. It
// writes a page and a plot, and ends with status 1 when they do not.
//
//	go run ./bench/fairness -out bench/results/DATE-fairness
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/stat/distuv"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"petpick/bench/page"
	"petpick/bench/rig"
	"petpick/src/index/drawtest"
)

type config struct {
	binary, out              string
	draws, pictures, clients int
}

func main() {
	var cfg config
	flag.StringVar(&cfg.binary, "binary", "build/petpick", "the program that serves")
	flag.StringVar(&cfg.out, "out", "", "the files to write, without extension")
	flag.IntVar(&cfg.draws, "draws", 1_000_000, "draws")
	flag.IntVar(&cfg.pictures, "pictures", 120, "pictures, of weights from 0.001 up, each twice the one before until the 24th, and one of 0")
	flag.IntVar(&cfg.clients, "clients", 32, "clients that draw at once")
	flag.Parse()
	if cfg.out == "" {
		fmt.Fprintln(os.Stderr, "fairness: -out is missing")
		os.Exit(2)
	}
	if err := rig.Within(10*time.Minute, func(ctx context.Context) error { return run(ctx, cfg) }); err != nil {
		fmt.Fprintln(os.Stderr, "fairness:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) (err error) {
	dir, err := os.MkdirTemp("", "petpick-fairness-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	service, err := rig.Serve(ctx, cfg.binary, dir, "", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.Stop()) }()
	pictures, err := rig.Upload(ctx, service.URL, "dev", "cat", cfg.pictures, 16, 12, weightOf)
	if err != nil {
		return err
	}
	began := time.Now()
	counts, err := drawAll(ctx, cfg, service.URL)
	if err != nil {
		return err
	}
	return write(cfg, pictures, counts, time.Since(began))
}

// weightOf: the first is paused; the others span seven orders of magnitude, many times over.
func weightOf(i int) string {
	if i == 0 {
		return "0"
	}
	return fmt.Sprintf("%.3f", math.Ldexp(1, (i-1)%24)/1000)
}

// drawAll counts the pictures that many clients are led to, by their ids.
func drawAll(ctx context.Context, cfg config, base string) (map[string]int, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: cfg.clients}
	defer transport.CloseIdleConnections()
	each := make([]map[string]int, cfg.clients)
	g, ctx := errgroup.WithContext(ctx)
	for c := range each {
		each[c] = map[string]int{}
		n := cfg.draws / cfg.clients
		if c < cfg.draws%cfg.clients {
			n++
		}
		g.Go(func() error {
			for range n {
				id, err := drawOnce(ctx, transport, base)
				if err != nil {
					return err
				}
				each[c][id]++
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, m := range each {
		for id, n := range m {
			counts[id] += n
		}
	}
	return counts, nil
}

func drawOnce(ctx context.Context, transport *http.Transport, base string) (id string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/random?label=cat", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	id, found := strings.CutPrefix(resp.Header.Get("Location"), "/cat/")
	if id, isPicture := strings.CutSuffix(id, ".jpg"); resp.StatusCode == http.StatusFound && found && isPicture {
		return id, nil
	}
	return "", fmt.Errorf("%s to %q is no draw", resp.Status, resp.Header.Get("Location"))
}

// share is a picture's part of the draws.
type share struct {
	weight             float64
	observed, expected float64 // of all draws
	low, high          float64 // where it is expected to be, with the confidence of one picture
	least, most        float64 // and where each is expected to be, with that of all together
}

// confidence is that of a band, for one picture. A fair run has some pictures outside theirs, but it has one outside the band of all together
// with a probability of at most risk.
const confidence, risk = 0.99, 1e-6

// shares are in the order of the weights. The bands are the binomial distribution's.
func shares(pictures []rig.Picture, counts map[string]int, draws int) (out []share) {
	total := 0.0
	for _, p := range pictures {
		total += p.Weight
	}
	n := float64(draws)
	for _, p := range pictures {
		s := share{weight: p.Weight, observed: float64(counts[p.ID]) / n, expected: p.Weight / total}
		if p.Weight > 0 {
			s.low, s.high = band(n, s.expected, confidence)
			s.least, s.most = band(n, s.expected, 1-risk/float64(len(pictures)))
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b share) int { return int(math.Copysign(1, a.weight-b.weight)) })
	return out
}

// band holds a binomial count's share with at least the confidence.
func band(n, p, confidence float64) (low, high float64) {
	b := distuv.Binomial{N: n, P: p}
	tail := (1 - confidence) / 2
	at := func(q float64) float64 { // the least count whose distribution function reaches q
		from, to := 0.0, n
		for from < to {
			if mid := math.Floor((from + to) / 2); b.CDF(mid) >= q {
				to = mid
			} else {
				from = mid + 1
			}
		}
		return from
	}
	return at(tail) / n, at(1-tail) / n
}

// judged is what a run has shown.
type judged struct {
	z                   float64
	bands, most         int // pictures of a weight, and how many of them a fair run has outside their own band
	outside, far, never int // outside their own band, and the one of all together; draws of what is paused
}

// fair asks all: the test of all counts misses what is wrong with one picture of many, and counts that are closer to the weights than
// chance are not drawn at random.
func (j judged) fair() bool {
	return math.Abs(j.z) < drawtest.MaxZ && j.outside <= j.most && j.far == 0 && j.never == 0
}

func judge(all []share, z float64, draws int) judged {
	j := judged{z: z}
	for _, s := range all {
		if s.weight == 0 {
			j.never += int(math.Round(s.observed * float64(draws)))
			continue
		}
		j.bands++
		if s.observed < s.low || s.observed > s.high {
			j.outside++
		}
		if s.observed < s.least || s.observed > s.most {
			j.far++
		}
	}
	// A fair draw leaves each band with a probability of at most 1 %.
	j.most = int(leastReached(float64(j.bands), 1-confidence, 1-risk))
	return j
}

func write(cfg config, pictures []rig.Picture, counts map[string]int, took time.Duration) error {
	all := shares(pictures, counts, cfg.draws)
	weights, known := map[string]float64{}, 0
	for _, p := range pictures {
		weights[p.ID] = p.Weight
		known += counts[p.ID]
	}
	if known != cfg.draws {
		return fmt.Errorf("%d of %d draws led to pictures that were never uploaded", cfg.draws-known, cfg.draws)
	}
	j := judge(all, drawtest.Z(counts, weights), cfg.draws)
	verdict := "fair"
	if !j.fair() {
		verdict = "**not fair**"
	}
	where := page.Machine()
	date, machine, _ := strings.Cut(where, ", ")
	var b strings.Builder
	fmt.Fprintf(&b, "# Do pictures come as often as their weights say?, %s\n\n`make bench-fairness` wrote this: %s. %s draws by `GET /random` over HTTP, by %d clients at once, in %.0f s, of %d pictures: "+
		"%s.\n\n", date, machine, page.Grouped(fmt.Sprint(cfg.draws)), cfg.clients, took.Seconds(), len(all), weightsText(all))
	b.WriteString(page.Table([]string{"", "", "a fair draw"}, [][]string{
		{"likelihood-ratio test (G), as a standard normal deviate", fmt.Sprintf("%.2f", j.z), fmt.Sprintf("between -%[1]d and %[1]d; outside in one of 500 million runs", drawtest.MaxZ)},
		{"its p-value", fmt.Sprintf("%.3f", 1-distuv.UnitNormal.CDF(j.z)), ""},
		{fmt.Sprintf("pictures outside their band of %.0f%%", 100*confidence), fmt.Sprintf("%d of %d", j.outside, j.bands), fmt.Sprintf("at most %d; more in one of a million runs", j.most)},
		{"pictures outside the band that holds all of them at once", fmt.Sprintf("%d of %d", j.far, j.bands), "0; more in one of a million runs"},
		{"draws of the pictures of weight 0", fmt.Sprint(j.never), "0"},
		{"verdict", verdict, ""},
	}))
	fmt.Fprintf(&b, "\n![observed by expected share](%s.svg)\n", filepath.Base(cfg.out))
	err := errors.Join(page.Write(cfg.out+".md", []byte(b.String())), plotShares(cfg, all, where))
	if !j.fair() {
		err = errors.Join(err, fmt.Errorf("the draw is not fair: z = %.2f, %d pictures outside their own bands, %d outside that of all, %d draws of a paused picture", j.z, j.outside, j.far, j.never))
	}
	return err
}

// weightsText says which weights there were; they are in order.
func weightsText(all []share) string {
	paused := slices.IndexFunc(all, func(s share) bool { return s.weight > 0 })
	number := func(w float64) string {
		whole, part, _ := strings.Cut(fmt.Sprintf("%.3f", w), ".")
		return page.Grouped(whole) + "." + part
	}
	return fmt.Sprintf("weights from %s to %s, and %d of 0", number(all[paused].weight), number(all[len(all)-1].weight), paused)
}

// leastReached is the least count that a binomial distribution reaches with probability q.
func leastReached(n, p, q float64) float64 {
	b := distuv.Binomial{N: n, P: p}
	for k := 0.0; ; k++ {
		if b.CDF(k) >= q {
			return k
		}
	}
}

// plotShares shows each picture's observed share by its expected one, as a ratio, in the band that it is expected in. What is expected less
// than once is left out: the ratio says nothing of it.
func plotShares(cfg config, all []share, where string) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s draws through HTTP: observed share by expected share", page.Grouped(fmt.Sprint(cfg.draws)))
	p.X.Label.Text, p.Y.Label.Text = "expected share of a picture", "observed / expected"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(page.Decades)
	var points plotter.XYs
	var bars plotter.YErrors
	for _, s := range all {
		if s.expected*float64(cfg.draws) < 1 {
			continue
		}
		points = append(points, plotter.XY{X: s.expected, Y: s.observed / s.expected})
		bars = append(bars, struct{ Low, High float64 }{1 - s.low/s.expected, s.high/s.expected - 1})
	}
	center := make(plotter.XYs, len(points))
	for i := range center {
		center[i] = plotter.XY{X: points[i].X, Y: 1}
	}
	band, err := plotter.NewYErrorBars(struct {
		plotter.XYs
		plotter.YErrors
	}{center, bars})
	if err != nil {
		return err
	}
	band.Color, band.Width = page.Colors[5], vg.Points(1)
	dots, err := plotter.NewScatter(points)
	if err != nil {
		return err
	}
	dots.Color, dots.Shape, dots.Radius = page.Colors[0], draw.CircleGlyph{}, 2.5
	p.Add(plotter.NewGrid(), band, dots)
	p.Legend.Add("observed", dots)
	p.Legend.Add(fmt.Sprintf("where a fair draw is with a probability of %.0f%%", 100*confidence), &plotter.Line{LineStyle: band.LineStyle})
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, true, 8
	p.Y.Max *= 1.2 // room for the legend
	return page.Save(p, where, cfg.out+".svg")
}
