// Package page is how results are written down: numbers, tables between markers, plots, and what machine they are from.
package page

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colors are those of Okabe and Ito, which the colour-blind tell apart; the first is for what is ours.
var Colors = []color.RGBA{
	{0xD5, 0x5E, 0x00, 0xFF}, {0x00, 0x72, 0xB2, 0xFF}, {0x00, 0x9E, 0x73, 0xFF}, {0xCC, 0x79, 0xA7, 0xFF}, {0xE6, 0x9F, 0x00, 0xFF},
	{0x56, 0xB4, 0xE9, 0xFF}, {0x55, 0x55, 0x55, 0xFF},
}

// Machine is the date, and what this runs on.
func Machine() string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(info), "model name"); ok {
			line, _, _ := strings.Cut(after, "\n")
			model = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	memory := ""
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes float64
		if _, err := fmt.Sscanf(string(info), "MemTotal: %f kB", &kilobytes); err == nil {
			memory = fmt.Sprintf(", %.0f GiB", kilobytes/(1<<20))
		}
	}
	return fmt.Sprintf("%s, %d virtual cores of %s%s, %s, %s", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, memory, runtime.GOOS, runtime.Version())
}

// Load is the machine's load average of the last minute.
func Load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// Number keeps three digits of what is not whole.
func Number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100:
		return Grouped(strconv.FormatFloat(v, 'f', 0, 64))
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// Grouped puts commas between the thousands of a number.
func Grouped(s string) string {
	if _, err := strconv.ParseUint(s, 10, 64); err != nil {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Table is a Markdown table; all columns but the first are of numbers.
func Table(head []string, rows [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|---|%s\n", strings.Join(head, " | "), strings.Repeat("---:|", len(head)-1))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r, " | "))
	}
	return b.String()
}

// Between replaces what is between two lines of a text, or says that they are not there.
func Between(text, name, content string) (string, error) {
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return "", fmt.Errorf("no %q … %q", strings.TrimSpace(begin), end)
	}
	return before + begin + content + end + after, nil
}

// Save writes the plot with a caption below it.
func Save(p *plot.Plot, caption, name string) error {
	c, err := draw.NewFormattedCanvas(24*vg.Centimeter, 17*vg.Centimeter, strings.TrimPrefix(filepath.Ext(name), "."))
	if err != nil {
		return err
	}
	all := draw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	p.Draw(draw.Crop(all, 0, -12, 22, -4))
	style := p.Legend.TextStyle
	style.XAlign = draw.XCenter
	all.FillText(style, vg.Point{X: all.Center().X, Y: 8}, caption)
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	return Write(name, b.Bytes())
}

// Write replaces a file at once: a run that is cut off leaves the old one whole.
func Write(name string, content []byte) error {
	temporary := name + ".tmp"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// Line is one line of a chart.
type Line struct {
	Name string
	XYs  plotter.XYs
	// Dashed lines are of limits and of others' ways.
	Dashed bool
}

// Chart is a plot of lines over one or two logarithmic axes.
type Chart struct {
	Title, X, Y string
	LogX, LogY  bool
	Lines       []Line
}

// Save draws the chart.
func (c Chart) Save(caption, name string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Title.TextStyle.Font.Size = 15
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(Decades)
	}
	if c.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(Decades)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding, p.Legend.XOffs, p.Legend.YOffs = 2, 8, -4
	p.Add(plotter.NewGrid())
	high := 0.0
	for i, l := range c.Lines {
		if len(l.XYs) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(l.XYs)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", name, l.Name, err)
		}
		for _, xy := range l.XYs {
			high = max(high, xy.Y)
		}
		line.Color, line.Width = Colors[i%len(Colors)], 1.5
		points.Color, points.Shape, points.Radius = line.Color, draw.CircleGlyph{}, 2
		if l.Dashed || i >= len(Colors) { // colours begin anew
			line.Dashes = []vg.Length{6, 4}
		}
		p.Legend.Add(l.Name, line)
		p.Add(line)
		if len(l.XYs) <= 40 {
			p.Add(points)
		}
	}
	// Room for the legend above the lines.
	if c.LogY {
		p.Y.Max = high * math.Pow(10, 0.22*float64(len(c.Lines)))
	} else {
		p.Y.Min, p.Y.Max = min(0, p.Y.Min), high*(1.1+0.07*float64(len(c.Lines)))
	}
	return Save(p, caption, name)
}

// Decades labels the powers of ten, and marks what is between them.
func Decades(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for d := math.Pow(10, math.Floor(math.Log10(low))); d <= high*1.0001; d *= 10 {
		for i := 1; i < 10; i++ {
			t := plot.Tick{Value: d * float64(i)}
			if i == 1 {
				t.Label = Grouped(strings.TrimSuffix(strconv.FormatFloat(d, 'f', -1, 64), "."))
			}
			if t.Value >= low*0.9999 && t.Value <= high*1.0001 {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}
