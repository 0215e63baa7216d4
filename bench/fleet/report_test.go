package fleet_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"gonum.org/v1/plot/plotter"

	"petpick/bench/page"
	"petpick/infra"
)

// figures are those of the random function that bench/invoke wrote.
type figures struct {
	Random struct {
		MemoryMB  float64 `json:"memory_mb"`
		CPUMS     float64 `json:"cpu_ms"`
		InitCPUMS float64 `json:"init_cpu_ms"`
	} `json:"random"`
}

// TestReport writes what fleets of 1 to 10,000 environments do, and crowds; it fails when a fleet that the bars are for misses one.
func TestReport(t *testing.T) {
	if *out == "" {
		t.Skip("writes a page: make bench-fleet")
	}
	start, draw := times(t)
	where := page.Machine()
	date, machine, _ := strings.Cut(where, ", ")
	var b strings.Builder
	fmt.Fprintf(&b, "# Fleets, simulated, %s\n\n`make bench-fleet` wrote this: %s. AWS is simulated, in virtual time; the index is the code that is deployed. Each label has a segment of two pictures. "+
		"Assumed: S3 answers a GET after %v in the median "+
		"and five times that in the 99th percentile, the first of an environment after %v, a PUT after %v; the index's prefix, both labels together, takes %s GETs a second, and answers those beyond with 503, "+
		"without ever being divided; nobody tries again.\n\n",
		date, machine, getMedian, firstGetMedian, putMedian, page.Grouped(fmt.Sprint(readsPerSecond)))
	warm(t, &b, where)
	b.WriteString(others(t))
	crowds(t, &b, where, start, draw)
	if err := os.WriteFile(*out+".md", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// times are a start's and a draw's own work, at the part of a vCPU that the function has.
func times(t *testing.T) (start, draw time.Duration) {
	files, err := filepath.Glob("../results/*-invoke.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no measurement in bench/results: make bench-invoke: %v", err)
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	var f figures
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	at := func(ms float64) time.Duration {
		return time.Duration(ms / min(1, f.Random.MemoryMB/1769) * float64(time.Millisecond)).Round(10 * time.Microsecond)
	}
	return at(f.Random.InitCPUMS), at(f.Random.CPUMS)
}

func warm(t *testing.T, b *strings.Builder, where string) {
	fmt.Fprintf(b, "## Warm\n\nEnvironments start within %v. Each draws %d times a second, at random moments and of either label, for %v after a picture of each label was uploaded. A draw is stale when it begins after the upload "+
		"was acknowledged and does not know of it: of each environment the last such draw counts. The bars, for up to %s environments: no draw fails, no GET is refused, half of the draws wait for nothing, and of "+
		"1,000 or more environments the 99th percentile of staleness is at most %v.\n\n", rampUp, drawsPerSecond, afterUpload, page.Grouped(fmt.Sprint(mostEnvironments)), promised)
	var rows [][]string
	reads, stale, waits := page.Line{Name: "GETs of the index in the busiest second"}, page.Line{Name: "staleness, most, ms"}, page.Line{Name: "a draw's wait, p99, ms"}
	for _, n := range []int{1, 10, 100, 1000, 3000, 10_000} {
		r := simulate(t, n)
		t.Logf("%d environments: %d draws, %d failed, %d refused", n, r.draws, r.failed, r.refused)
		bar := "not for so many"
		if n <= mostEnvironments {
			bar = "met"
			if broken := r.bars(); len(broken) > 0 {
				bar = "**missed**"
				t.Errorf("%d environments: %v", n, broken)
			}
		}
		sum := 0
		for _, v := range r.reads {
			sum += v
		}
		ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e6) }
		rows = append(rows, []string{
			page.Grouped(fmt.Sprint(n)), page.Grouped(fmt.Sprint(r.draws)), page.Grouped(fmt.Sprint(r.failed)), page.Number(float64(sum) / float64(len(r.reads))), page.Grouped(fmt.Sprint(slices.Max(r.reads))),
			fmt.Sprintf("%.1f%%", 100*float64(r.refused)/float64(max(1, sum))), ms(at(r.waits, 0.5)), ms(at(r.waits, 0.99)), ms(at(r.waits, 1)), ms(at(r.stale, 0.5)), ms(at(r.stale, 0.99)), ms(at(r.stale, 1)), bar,
		})
		x := float64(n)
		reads.XYs = append(reads.XYs, plotter.XY{X: x, Y: float64(slices.Max(r.reads))})
		stale.XYs = append(stale.XYs, plotter.XY{X: x, Y: max(1, float64(at(r.stale, 1))/1e6)})
		waits.XYs = append(waits.XYs, plotter.XY{X: x, Y: max(1, float64(at(r.waits, 0.99))/1e6)})
	}
	b.WriteString(page.Table([]string{"environments", "draws", "failed", "GETs of the index a second", "busiest second", "503", "wait p50 ms", "p99", "max", "stale p50 ms", "p99", "max", "bars"}, rows))
	limit := page.Line{Name: "GETs a second that a prefix takes", Dashed: true, XYs: plotter.XYs{{X: 1, Y: readsPerSecond}, {X: 10_000, Y: readsPerSecond}}}
	c := page.Chart{Title: "Warm fleets", X: "environments", Y: "", LogX: true, LogY: true, Lines: []page.Line{reads, stale, waits, limit}}
	if err := c.Save(where, *out+".svg"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "\n![reads, staleness and waits by the number of environments](%s.svg)\n\n", filepath.Base(*out))
}

