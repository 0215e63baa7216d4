package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"petpick/bench/page"
)

// bar is a ratio that must hold.
type bar struct {
	what  string
	ratio spread // of the rounds; the median is judged
	want  float64
	most  bool // want is the most it may be
}

func (b bar) met() bool {
	return b.most && b.ratio.median <= b.want || !b.most && b.ratio.median >= b.want
}

func bars(cfg config, ways []*way, edge edgeResult) []bar {
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
	fetched := float64(edge.gets) / float64(edge.distinct)
	return []bar{
		{"requests/s at " + largest + " pictures, of the constant's", ratio(ours(cfg.million), bare, measured.rate), 0.5, false},
		{"the same in requests for each second of the server's CPU", ratio(bare, ours(cfg.million), measured.cpu), 0.5, false},
		{"p99 at " + largest + " pictures, of the constant's", ratio(ours(cfg.million), bare, measured.p99), 3, true},
		{"requests/s at " + largest + " pictures, of those at 100", ratio(ours(cfg.million), ours(100), measured.rate), 0.9, false},
		{fmt.Sprintf("requests/s at %d pictures, of LIST's", small), ratio(ours(small), of("LIST"), measured.rate), 100, false},
		{fmt.Sprintf("requests/s at %d pictures, of weights.json's", small), ratio(ours(small), of("weights.json"), measured.rate), 1, false},
		{"behind nginx: GETs of pictures from S3, for each picture that was served at least once", spread{fetched, fetched, fetched}, 1, true},
	}
}

// text shows the range where there is one.
func (s spread) text(number func(float64) string) string {
	if s.low == s.high {
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.low), number(s.high))
}

func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }
func oneDigit(v float64) string  { return fmt.Sprintf("%.1f", v) }

func write(cfg config, conditions page.Conditions, ways []*way, edge edgeResult) error {
	where := page.Machine()
	date, machine, _ := strings.Cut(where, ", ")
	var b strings.Builder
	fmt.Fprintf(&b, "# GET /random beside other ways, %s\n\n`make bench-rivals` wrote this: %s; %s. ", date, machine, conditions.Text())
	fmt.Fprintf(&b, "wrk with %d connections has one core, the server and its S3 server the other. Each way was measured %d times for %d s, by turns: the median is "+
		"shown, with the least and the most. petpick is `petpick serve`: the edge that imitates CloudFront, the function's event and back, and the "+
		"function itself. Latencies are those of a server that is kept as busy as it can be.\n\n", cfg.clients, cfg.rounds, cfg.seconds)
	b.WriteString(page.Table([]string{"", "requests/s", "p50 ms", "p99 ms", "CPU µs a request: its process", "other processes"}, rateRows(ways)))
	fmt.Fprintf(&b, "\nThe S3 server of LIST and of weights.json is the one within `petpick serve`, on the same core: what it takes is under other processes. "+
		"On AWS S3 would bear that, and the caller would wait for S3 instead.\n\n")
	fmt.Fprintf(&b, "![requests a second](%s.svg)\n\n## Bars\n\nA ratio is of two ways in the same round.\n\n", filepath.Base(cfg.out))
	var missed error
	var rows [][]string
	for _, r := range bars(cfg, ways, edge) {
		verdict, sign := "met", "≥"
		if r.most {
			sign = "≤"
		}
		if !r.met() {
			verdict = "**missed**"
			missed = errors.Join(missed, fmt.Errorf("%s: %.2f, want %s %v", r.what, r.ratio.median, sign, r.want))
		}
		rows = append(rows, []string{r.what, r.ratio.text(twoDigits), fmt.Sprintf("%s %v", sign, r.want), verdict})
	}
	b.WriteString(page.Table([]string{"ratio", "measured", "bar", ""}, rows))
	edge.write(&b)
	return errors.Join(page.Write(cfg.out+".md", []byte(b.String())), plotRates(ways, where, cfg.out+".svg"), missed)
}

func rateRows(ways []*way) (rows [][]string) {
	for _, w := range ways {
		rows = append(rows, []string{
			w.name, w.over(measured.rate).text(page.Number), w.over(measured.p50).text(page.Number), w.over(measured.p99).text(page.Number),
			w.over(measured.own).text(oneDigit), w.over(measured.others).text(oneDigit),
		})
	}
	return rows
}

func (res edgeResult) write(b *strings.Builder) {
	per := func(n float64) float64 { return n / float64(res.pictures) }
	fmt.Fprintf(b, "\n## Pictures, with nginx as the edge\n\nnginx has the template's cache behaviours and starts with an empty cache; bench/random.js draws and follows. "+
		"Of %d pictures %d were drawn. The S3 server is another process, and the calls to it are counted on their way; the rest is from nginx's log.\n\n", small, res.distinct)
	b.WriteString(page.Table([]string{"", ""}, [][]string{
		{"pictures served", page.Number(float64(res.pictures))},
		{"from nginx's cache", fmt.Sprintf("%s: hit ratio %.3f", page.Number(float64(res.hits)), per(float64(res.hits)))},
		{"passed on to petpick's edge", page.Number(float64(res.misses))},
		{"GETs of pictures that reached S3", page.Number(float64(res.gets))},
		{"answers of GET /random, the first to see that nginx is there", page.Number(float64(res.draws))},
		{"bytes in their bodies", page.Number(float64(res.drawBytes))},
		{"CPU of petpick, its edge and functions, for each picture served", fmt.Sprintf("%.0f µs", per(float64(res.service.Microseconds())))},
		{"CPU of the S3 server and of what counts its calls, likewise", fmt.Sprintf("%.0f µs", per(float64(res.store.Microseconds())))},
	}))
}

// plotRates has a horizontal bar for each way, on a logarithmic axis.
func plotRates(ways []*way, where, name string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = "GET /random: requests a second on one core", "requests/s"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(page.Decades)
	for i, w := range ways {
		rate := w.over(measured.rate).median
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
