// Command report makes a page and a plot of what the benchmarks print.
//
//	go run ./bench/report -command 'make growth' -out bench/results/2026-11-24-index < build/bench.txt
//
// writes DATE-index.md and DATE-index.svg: every number in them is the benchmarks' own.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/perf/benchfmt"

	"petpick/bench/page"
)

func main() {
	command := flag.String("command", "make growth", "the command that ran the benchmarks")
	out := flag.String("out", "", "the files to write, without extension")
	flag.Parse()
	if err := run(os.Stdin, *command, *out); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, command, out string) error {
	results, err := read(in)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return fmt.Errorf("no results on the standard input")
	}
	where := page.Machine()
	if err := writePlots(results, out, where); err != nil {
		return err
	}
	file, err := os.Create(out + ".md")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(file, text(results, command, where, filepath.Base(out))); err != nil {
		return err
	}
	return file.Close()
}

// result is a line of the benchmarks: Draw, its parameters in order, and what was measured, by unit.
type result struct {
	base   string
	params []param
	values []value
}

type param struct{ key, value string }

type value struct {
	unit string
	of   float64
}

func (r result) param(key string) string {
	for _, p := range r.params {
		if p.key == key {
			return p.value
		}
	}
	return ""
}

func (r result) value(unit string) (float64, bool) {
	for _, v := range r.values {
		if v.unit == unit {
			return v.of, true
		}
	}
	return 0, false
}

// read takes what is in the format of Go's benchmarks, and passes over all else.
func read(in io.Reader) ([]result, error) {
	var results []result
	r := benchfmt.NewReader(in, "standard input")
	for r.Scan() {
		line, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		base, parts := line.Name.Parts()
		res := result{base: string(base)}
		for _, p := range parts {
			if key, val, ok := strings.Cut(strings.TrimPrefix(string(p), "/"), "="); ok {
				res.params = append(res.params, param{key, val})
			}
		}
		for _, v := range line.Values {
			if v.OrigUnit != "" { // it was converted to seconds and bytes
				v.Unit, v.Value = v.OrigUnit, v.OrigValue
			}
			res.values = append(res.values, value{v.Unit, v.Value})
		}
		results = append(results, res)
	}
	return results, r.Err()
}
