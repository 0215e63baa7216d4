package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot/plotter"

	"petpick/bench/page"
)

// percentiles are those that the scripts ask k6 for.
var percentiles = []struct {
	name string
	of   float64
}{{"med", 50}, {"p(90)", 90}, {"p(95)", 95}, {"p(99)", 99}}

// wholePage is random.js's own metric: from the first request of a page to its last answer.
const wholePage = "page_duration"

// title names a part of k6's durations, and the scenario that it is all of: http_req_duration{scenario:page} of random.js is "random: page".
func title(script, metric string) (what, scenario string, ok bool) {
	if metric == wholePage {
		return script + ": whole page", "page", true
	}
	part, ok := strings.CutPrefix(metric, "http_req_duration{")
	if !ok {
		return "", "", false
	}
	kind, value, _ := strings.Cut(strings.TrimSuffix(part, "}"), ":")
	if kind == "scenario" {
		scenario = value
	}
	return script + ": " + value, scenario, kind != "expected_response" // which is k6's own
}

// write makes a page of all that was run. One of a run that failed has another name: a good one of the same day stays.
func write(cfg config, st *stand, all []outcome, failed error) error {
	where := page.Machine()
	out := target(cfg, failed)
	var b strings.Builder
	head(&b, "The service under load", cfg, st, where, failed)
	fmt.Fprintf(&b, "Each script ran for %d s (random.js: three times that, a kind at a time; spike.js: 12 s more), at up to %d draws a second: a rate that is held, whatever the answers take, "+
		"and not the most that can be done. \"A second\" is of the seconds that a scenario was to last, where a row is all of a scenario. "+
		"Latencies are in ms, as k6 sees them. Each request was checked: %s\n\n", cfg.seconds, cfg.rate, checked(all))
	if cfg.drawsOnly() {
		b.WriteString("There was no TOKEN: the scripts that upload were left out.\n\n")
	}
	rows, latencies := latencies(all)
	b.WriteString(page.Table([]string{"", "requests", "a second", "p50", "p90", "p95", "p99", "max"}, rows))
	fmt.Fprintf(&b, "\n![latency by percentile](%[1]s-latency.svg)\n\n![answers a second](%[1]s-throughput.svg)\n\n## Thresholds\n\n", filepath.Base(out))
	b.WriteString(page.Table([]string{"", "threshold", ""}, thresholds(all)))
	err := errors.Join(latencies.Save(where, out+"-latency.svg"), throughput(all).Save(where, out+"-throughput.svg"))
	if st.service != nil {
		err = errors.Join(err, writeService(&b, out, where, all))
	}
	return errors.Join(err, page.Write(out+".md", []byte(b.String())))
}

func target(cfg config, failed error) string {
	if failed != nil {
		return cfg.out + "-failed"
	}
	return cfg.out
}

// latencies are the rows of all durations, and a chart of them.
func latencies(all []outcome) (rows [][]string, c page.Chart) {
	c = page.Chart{Title: "Latency by percentile", X: "requests that are slower: 1 in …", Y: "ms", LogX: true, LogY: true}
	for _, o := range all {
		for _, name := range slices.Sorted(maps.Keys(o.metrics)) {
			what, scenario, ok := title(o.script, name)
			v := o.metrics[name].Values
			if !ok || v["count"] == 0 {
				continue
			}
			row := []string{what, page.Number(v["count"]), ""}
			if seconds := o.seconds[scenario]; seconds > 0 {
				row[2] = fmt.Sprintf("%.1f", v["count"]/seconds)
			}
			line := page.Line{Name: what}
			for _, p := range percentiles {
				row = append(row, fmt.Sprintf("%.2f", v[p.name]))
				if v[p.name] > 0 { // a page may take less than k6's clock can tell
					line.XYs = append(line.XYs, plotter.XY{X: 100 / (100 - p.of), Y: v[p.name]})
				}
			}
			rows = append(rows, append(row, fmt.Sprintf("%.2f", v["max"])))
			c.Lines = append(c.Lines, line)
		}
	}
	return rows, c
}

