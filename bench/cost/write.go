package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot/plotter"

	"petpick/bench/page"
)

// usd writes an amount for a table.
func usd(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.005:
		return "<0.01"
	case v < 100:
		return fmt.Sprintf("%.2f", v)
	}
	return page.Grouped(fmt.Sprintf("%.0f", v))
}

func percent(share float64) string {
	if share < 0.0005 {
		return "<0.1%"
	}
	return fmt.Sprintf("%.1f%%", 100*share)
}

// atLeast leaves out what is too small to matter.
func atLeast(v float64) string {
	if v < 0.01 {
		return "<0.01"
	}
	return page.Number(v)
}

func count(v float64) string {
	for _, u := range []struct {
		name string
		n    float64
	}{{"B", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if v >= u.n {
			return page.Number(v/u.n) + u.name
		}
	}
	return page.Number(v)
}

// section is the README's part.
func (m *model) section(name string) string {
	var b strings.Builder
	w := m.work
	fmt.Fprintf(&b, "Dollars a month, by the prices in [bench/cost/prices.json](bench/cost/prices.json) (each with its date, the document that has it, and how that was read; none was read off AWS's live list) and by what an "+
		"invocation was measured to take ([%[1]s](bench/results/%[1]s)), for %[2]s pictures of %[3]s kB, %[4]s uploads a month, %.0[5]f pictures a page. Of the pictures asked for, %.0[6]f%% are found at the edge, or what one cache "+
		"that forgets nothing can have found, where that is less; and %.0[7]f%% of the drawn ones are in the viewer's browser already. Always-free "+
		"tiers are used. `make cost` computes this; [the page](bench/results/%[8]s.md) has the assumptions, the limits and a plot.\n\n",
		strings.TrimSuffix(m.source, ".json")+".md", count(w.Pictures), page.Number(w.PictureBytes/1000), count(w.Uploads), w.PicturesAPage, 100*w.EdgeHitRatio, 100*w.BrowserHitRatio, name)
	b.WriteString(m.items())
	b.WriteString("\nThe same built otherwise, and priced by the same program:\n\n")
	b.WriteString(m.alternatives())
	fmt.Fprintf(&b, "\n%s\n\n%s\n", m.caveats(), m.dominant())
	return b.String()
}

// caveats are what the alternatives' numbers do not say.
func (m *model) caveats() string {
	var from []string
	for _, d := range m.work.Draws[len(m.work.Draws)/2:] {
		from = append(from, fmt.Sprintf("%s of them at %s draws", percent(m.breakEven(d)), count(d)))
	}
	return fmt.Sprintf("Bytes through Lambda, which no browser keeps, is cheaper only while viewers have few drawn pictures already: less than %s; the tables assume %.0f%%. One read a draw cannot draw by weight while pictures come and go: it is "+
		"the least that DynamoDB could cost, and the row below it what exact draws would.", strings.Join(from, ", "), 100*m.work.BrowserHitRatio)
}

func (m *model) columns(first string) []string {
	head := []string{first}
	for _, d := range m.work.Draws {
		head = append(head, count(d))
	}
	return head
}

// row is a value for each number of draws.
func (m *model) row(name string, of func(draws float64) string) []string {
	row := []string{name}
	for _, d := range m.work.Draws {
		row = append(row, of(d))
	}
	return row
}

// items is the table of one service, by item.
func (m *model) items() string {
	bill := func(d float64) map[string]float64 { return m.prices.bill(m.petpick(d)) }
	rows := [][]string{m.row("page views", func(d float64) string { return count(math.Round(d / m.work.PicturesAPage)) }),
		m.row("pictures found at the edge", func(d float64) string { return percent(m.found(d)) })}
	for _, p := range m.prices.Prices {
		if bill(m.work.Draws[len(m.work.Draws)-1])[p.Name] > 0 {
			rows = append(rows, m.row(p.Item, func(d float64) string { return usd(bill(d)[p.Name]) }))
		}
	}
	rows = append(rows,
		m.row("**total**", func(d float64) string { return "**" + usd(total(bill(d))) + "**" }),
		m.row("for a million draws", func(d float64) string { return usd(total(bill(d)) / d * 1e6) }),
		m.row("total with CloudFront's flat-rate plan", func(d float64) string {
			name, sum, ok := m.prices.flat(m.petpick(d))
			if !ok {
				return "none is large enough"
			}
			return usd(sum) + " (" + name + ")"
		}))
	return page.Table(m.columns("draws a month"), rows)
}

func (m *model) alternatives() string {
	var rows [][]string
	for _, w := range ways {
		rows = append(rows, m.row(w.name, func(d float64) string { return usd(total(m.prices.bill(w.use(m, d)))) }))
	}
	return page.Table(m.columns("draws a month"), rows)
}

// middle is the number of draws that sentences speak of.
func (m *model) middle() float64 { return m.work.Draws[len(m.work.Draws)/2] }

func (m *model) itemOf(name string) string {
	return m.prices.Prices[slices.IndexFunc(m.prices.Prices, func(p price) bool { return p.Name == name })].Item
}

// dominant says what most of the money is for, and what moves it.
func (m *model) dominant() string {
	d := m.middle()
	bill := m.prices.bill(m.petpick(d))
	names := slices.SortedFunc(maps.Keys(bill), func(a, b string) int { return cmp.Or(cmp.Compare(bill[b], bill[a]), strings.Compare(a, b)) })
	all := total(bill)
	var parts []string
	for _, n := range names[:3] {
		parts = append(parts, fmt.Sprintf("%s %.0f%%", m.itemOf(n), 100*bill[n]/all))
	}
	var moved []string
	for _, k := range m.moves(d) {
		moved = append(moved, fmt.Sprintf("%s: %s", k.name, signed(k.usd-all)))
	}
	return fmt.Sprintf("At %s draws: %s. What moves it, from %s: %s.", count(d), strings.Join(parts, ", "), usd(all), strings.Join(moved, "; "))
}

func signed(v float64) string {
	if v < 0 {
		return "−" + usd(-v)
	}
	return "+" + usd(v)
}

type move struct {
	name string
	usd  float64
}

// moves turns one knob at a time.
func (m *model) moves(draws float64) []move {
	with := func(name string, change func(*model)) move {
		c := *m
		change(&c)
		return move{name, total(c.prices.bill(c.petpick(draws)))}
	}
	out := []move{
		with("pictures of half the bytes", func(c *model) { c.work.PictureBytes /= 2 }),
		with("half of the drawn pictures in the viewer's cache", func(c *model) { c.work.BrowserHitRatio = 0.5 }),
		with("99% found at the edge", func(c *model) { c.work.EdgeHitRatio = 0.99 }),
		with("50% found at the edge", func(c *model) { c.work.EdgeHitRatio = 0.5 }),
		with("a hundred times the uploads", func(c *model) { c.work.Uploads *= 100 }),
	}
	if m.platformLogs {
		out = append(out, with("without Lambda's own log lines for each draw", func(c *model) { c.platformLogs = false }))
	} else {
		out = append(out, with("with Lambda's own log lines for each draw", func(c *model) { c.platformLogs = true }))
	}
	if _, sum, ok := m.prices.flat(m.petpick(draws)); ok {
		out = append(out, move{"a flat-rate plan", sum})
	}
	return out
}

func (m *model) page(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What it costs, by what was measured on %s\n\n`make cost` wrote this. Dollars a month. Measured: %s. Prices: bench/cost/prices.json. Assumptions: bench/cost/workload.json.\n\n", m.date, m.measured.Machine)
	b.WriteString(m.items())
	fmt.Fprintf(&b, "\n![dollars a month by draws a month](%s.svg)\n\n## Built otherwise\n\n", name)
	b.WriteString(m.alternatives())
	fmt.Fprintf(&b, "\n%s\n\n", m.caveats())
	for _, w := range ways[1:] {
		fmt.Fprintf(&b, "- %s: %s.\n", w.name, w.why)
	}
	d := m.middle()
	fmt.Fprintf(&b, "\n## What dominates, and what moves it\n\n%s\n\n%s", m.dominant(), m.function())
	fmt.Fprintf(&b, "\n## Where the limits are\n\nPeaks are taken to be %.0f times the mean.\n\n", m.work.PeakByMean)
	b.WriteString(page.Table([]string{"limit", "taken by", "at " + count(d) + " draws a month, at the peak", "reached at", "what to do then"}, m.limits(d)))
	b.WriteString("\n## Assumed\n\n")
	b.WriteString(m.assumptions())
	return b.String()
}

// function is what the page says of the random function.
func (m *model) function() string {
	r := m.measured.Random
	return fmt.Sprintf("## The random function\n\nA draw takes %.0f µs of CPU, which the part of a vCPU that %.0f MB bring does in %.2f ms. An environment reads each label's root at most once a second, and the draw that does waits %.0f ms; "+
		"as many environments are taken to be warm as are busy at a time on average, and three standard deviations more. "+
		"Lambda bills whole milliseconds, and the start of an environment, too. Draws are taken to come evenly over the month.\n\n",
		r.CPUMS*1000, r.MemoryMB, r.atShare(r.CPUMS), m.work.S3GetMS) +
		page.Table(m.columns("draws a month"), [][]string{
			m.row("a second", func(d float64) string { return page.Number(m.fleetOf(d, 0).perSecond) }),
			m.row("environments busy at a time, mean", func(d float64) string { return atLeast(m.fleetOf(d, 0).busy) }),
			m.row("environments kept warm", func(d float64) string { return fmt.Sprintf("%.1f", m.fleetOf(d, 0).environments) }),
			m.row("draws that start one", func(d float64) string { return percent(m.fleetOf(d, 0).cold) }),
			m.row("draws that wait for the root, at most", func(d float64) string { return percent(m.fleetOf(d, 0).reads) }),
			m.row("ms a draw", func(d float64) string { return fmt.Sprintf("%.1f", m.fleetOf(d, 0).ms) }),
		})
}

// limits says for each how far away it is.
func (m *model) limits(d float64) [][]string {
	w := m.work
	monthly := func(perSecond float64) string { return count(perSecond/w.PeakByMean*month) + " draws a month" }
	busy := m.fleetOf(w.Draws[len(w.Draws)-1], 0).ms / 1000 // where draws seldom wait
	f := m.fleetOf(d*w.PeakByMean, 0)
	peak := f.perSecond
	up := m.upload(w.PictureBytes)
	took := (up.atShare(up.CPUMS) + w.waits(up.Calls)) / 1000
	return [][]string{
		{fmt.Sprintf("%.0f environments at a time", w.Concurrency), "draws: requests a second × seconds each", page.Number(f.busy), monthly(w.Concurrency / busy), "ask AWS for more; more memory makes a draw shorter"},
		{fmt.Sprintf("%.0f requests a second for each of them", w.DrawsPerSecondPer), "draws", page.Number(peak) + "/s", monthly(w.Concurrency * w.DrawsPerSecondPer), "ask AWS for more concurrency: the two are one quota"},
		{fmt.Sprintf("%.0f GET/s for a prefix", w.S3ReadsPerSecond), "pictures that the edge lacks", page.Number(peak*(1-m.found(d))) + "/s", monthly(w.S3ReadsPerSecond / (1 - m.found(d))), "Origin Shield; S3 divides a prefix by itself when it stays busy"},
		{fmt.Sprintf("%.0f GET/s for a prefix", w.S3ReadsPerSecond), "the labels' roots: one a second each, for each environment", page.Number(w.Labels*f.environments) + "/s", fmt.Sprintf("%.0f environments", w.S3ReadsPerSecond/w.Labels), "a longer maxAge: staleness for reads"},
		{fmt.Sprintf("%.0f uploads/s, the API's own throttling", m.writeRate), "uploads", page.Number(w.Uploads/month*w.PeakByMean) + "/s", fmt.Sprintf("%.0f uploads/s", m.writeRate), "the template's WriteRate"},
		{fmt.Sprintf("%.0f swaps/s of one key", w.SwapsPerSecond), "uploads of a label, each with a swap of its own", page.Number(w.Uploads/month*w.PeakByMean/w.Labels) + "/s", fmt.Sprintf("%.0f uploads/s", w.SwapsPerSecond*w.Labels), "nothing: one swap carries all entries of the journal"},
		{fmt.Sprintf("%.0f PUT/s for a prefix", w.S3WritesPerSecond), "journal entries, pictures", page.Number(w.Uploads/month*w.PeakByMean) + "/s", fmt.Sprintf("%.0f uploads/s", w.S3WritesPerSecond), "S3 divides a prefix by itself when it stays busy"},
		{fmt.Sprintf("%.0f environments at a time", w.Concurrency), "uploads, a second or less each", page.Number(w.Uploads / month * w.PeakByMean * took), fmt.Sprintf("%.0f uploads/s", w.Concurrency/took), "ask AWS for more"},
	}
}

func (m *model) assumptions() string {
	w := m.work
	logs := "the template keeps Lambda's own log lines for draws off"
	if m.platformLogs {
		logs = fmt.Sprintf("Lambda writes %.0f bytes of log lines of its own for each invocation, since the template does not tell it not to", w.PlatformLogBytes)
	}
	return fmt.Sprintf(`- S3 answers a GET in %.0f ms, the first of a connection in %.0f ms, a PUT in %.0f ms, a LIST in %.0f ms; DynamoDB answers in %.0f ms. An upload's calls come one after the other.
- An environment that nobody calls is dropped after %.0f minutes.
- %s.
- Of the pictures asked for at the edge, %.0f%% are found there, and never more than 1 - (1 - exp(-x))/x, with x questions a picture: what one cache that forgets nothing finds in a month that begins with it empty, of pictures that are
  drawn equally often. Unequal weights find more; many edge locations, and caches that forget, less.
- %.0f%% of the drawn pictures are in the viewer's browser already (browser_hit_ratio).
- An alarm counts once for each metric that it reads: the template has %.0f in us-east-1. Of those %.0f are the index's, and of our own %.0f metrics %.0f: they are not charged to ways without it, nor are upkeep and the index's calls in each upload.
- A flat-rate plan holds a month of up to %.0f%% over its allowance: %s.
- DynamoDB's storage is not counted, nor what keeps its table and the bucket in step after a crash between the two.
- An upload has the size of the picture that is served: it is not encoded again, but for its metadata. CPU between the sizes that were measured is interpolated.
- CloudFront adds %.0f bytes of headers to each answer.
- Not in it: a domain, a certificate, a WAF, taxes, support, logs of the edge, S3's old versions of removed pictures; pictures as viewers elsewhere than at US edges pay for.
`, w.S3GetMS, w.S3FirstGetMS, w.S3PutMS, w.S3ListMS, w.DynamoDBMS, w.IdleMinutes, logs, 100*w.EdgeHitRatio, 100*w.BrowserHitRatio, m.alarms, m.indexAlarms, w.Metrics, w.IndexMetrics,
		100*m.prices.PlanSlack, m.prices.PlanSlackWhy, w.CloudFrontHeaderBytes)
}

// caption says where the figures are from.
func (m *model) caption() string { return "figures of " + m.measured.Machine }

func (m *model) plot() page.Chart {
	c := page.Chart{Title: "What it costs a month", X: "draws a month", Y: "USD", LogX: true, LogY: true}
	for i, w := range ways {
		line := page.Line{Name: w.name, Dashed: i > 0}
		for e := 4.0; e <= 10.001; e += 0.25 {
			d := math.Pow(10, e)
			line.XYs = append(line.XYs, plotter.XY{X: d, Y: max(0.1, total(m.prices.bill(w.use(m, d))))})
		}
		c.Lines = append(c.Lines, line)
	}
	flat := page.Line{Name: "petpick, the cheapest flat-rate plan"}
	for e := 4.0; e <= 10.001; e += 0.25 {
		if _, sum, ok := m.prices.flat(m.petpick(math.Pow(10, e))); ok {
			flat.XYs = append(flat.XYs, plotter.XY{X: math.Pow(10, e), Y: max(0.1, sum)})
		}
	}
	c.Lines = append(c.Lines, flat)
	return c
}
