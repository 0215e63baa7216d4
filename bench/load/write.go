package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
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

// title names a part of k6's durations: http_req_duration{scenario:page} of random.js is "random page".
func title(script, metric string) (string, bool) {
	part, ok := strings.CutPrefix(metric, "http_req_duration{")
	if !ok {
		return "", false
	}
	_, value, _ := strings.Cut(strings.TrimSuffix(part, "}"), ":")
	return script + ": " + value, value != "true" // expected_response:true is k6's own
}

func write(cfg config, st *stand, all []outcome) error {
	where := page.Machine()
	var b strings.Builder
	head(&b, "The service under load", cfg, st, where)
	fmt.Fprintf(&b, "Each script ran for %d s (spike.js: 12 s more), at up to %d draws a second: a rate that is held, whatever the answers take, and not the most that can be done. "+
		"Latencies are in ms, as k6 sees them. Each request was checked: %s\n\n", cfg.seconds, cfg.rate, checked(all))
	var rows [][]string
	latencies := page.Chart{Title: "Latency by percentile", X: "requests that are slower: 1 in …", Y: "ms", LogX: true, LogY: true}
	for _, o := range all {
		for _, name := range slices.Sorted(maps.Keys(o.metrics)) {
			what, ok := title(o.script, name)
			v := o.metrics[name].Values
			if !ok || v["count"] == 0 {
				continue
			}
			row := []string{what, page.Number(v["count"]), fmt.Sprintf("%.1f", v["count"]/o.took.Seconds())}
			line := page.Line{Name: what}
			for _, p := range percentiles {
				row = append(row, fmt.Sprintf("%.2f", v[p.name]))
				line.XYs = append(line.XYs, plotter.XY{X: 100 / (100 - p.of), Y: v[p.name]})
			}
			rows = append(rows, append(row, fmt.Sprintf("%.2f", v["max"])))
			latencies.Lines = append(latencies.Lines, line)
		}
	}
	b.WriteString(page.Table([]string{"", "requests", "a second", "p50", "p90", "p95", "p99", "max"}, rows))
	b.WriteString("\n## Thresholds\n\n")
	b.WriteString(page.Table([]string{"", "threshold", ""}, thresholds(all)))
	fmt.Fprintf(&b, "\n![latency by percentile](%s-latency.svg)\n", filepath.Base(cfg.out))
	err := latencies.Save(where, cfg.out+"-latency.svg")
	if st.service != nil {
		err = errors.Join(err, writeService(&b, cfg, where, all))
	}
	return errors.Join(err, os.WriteFile(cfg.out+".md", []byte(b.String()), 0o644))
}

func head(b *strings.Builder, what string, cfg config, st *stand, where string) {
	date, machine, _ := strings.Cut(where, ", ")
	against := fmt.Sprintf("`petpick serve` and k6 shared the machine, with %d pictures of about 70 kB to begin with", cfg.pictures)
	if st.service == nil {
		against = "against " + cfg.url
	}
	fmt.Fprintf(b, "# %s, %s\n\n`%s` wrote this: %s; %s; load average at the end %s. ", what, date, cfg.command, machine, against, page.Load())
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
func writeService(b *strings.Builder, cfg config, where string, all []outcome) error {
	fmt.Fprintf(b, "\n## The service meanwhile\n\nThe process of `petpick serve`: edge, functions and upkeep. The S3 server is another process, and its calls are counted on their way.\n\n")
	var rows [][]string
	for _, o := range all {
		first, last := o.samples[0], o.samples[len(o.samples)-1]
		peak := slices.MaxFunc(o.samples, func(a, b sample) int { return int(a.Resident - b.Resident) })
		cores := (last.CPU - first.CPU).Seconds() / max(last.At.Sub(first.At).Seconds(), 1e-3)
		requests := o.metrics["http_reqs"].Values["count"]
		rows = append(rows, []string{
			o.script + ".js", page.Number(requests), page.Number(requests / o.took.Seconds()), fmt.Sprintf("%.2f", cores),
			fmt.Sprintf("%.0f", float64((last.CPU-first.CPU).Microseconds())/requests), fmt.Sprintf("%.0f", float64(peak.Resident)/1e6), fmt.Sprint(last.Descriptors),
			page.Number(float64(total(o.calls))), fmt.Sprintf("%.3f", float64(total(o.calls))/requests),
		})
	}
	b.WriteString(page.Table([]string{"", "requests", "a second", "cores busy", "CPU µs a request", "memory MB, most", "descriptors at the end", "S3 calls", "a request"}, rows))
	fmt.Fprintf(b, "\n![memory and CPU](%s-service.svg)\n\n### S3 calls\n\n", filepath.Base(cfg.out))
	b.WriteString(page.Table(append([]string{"call, bucket and prefix"}, names(all)...), callRows(all)))
	return plotService(where, cfg.out+"-service.svg", all)
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
	var began time.Time
	for _, o := range all {
		for i, s := range o.samples {
			if began.IsZero() {
				began = s.At
			}
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

func writeSoak(cfg config, st *stand, o outcome, rate int, verdicts []verdict) error {
	where := page.Machine()
	var b strings.Builder
	head(&b, "A long run", cfg, st, where)
	fmt.Fprintf(&b, "soak.js drew and fetched %d times a second, half of what it could do at most before, for %v. %s\n\n", rate, time.Duration(cfg.seconds)*time.Second, checked([]outcome{o}))
	var rows [][]string
	for _, v := range verdicts {
		met := "met"
		if !v.ok {
			met = "**missed**"
		}
		rows = append(rows, []string{v.what, v.seen, v.bar, met})
	}
	b.WriteString(page.Table([]string{"", "measured", "bar", ""}, rows))
	var err error
	if st.service != nil {
		err = writeService(&b, cfg, where, []outcome{o})
	}
	return errors.Join(err, os.WriteFile(cfg.out+".md", []byte(b.String()), 0o644))
}