// others are the requests that are not simulated, computed: what such a fleet's draws and the most uploads ask of the other prefixes.
func others(t *testing.T) string {
	var assumed struct {
		EdgeHitRatio float64 `json:"edge_hit_ratio"`
	}
	text, err := os.ReadFile("../cost/workload.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &assumed); err != nil || assumed.EdgeHitRatio <= 0 {
		t.Fatalf("no edge_hit_ratio in bench/cost/workload.json: %v", err)
	}
	var template struct {
		Parameters struct {
			WriteRate struct {
				Default float64 `yaml:"Default"`
			} `yaml:"WriteRate"`
		} `yaml:"Parameters"`
	}
	if err := yaml.Unmarshal(infra.Template, &template); err != nil || template.Parameters.WriteRate.Default <= 0 {
		t.Fatalf("no default of WriteRate in the template: %v", err)
	}
	misses, uploads := drawsPerSecond*(1-assumed.EdgeHitRatio), template.Parameters.WriteRate.Default
	number := func(v float64) string { return page.Grouped(fmt.Sprintf("%.0f", v)) }
	return fmt.Sprintf("### What else is asked of S3\n\nComputed, not simulated. Each picture that is drawn is asked for at the edge, which has %.0f%% of them (bench/cost/workload.json); the API takes %.0f uploads a second (the template's WriteRate), "+
		"and each puts a picture and a journal entry, whatever the fleet. Each prefix is taken to be one, undivided.\n\n", 100*assumed.EdgeHitRatio, uploads) +
		page.Table([]string{"prefix", "requests", fmt.Sprintf("a second at %s environments", number(mostEnvironments)), "at 10,000", "limit", "reached at"}, [][]string{
			{"`cat/`, `dog/`", "GETs of pictures that the edge lacks", number(misses * mostEnvironments), number(misses * 10_000), number(readsPerSecond), number(readsPerSecond/misses) + " environments"},
			{"`cat/`, `dog/`", "PUTs of pictures", number(uploads), number(uploads), number(writesPerSecond), number(writesPerSecond) + " uploads a second"},
			{"`journal/`", "PUTs of entries", number(uploads), number(uploads), number(writesPerSecond), number(writesPerSecond) + " uploads a second"},
		}) + "\n"
}

func crowds(t *testing.T, b *strings.Builder, where string, start, draw time.Duration) {
	const seconds = 25
	fmt.Fprintf(b, "## A crowd out of nowhere\n\nNo environment is there, and requests come at a steady rate from the first moment on. Lambda starts at most %d environments at once and %d more each %v, up to the account's limit, and takes %d requests a second for each that the account may have; "+
		"what finds none is refused with 429. A start takes %v of AWS and %v of ours, a draw %v, both as measured by bench/invoke, at the function's part of a vCPU; and then what S3 takes.\n\n",
		startsAtOnce, startsEach, scaleEach, perEnvironment, placement, start, draw)
	var rows [][]string
	c := page.Chart{Title: "A crowd from cold: refused requests", X: "seconds", Y: "% of the requests of the second"}
	for _, k := range []struct{ perSecond, most int }{{100, 1000}, {1000, 1000}, {5000, 1000}, {20_000, 1000}, {20_000, 10_000}} {
		r := flash(t, k.perSecond, k.most, start, draw, seconds)
		refused, last := 0, 0
		line := page.Line{Name: fmt.Sprintf("%s/s, at most %s environments", page.Grouped(fmt.Sprint(k.perSecond)), page.Grouped(fmt.Sprint(k.most)))}
		for s, n := range r.refused {
			refused += n
			if n > 0 {
				last = s + 1
			}
			line.XYs = append(line.XYs, plotter.XY{X: float64(s), Y: 100 * float64(n) / float64(k.perSecond)})
		}
		c.Lines = append(c.Lines, line)
		ms := func(d []time.Duration, q float64) string {
			if len(d) == 0 {
				return "–"
			}
			return fmt.Sprintf("%.0f", float64(at(d, q))/1e6)
		}
		rows = append(rows, []string{
			page.Grouped(fmt.Sprint(k.perSecond)), page.Grouped(fmt.Sprint(k.most)), page.Grouped(fmt.Sprint(r.environments)), page.Grouped(fmt.Sprint(refused)),
			fmt.Sprintf("%.2f%%", 100*float64(refused)/float64(k.perSecond*seconds)), fmt.Sprint(last), page.Grouped(fmt.Sprint(r.failed)),
			ms(r.firsts, 0.5), ms(r.firsts, 0.99), ms(r.waits, 0.5), ms(r.waits, 0.99), page.Grouped(fmt.Sprint(r.root)),
		})
		t.Logf("%d/s: %d environments, %d refused, %d failed", k.perSecond, r.environments, refused, r.failed)
	}
	b.WriteString(page.Table([]string{"requests a second", "environments, most", "started", "refused", "of all", "last in second", "failed", "first second p50 ms", "p99", "after 5 s p50 ms", "p99", "GETs of the index, busiest second"}, rows))
	if err := c.Save(where, *out+"-crowd.svg"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "\n![refused requests by the second](%s-crowd.svg)\n", filepath.Base(*out))
}
