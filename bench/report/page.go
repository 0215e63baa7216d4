package main

import (
	"fmt"
	"slices"
	"strings"

	"petpick/bench/page"
)

// section is one table of the page.
type section struct {
	title, base, text string
	// pivot spreads the values of one unit over columns, one for each value of a parameter; without it each unit has a column.
	pivot, unit string
}

var sections = []section{
	{"Draws", "Draw", "Nanoseconds for a draw with its id: by `index.Draw`, with its look at the clock, and by other ways of drawing the same pictures. " +
		"cache-line is no draw: a random word, and 64 B at a random place in as much memory.", "by", "ns/op"},
	{"Draws from segments that are not in memory", "RemoteDraw", "The process's own share of a draw by a ranged GET: the store answers at once, and computes the record.", "", ""},
	{"Cold starts", "ColdStart", "The first draw of a process: calls and bytes that it reads first, and the time but for the store's. The root has a full tail.", "", ""},
	{"Reading a root", "DecodeRoot", "", "", ""},
	{"Memory", "Resident", "What stays on the heap of a segment that draws have loaded.", "", ""},
	{"Merges", "Merge", "On files. Processor time is that of all threads; the peak is that of a process which does nothing else.", "", ""},
	{"Upkeep as the index grows", "Upkeep", "The merge that an index of so many pictures does, on files.", "", ""},
	{"The random function", "Random", "From the decoded event to its response.", "", ""},
}

// text is the whole page.
func text(results []result, command, where, name string) string {
	var b strings.Builder
	date, rest, _ := strings.Cut(where, ", ")
	fmt.Fprintf(&b, "# The index in numbers, %s\n\n`%s` wrote this page: %s.\n", date, command, rest)
	for _, k := range plots {
		if plotted(results, k.weights) {
			fmt.Fprintf(&b, "\n![time of a draw against the number of pictures, %s weights](%s%s.svg)\n", k.weights, name, k.suffix)
		}
	}
	for _, s := range sections {
		var of []result
		for _, r := range results {
			if r.base == s.base {
				of = append(of, r)
			}
		}
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.text != "" {
			fmt.Fprintf(&b, "%s\n\n", s.text)
		}
		if s.pivot != "" {
			of = pivoted(of, s)
		}
		table(&b, of)
	}
	return b.String()
}

// pivoted joins the results that differ in one parameter only: its values become units.
func pivoted(results []result, s section) []result {
	var out []result
	for _, r := range results {
		v, ok := r.value(s.unit)
		if !ok {
			continue
		}
		cell := value{r.param(s.pivot), v}
		rest := slices.DeleteFunc(slices.Clone(r.params), func(p param) bool { return p.key == s.pivot })
		i := slices.IndexFunc(out, func(o result) bool { return slices.Equal(o.params, rest) })
		if i < 0 {
			out, i = append(out, result{base: r.base, params: rest}), len(out)
		}
		out[i].values = append(out[i].values, cell)
	}
	return out
}

// table has a row for each result.
func table(b *strings.Builder, results []result) {
	var units []string
	for _, r := range results {
		for _, v := range r.values {
			if !slices.Contains(units, v.unit) {
				units = append(units, v.unit)
			}
		}
	}
	for _, p := range results[0].params {
		fmt.Fprintf(b, "| %s ", p.key)
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(units, " | "))
	fmt.Fprintf(b, "%s|\n", strings.Repeat("|---:", len(results[0].params)+len(units)))
	for _, r := range results {
		for _, p := range r.params {
			fmt.Fprintf(b, "| %s ", page.Grouped(p.value))
		}
		for _, u := range units {
			if v, ok := r.value(u); ok {
				fmt.Fprintf(b, "| %s ", page.Number(v))
			} else {
				b.WriteString("| ")
			}
		}
		b.WriteString("|\n")
	}
}
