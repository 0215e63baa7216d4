package main

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"petpick/bench/page"
)

// line is a way of drawing in the plot.
type line struct {
	label string
	color color.RGBA
	width vg.Length
	dash  []vg.Length
	shape draw.GlyphDrawer
	xys   plotter.XYs
}

// lines are in the order of the legend. The colours are those of Okabe and Ito, which the colour-blind tell apart.
func lines(results []result, weights string) []*line {
	dashed := []vg.Length{6, 4}
	kinds := []struct {
		by string
		line
	}{
		{"remote", line{label: "index.Draw, not in memory: without the store's time", color: color.RGBA{0xD5, 0x5E, 0x00, 0xFF}, width: 2, dash: dashed, shape: draw.CircleGlyph{}}},
		{"gonum-weighted", line{label: "gonum sampleuv.Weighted, put back", color: color.RGBA{0xE6, 0x9F, 0x00, 0xFF}, width: 1, shape: draw.PyramidGlyph{}}},
		{"gonum-categorical", line{label: "gonum distuv.Categorical", color: color.RGBA{0xCC, 0x79, 0xA7, 0xFF}, width: 1, shape: draw.TriangleGlyph{}}},
		{"binary-search", line{label: "binary search of prefix sums", color: color.RGBA{0x00, 0x72, 0xB2, 0xFF}, width: 1, shape: draw.SquareGlyph{}}},
		{"weightedrand", line{label: "mroth/weightedrand", color: color.RGBA{0x56, 0xB4, 0xE9, 0xFF}, width: 1, shape: draw.PlusGlyph{}}},
		{"index", line{label: "index.Draw, in memory: with the clock, exact", color: color.RGBA{0xD5, 0x5E, 0x00, 0xFF}, width: 2.5, shape: draw.CircleGlyph{}}},
		{"alias-float64", line{label: "float64 alias table", color: color.RGBA{0x00, 0x9E, 0x73, 0xFF}, width: 1, shape: draw.CrossGlyph{}}},
		{"cache-line", line{label: "a random word and a random cache line", color: color.RGBA{0x55, 0x55, 0x55, 0xFF}, width: 1, dash: dashed, shape: draw.RingGlyph{}}},
	}
	var out []*line
	for _, k := range kinds {
		l := k.line
		for _, r := range results {
			remote := k.by == "remote" && r.base == "RemoteDraw" && r.param("pictures") != "1000" // a tail, in memory
			if !remote && (r.base != "Draw" || r.param("by") != k.by || r.param("weights") != weights) {
				continue
			}
			n, err := strconv.ParseFloat(r.param("pictures"), 64)
			ns, ok := r.value("ns/op")
			if err == nil && ok {
				l.xys = append(l.xys, plotter.XY{X: n, Y: ns})
			}
		}
		slices.SortFunc(l.xys, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		if len(l.xys) > 0 {
			out = append(out, &l)
		}
	}
	return out
}

// plots are one for each kind of weights.
var plots = []struct{ suffix, weights string }{{"", "heavy-tailed"}, {"-equal", "equal"}}

func plotted(results []result, weights string) bool {
	return slices.ContainsFunc(results, func(r result) bool { return r.base == "Draw" && r.param("weights") == weights })
}

// writePlots draws the time of a draw against the number of pictures, for each kind of weights.
func writePlots(results []result, out, where string) error {
	for _, k := range plots {
		if !plotted(results, k.weights) {
			continue
		}
		ls := lines(results, k.weights)
		p := plot.New()
		p.Title.Text = fmt.Sprintf("Time of a draw by weight, %s weights", k.weights)
		p.Title.TextStyle.Font.Size = 15
		// Short labels: on a logarithmic axis the library keeps room for them where they are not.
		p.X.Label.Text, p.Y.Label.Text = "pictures", "ns per draw"
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(page.Decades), plot.TickerFunc(page.Decades)
		p.Legend.Top, p.Legend.Left = true, true
		p.Legend.Padding, p.Legend.XOffs, p.Legend.YOffs = 2, 8, -4
		p.Add(plotter.NewGrid())
		for _, l := range ls {
			if err := l.addTo(p); err != nil {
				return err
			}
		}
		frame(p, ls)
		if err := page.Save(p, where, out+k.suffix+".svg"); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) addTo(p *plot.Plot) error {
	line, points, err := plotter.NewLinePoints(l.xys)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = l.color, l.width, l.dash
	points.Color, points.Shape, points.Radius = l.color, l.shape, 3.5
	p.Add(line, points)
	p.Legend.Add(l.label, line, points)
	return nil
}

// frame leaves room for the legend above the lines: about two fifths of the height.
func frame(p *plot.Plot, ls []*line) {
	low, high := math.Inf(1), 0.0
	for _, l := range ls {
		for _, xy := range l.xys {
			low, high = min(low, xy.Y), max(high, xy.Y)
		}
	}
	p.Y.Min, p.Y.Max = low/1.5, high*math.Pow(high/low, 0.65)
}