// throughput is a chart of the answers that k6 got in each second.
func throughput(all []outcome) page.Chart {
	c := page.Chart{Title: "Answers a second, as k6 counts them", X: "seconds", Y: "answers/s", LogY: true}
	began := beginning(all)
	for _, o := range all {
		line := page.Line{Name: o.script + ".js"}
		for i, s := range o.samples {
			if i == 0 || !s.known || !o.samples[i-1].known {
				continue
			}
			before := o.samples[i-1]
			if rate := (s.answered - before.answered) / s.At.Sub(before.At).Seconds(); rate > 0 { // the axis has no 0: between two scenarios
				line.XYs = append(line.XYs, plotter.XY{X: s.At.Sub(began).Seconds(), Y: rate})
			}
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}

// s3Calls is a chart of the calls to S3 in each second, by method.
func s3Calls(all []outcome) page.Chart {
	c := page.Chart{Title: "Calls to S3 a second: " + strings.Join(names(all), ", "), X: "seconds", Y: "calls/s"}
	lines := map[string]*page.Line{}
	began := beginning(all)
	for _, o := range all {
		for i, s := range o.samples {
			if i == 0 {
				continue
			}
			before := o.samples[i-1]
			for method, n := range s.calls {
				if lines[method] == nil {
					lines[method] = &page.Line{Name: method}
				}
				lines[method].XYs = append(lines[method].XYs, plotter.XY{X: s.At.Sub(began).Seconds(), Y: float64(n-before.calls[method]) / s.At.Sub(before.At).Seconds()})
			}
		}
	}
	for _, method := range slices.Sorted(maps.Keys(lines)) {
		c.Lines = append(c.Lines, *lines[method])
	}
	return c
}

// beginning is when the first sample was taken.
func beginning(all []outcome) (t time.Time) {
	for _, o := range all {
		if len(o.samples) > 0 {
			return o.samples[0].At
		}
	}
	return t
}

func head(b *strings.Builder, what string, cfg config, st *stand, where string, failed error) {
	date, machine, _ := strings.Cut(where, ", ")
	verdict := ""
	if failed != nil {
		verdict = ": FAILED"
	}
	fmt.Fprintf(b, "# %s, %s%s\n\n", what, date, verdict)
	if failed != nil {
		fmt.Fprintf(b, "```\n%v\n```\n\n", failed)
	}
	against := fmt.Sprintf("`petpick serve` and k6 shared the machine, with %d pictures of about 70 kB to begin with", cfg.pictures)
	if st.service == nil {
		against = "against " + cfg.url
	}
	fmt.Fprintf(b, "`%s` wrote this: %s; %s; %s. ", cfg.command, machine, against, st.conditions.Text())
}

// checked counts the checks of all scripts.
func checked(all []outcome) string {
	passed, failed := 0.0, 0.0
	for _, o := range all {
		passed, failed = passed+o.metrics["checks"].Values["passes"], failed+o.metrics["checks"].Values["fails"]
	}
	return fmt.Sprintf("%s checks held, %s did not.", page.Number(passed), page.Number(failed))
}

func thresholds(all []outcome) (rows [][]string) {
	for _, o := range all {
		for _, name := range slices.Sorted(maps.Keys(o.metrics)) {
			for _, rule := range slices.Sorted(maps.Keys(o.metrics[name].Thresholds)) {
				verdict := "met"
				if !o.metrics[name].Thresholds[rule].Ok {
					verdict = "**missed**"
				}
				rows = append(rows, []string{o.script + ".js", "`" + name + " " + rule + "`", verdict})
			}
		}
	}
	return rows
}

// writeService says what the service's process and the store did meanwhile.
func writeService(b *strings.Builder, out, where string, all []outcome) error {
	fmt.Fprintf(b, "\n## The service meanwhile\n\nThe process of `petpick serve`: edge, functions and upkeep. The S3 server is another process, and its calls are counted on their way. "+
		"Here \"a second\" is of the whole run of a script, with k6's start and the pauses between scenarios.\n\n")
	var rows [][]string
	for _, o := range all {
		requests := o.metrics["http_reqs"].Values["count"]
		if len(o.samples) == 0 || requests == 0 {
			continue
		}
		first, last := o.samples[0], o.samples[len(o.samples)-1]
		peak := slices.MaxFunc(o.samples, func(a, b sample) int { return int(a.Resident - b.Resident) })
		cores := (last.CPU - first.CPU).Seconds() / max(last.At.Sub(first.At).Seconds(), 1e-3)
		rows = append(rows, []string{
			o.script + ".js", page.Number(requests), page.Number(requests / o.took.Seconds()), fmt.Sprintf("%.2f", cores),
			fmt.Sprintf("%.0f", float64((last.CPU-first.CPU).Microseconds())/requests), fmt.Sprintf("%.0f", float64(peak.Resident)/1e6), fmt.Sprint(last.Descriptors),
			page.Number(float64(total(o.calls))), fmt.Sprintf("%.3f", float64(total(o.calls))/requests),
		})
	}
	b.WriteString(page.Table([]string{"", "requests", "a second", "cores busy", "CPU µs a request", "memory MB, most", "descriptors at the end", "S3 calls", "a request"}, rows))
	fmt.Fprintf(b, "\n![memory and CPU](%[1]s-service.svg)\n\n### S3 calls\n\n![S3 calls a second](%[1]s-s3.svg)\n\n", filepath.Base(out))
	b.WriteString(page.Table(append([]string{"call, bucket and prefix"}, names(all)...), callRows(all)))
	return errors.Join(plotService(where, out+"-service.svg", all), s3Calls(all).Save(where, out+"-s3.svg"))
}

func names(all []outcome) (out []string) {
	for _, o := range all {
		out = append(out, o.script+".js")
	}
	return out
}

func callRows(all []outcome) (rows [][]string) {
	ops := map[string]bool{}
	for _, o := range all {
		for op := range o.calls {
			ops[op] = true
		}
	}
	for _, op := range slices.Sorted(maps.Keys(ops)) {
		row := []string{op}
		for _, o := range all {
			row = append(row, page.Number(float64(o.calls[op])))
		}
		rows = append(rows, row)
	}
	return rows
}

func total(calls map[string]int) (n int) {
	for _, c := range calls {
		n += c
	}
	return n
}

func plotService(where, name string, all []outcome) error {
	memory, cpu, open := page.Line{Name: "resident memory, MB"}, page.Line{Name: "CPU, % of a core"}, page.Line{Name: "file descriptors"}
	began := beginning(all)
	for _, o := range all {
		for i, s := range o.samples {
			x := s.At.Sub(began).Seconds()
			memory.XYs = append(memory.XYs, plotter.XY{X: x, Y: float64(s.Resident) / 1e6})
			open.XYs = append(open.XYs, plotter.XY{X: x, Y: float64(s.Descriptors)})
			if i > 0 {
				before := o.samples[i-1]
				if busy := 100 * (s.CPU - before.CPU).Seconds() / s.At.Sub(before.At).Seconds(); !math.IsInf(busy, 0) && !math.IsNaN(busy) {
					cpu.XYs = append(cpu.XYs, plotter.XY{X: x, Y: busy})
				}
			}
		}
	}
	c := page.Chart{Title: "petpick serve: " + strings.Join(names(all), ", "), X: "seconds", Y: "", Lines: []page.Line{memory, cpu, open}}
	return c.Save(where, name)
}

func writeSoak(cfg config, st *stand, o outcome, rate int, verdicts []verdict, failed error) error {
	where := page.Machine()
	out := target(cfg, failed)
	var b strings.Builder
	head(&b, "A long run", cfg, st, where, failed)
	fmt.Fprintf(&b, "soak.js drew and fetched %d times a second, half of what it could do at most before, for %v. %s\n\n", rate, time.Duration(cfg.seconds)*time.Second, checked([]outcome{o}))
	fmt.Fprintf(&b, "Memory and descriptors are judged by the least-squares line through the least of each of %d equal parts of the last four fifths of the time, so that what a collection "+
		"of garbage gives back is no growth. The noise is the half width of the slope's interval of 95%%.\n\n", parts)
	var rows [][]string
	for _, v := range verdicts {
		met := "met"
		if !v.ok {
			met = "**missed**"
		}
		rows = append(rows, []string{v.what, v.seen, v.bar, met})
	}
	b.WriteString(page.Table([]string{"", "measured", "bar", ""}, rows))
	fmt.Fprintf(&b, "\n![answers a second](%s-throughput.svg)\n", filepath.Base(out))
	err := throughput([]outcome{o}).Save(where, out+"-throughput.svg")
	if st.service != nil {
		err = errors.Join(err, writeService(&b, out, where, []outcome{o}))
	} else {
		b.WriteString("\nMemory and descriptors of a host elsewhere are not known here.\n")
	}
	return errors.Join(err, page.Write(out+".md", []byte(b.String())))
}
