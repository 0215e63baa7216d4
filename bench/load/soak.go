package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat"

	"petpick/bench/page"
)

// What a long run may change.
const (
	maxDrift       = 1.2 // of p99, last fifth by second: the first fills caches
	maxMemory      = 8   // % an hour, beyond the noise
	maxDescriptors = 8   // an hour, likewise
	// What is noisier than this hides a leak that matters.
	maxMemoryNoise, maxDescriptorsNoise = 15, 16
)

// verdict is one thing that must not have changed.
type verdict struct {
	what, seen, bar string
	ok              bool
}

// soak finds out what the service can do, and keeps it at half of that.
func (r *runner) soak(ctx context.Context) error {
	rate, o, err := r.soaked(ctx)
	failed := errors.Join(o.err, err)
	verdicts := judge(o, r.stand.service != nil)
	for _, v := range verdicts {
		fmt.Printf("%-80s %-40s bar: %s, met: %v\n", v.what, v.seen, v.bar, v.ok)
		if !v.ok {
			failed = errors.Join(failed, fmt.Errorf("%s: %s, want %s", v.what, v.seen, v.bar))
		}
	}
	if r.cfg.out != "" {
		failed = errors.Join(failed, writeSoak(r.cfg, r.stand, o, rate, verdicts, failed))
	}
	return failed
}

func (r *runner) soaked(ctx context.Context) (rate int, o outcome, err error) {
	o, err = r.script(ctx, "soak", map[string]string{"MODE": "peak", "DURATION": "10s", "P99": "10000"})
	if err != nil || o.err != nil {
		return 0, o, err
	}
	rate = int(o.metrics["iterations"].Values["rate"] / 2)
	env := r.environment("soak")
	env["RATE"] = fmt.Sprint(rate)
	o, err = r.script(ctx, "soak", env)
	return rate, o, err
}

// judge fails what was not measured, too; of a host elsewhere nobody knows memory and descriptors.
func judge(o outcome, here bool) []verdict {
	failed := o.metrics["http_req_failed"].Values
	second, last := o.metrics["http_req_duration{part:second}"].Values, o.metrics["http_req_duration{part:last}"].Values
	drift := last["p(99)"] / second["p(99)"]
	out := []verdict{
		{"requests that failed", fmt.Sprintf("%s of %s", page.Number(failed["passes"]), page.Number(failed["passes"]+failed["fails"])), "0", failed["passes"] == 0 && failed["fails"] > 0},
		{"p99 of the last fifth of the time by the second's", fmt.Sprintf("%.2f: %.2f by %.2f ms", drift, last["p(99)"], second["p(99)"]), fmt.Sprint("≤ ", maxDrift),
			second["count"] > 0 && last["count"] > 0 && drift <= maxDrift},
	}
	if !here {
		return out
	}
	memory := verdict{"resident memory: growth an hour, of the mean", fmt.Sprintf("%d samples are too few", len(o.samples)), fmt.Sprintf("≤ %d%% beyond a noise of ≤ %d%%", maxMemory, maxMemoryNoise), false}
	open := verdict{"file descriptors: growth an hour", memory.seen, fmt.Sprintf("≤ %d beyond a noise of ≤ %d", maxDescriptors, maxDescriptorsNoise), false}
	if t, ok := trendOf(o.samples, func(s sample) float64 { return float64(s.Resident) / 1e6 }); ok {
		slope, noise := 100*t.slope/t.mean, 100*t.noise/t.mean
		memory.seen, memory.ok = fmt.Sprintf("%.1f%% ± %.1f%% of %.0f MB", slope, noise, t.mean), slope-noise <= maxMemory && noise <= maxMemoryNoise
	}
	if t, ok := trendOf(o.samples, func(s sample) float64 { return float64(s.Descriptors) }); ok {
		open.seen, open.ok = fmt.Sprintf("%.1f ± %.1f at %.0f", t.slope, t.noise, t.mean), t.slope-t.noise <= maxDescriptors && t.noise <= maxDescriptorsNoise
	}
	return append(out, memory, open)
}

// A trend is judged by as many parts of the last four fifths of the time, each of at least so many samples.
const parts, minSamples = 12, 5

// student is the quantile of Student's t for an interval of 95% with parts-2 degrees of freedom.
const student = 2.228

// trend is a least-squares line: its mean, and its slope an hour with the half width of its interval of 95%.
type trend struct{ mean, slope, noise float64 }

// trendOf fits the least of each part: the floor of a saw that collections of garbage make, which a leak raises all the same.
func trendOf(samples []sample, value func(sample) float64) (t trend, ok bool) {
	samples = samples[len(samples)/5:]
	if len(samples) < parts*minSamples {
		return t, false
	}
	var hours, floors []float64
	for i := range parts {
		part := samples[i*len(samples)/parts : (i+1)*len(samples)/parts]
		floor := math.Inf(1)
		for _, s := range part {
			floor = min(floor, value(s))
		}
		floors = append(floors, floor)
		hours = append(hours, part[len(part)/2].At.Sub(samples[0].At).Hours())
	}
	intercept, slope := stat.LinearRegression(hours, floors, nil, false)
	var residue float64
	for i, x := range hours {
		residue += math.Pow(floors[i]-intercept-slope*x, 2)
	}
	spread := (parts - 1) * stat.Variance(hours, nil)
	return trend{stat.Mean(floors, nil), slope, student * math.Sqrt(residue/(parts-2)/spread)}, true
}
