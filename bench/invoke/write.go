package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"petpick/bench/page"
)

// cpuOfGB is a whole vCPU: Lambda gives as much of it as the memory is of this.
const cpuOfGB = 1769.0

func (f Figures) write(cfg config) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := page.Write(cfg.out+".json", append(text, '\n')); err != nil {
		return err
	}
	date, machine, _ := strings.Cut(f.Machine, ", ")
	var b strings.Builder
	fmt.Fprintf(&b, "# What an invocation takes, %s\n\n`make bench-invoke` wrote this: %s; %s. ", date, machine, f.Conditions)
	fmt.Fprintf(&b, "The bootstraps ran under a Runtime API on loopback, one invocation at a time, with the template's GOMEMLIMIT and GOMAXPROCS=2, built for this machine's "+
		"processor instead of arm64. CPU is that of the whole process, the runtime's client and garbage collection included; times are from the event to the response, with an S3 server that answers within milliseconds. "+
		"Lambda gives memory/1,769 MB of a vCPU: \"at its share\" is the CPU divided by that.\n\n## GET /random\n\n")
	d := f.Random
	share := func(w Work) string { return fmt.Sprintf("%.2f", w.CPUMS/min(1, float64(w.MemoryMB)/cpuOfGB)) }
	b.WriteString(page.Table([]string{fmt.Sprintf("%s pictures, %d MB", page.Grouped(fmt.Sprint(d.Pictures)), d.MemoryMB), ""}, [][]string{
		{"draws measured", page.Grouped(fmt.Sprint(d.N))},
		{"CPU a draw", fmt.Sprintf("%.0f µs", d.CPUMS*1000)}, {"at its share of a vCPU", share(d.Work) + " ms"},
		{"p50, p99 of the time", fmt.Sprintf("%.0f, %.0f µs", d.P50MS*1000, d.P99MS*1000)},
		{"peak memory", fmt.Sprintf("%.0f MB", d.PeakMB)},
		{"S3 calls a draw, of draws without a pause", fmt.Sprintf("%.4f", sum(d.Calls))},
		{"process start to ready", fmt.Sprintf("%.1f ms", d.InitMS)}, {"first draw", fmt.Sprintf("%.1f ms, %.1f S3 calls", d.FirstMS, d.FirstGets)},
		{"CPU of both", fmt.Sprintf("%.0f ms", d.InitCPUMS)},
		{fmt.Sprintf("CPU a draw by format=image, %s bytes", page.Grouped(fmt.Sprint(f.Image.Bytes))), fmt.Sprintf("%.0f µs", f.Image.CPUMS*1000)},
		{"the answer's bytes", fmt.Sprint(d.AnswerBytes)},
	}))
	fmt.Fprintf(&b, "\n## POST /upload, %d MB\n\n", f.Upload[0].MemoryMB)
	methods := map[string]bool{}
	for _, w := range f.Upload {
		for m := range w.Calls {
			methods[m] = true
		}
	}
	head := []string{"picture", "bytes", "uploads", "CPU ms", "at its share, ms", "p50 ms", "max ms", "peak MB"}
	order := slices.Sorted(maps.Keys(methods))
	head = append(head, order...)
	var rows [][]string
	for _, w := range f.Upload {
		row := []string{w.Name, page.Grouped(fmt.Sprint(w.Bytes)), fmt.Sprint(w.N), fmt.Sprintf("%.0f", w.CPUMS), share(w), fmt.Sprintf("%.0f", w.P50MS), fmt.Sprintf("%.0f", w.P99MS), fmt.Sprintf("%.0f", w.PeakMB)}
		for _, m := range order {
			row = append(row, fmt.Sprintf("%.1f", w.Calls[m]))
		}
		rows = append(rows, row)
	}
	b.WriteString(page.Table(head, rows))
	fmt.Fprintf(&b, "\nThe last columns are calls to S3 for each upload; POST is DeleteObjects, which S3 does not charge for.\n\n## Upkeep of a service at rest, %d MB\n\n", f.Tend.MemoryMB)
	b.WriteString(page.Table([]string{"", ""}, [][]string{
		{"CPU", fmt.Sprintf("%.1f ms", f.Tend.CPUMS)}, {"p50", fmt.Sprintf("%.1f ms", f.Tend.P50MS)}, {"peak memory", fmt.Sprintf("%.0f MB", f.Tend.PeakMB)},
		{"S3 calls", fmt.Sprint(f.Tend.Calls)},
	}))
	return page.Write(cfg.out+".md", []byte(b.String()))
}
