package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"petpick/bench/page"
)

// bar is a ratio of two ways that must hold.
type bar struct {
	what        string
	ratio, want float64
	most        bool // want is the most it may be
}

func (b bar) met() bool { return b.most && b.ratio <= b.want || !b.most && b.ratio >= b.want }

func bars(cfg config, ways []*way) []bar {
	of := func(prefix string) *way {
		for _, w := range ways {
			if strings.HasPrefix(w.name, prefix) {
				return w
			}
		}
		panic("no way is called " + prefix)
	}
	ours := func(n int) *way { return of(fmt.Sprintf("petpick, %d pictures", n)) }
	largest := page.Grouped(fmt.Sprint(cfg.million))
	bare := of("net/http")
	return []bar{
		{"requests/s at " + largest + " pictures, of the constant's", ours(cfg.million).best().rate() / bare.best().rate(), 0.5, false},
		{"the same in requests for each second of the server's CPU", bare.leastCPU() / ours(cfg.million).leastCPU(), 0.5, false},
		{"p99 at " + largest + " pictures, of the constant's", ours(cfg.million).leastP99() / bare.leastP99(), 3, true},
		{"requests/s at " + largest + " pictures, of those at 100", ours(cfg.million).best().rate() / ours(100).best().rate(), 0.9, false},
		{fmt.Sprintf("requests/s at %d pictures, of LIST's", small), ours(small).best().rate() / of("LIST").best().rate(), 100, false},
		{fmt.Sprintf("requests/s at %d pictures, of weights.json's", small), ours(small).best().rate() / of("weights.json").best().rate(), 1, false},
	}
}

func write(cfg config, ways []*way, edge edgeResult) error {
	where := page.Machine()
	date, machine, _ := strings.Cut(where, ", ")
	var b strings.Builder
	fmt.Fprintf(&b, "# GET /random beside other ways, %s\n\n`make bench-rivals` wrote this: %s; load average at the end %s. ", date, machine, page.Load())
	fmt.Fprintf(&b, "wrk with %d connections has one core, the server and its S3 server the other. Each way was measured %d times for %d s, by turns; the "+
		"round with the most requests/s is shown, with the least beside it, and of p99 and CPU the least of any round: others use this machine, too. petpick is `petpick serve`: the edge that imitates CloudFront, the function's event and back, and the "+
		"function itself. Latencies are those of a server that is kept as busy as it can be.\n\n", cfg.clients, cfg.rounds, cfg.seconds)
	var rows [][]string
	for _, w := range ways {
		m, low := w.best(), w.rounds[0].rate()
		for _, r := range w.rounds {
			low = min(low, r.rate())
		}
		rows = append(rows, []string{w.name, page.Number(m.rate()), page.Number(low), page.Number(m.P50), page.Number(w.leastP99()), fmt.Sprintf("%.1f", w.leastCPU())})
	}
	b.WriteString(page.Table([]string{"", "requests/s", "in the worst round", "p50 ms", "p99 ms", "CPU µs a request"}, rows))
	fmt.Fprintf(&b, "\n![requests a second](%s.svg)\n\n## Bars\n\n", filepath.Base(cfg.out))
	var missed error
	rows = nil
	for _, r := range bars(cfg, ways) {
		verdict, sign := "met", "≥"
		if r.most {
			sign = "≤"
		}
		if !r.met() {
			verdict = "**missed**"
			missed = errors.Join(missed, fmt.Errorf("%s: %.2f, want %s %v", r.what, r.ratio, sign, r.want))
		}
		rows = append(rows, []string{r.what, fmt.Sprintf("%.2f", r.ratio), fmt.Sprintf("%s %v", sign, r.want), verdict})
	}
	b.WriteString(page.Table([]string{"ratio", "measured", "bar", ""}, rows))
	edge.write(&b)
	if err := os.WriteFile(cfg.out+".md", []byte(b.String()), 0o644); err != nil {
		return err
	}
	return errors.Join(plotRates(ways, where, cfg.out+".svg"), missed)
}

func (res edgeResult) write(b *strings.Builder) {
	per := func(n float64) float64 { return n / float64(res.pictures) }
	fmt.Fprintf(b, "\n## Pictures, with nginx as the edge\n\nnginx has the template's cache behaviours and starts with an empty cache; bench/random.js draws and follows. "+
		"There are %d pictures, so that each is missed once.\n\n", small)
	b.WriteString(page.Table([]string{"", ""}, [][]string{
		{"pictures served", page.Number(float64(res.pictures))},
		{"from the cache", fmt.Sprintf("%d: hit ratio %.3f", res.hits, per(float64(res.hits)))},
		{"from S3", fmt.Sprint(res.misses)},
		{"draws, each an invocation of the random function, for each picture", fmt.Sprintf("%.3f", per(float64(res.draws)))},
		{"bytes of pictures through a function", "0: every one is from the cache or S3"},
		{"CPU of all behind nginx for each picture served, S3 server included", fmt.Sprintf("%.0f µs", per(float64(res.cpu.Microseconds())))},
	}))
}

// plotRates has a horizontal bar for each way, on a logarithmic axis.
func plotRates(ways []*way, where, name string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = "GET /random: requests a second on one core", "requests/s"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(page.Decades)
	for i, w := range ways {
		rate := w.best().rate()
		bar, err := plotter.NewLine(plotter.XYs{{X: 1, Y: float64(len(ways) - i)}, {X: rate, Y: float64(len(ways) - i)}})
		if err != nil {
			return err
		}
		bar.Width, bar.Color = vg.Points(14), page.Colors[6]
		if strings.HasPrefix(w.name, "petpick") {
			bar.Color = page.Colors[0]
		}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: rate * 1.1, Y: float64(len(ways)-i) - 0.1}}, Labels: []string{page.Number(rate) + "  " + w.name}})
		if err != nil {
			return err
		}
		p.Add(bar, label)
	}
	p.X.Min, p.X.Max = 1, 1e8 // room for the names
	p.Y.Min, p.Y.Max = 0.4, float64(len(ways))+0.6
	p.HideY()
	return page.Save(p, where, name)
}
