package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"petpick/bench/page"
)

// What a long run may change.
const (
	maxDrift       = 1.2 // of p99, last fifth by first
	maxGrowth      = 1.2 // of resident memory, last fifth by second: the first fills caches
	maxDescriptors = 16  // more than in the second fifth
)

// verdict is one thing that must not have changed.
type verdict struct {
	what, seen, bar string
	ok              bool
}

// soak finds out what the service can do, and keeps it at half of that.
func (r *runner) soak(ctx context.Context) error {
	peak, err := r.script(ctx, "soak", map[string]string{"MODE": "peak", "DURATION": "10s", "P99": "10000"})
	if err == nil {
		err = peak.err
	}
	if err != nil {
		return err
	}
	rate := int(peak.metrics["iterations"].Values["rate"] / 2)
	o, err := r.script(ctx, "soak", map[string]string{"RATE": fmt.Sprint(rate), "DURATION": fmt.Sprintf("%ds", r.cfg.seconds)})
	if err != nil {
		return err
	}
	verdicts := judge(o)
	failed := o.err
	for _, v := range verdicts {
		fmt.Printf("%-60s %-30s bar: %s, met: %v\n", v.what, v.seen, v.bar, v.ok)
		if !v.ok {
			failed = errors.Join(failed, fmt.Errorf("%s: %s, want %s", v.what, v.seen, v.bar))
		}
	}
	if r.cfg.out != "" {
		failed = errors.Join(failed, writeSoak(r.cfg, r.stand, o, rate, verdicts))
	}
	return failed
}

func judge(o outcome) []verdict {
	p99 := func(part string) float64 { return o.metrics["http_req_duration{part:"+part+"}"].Values["p(99)"] }
	drift := p99("last") / p99("first")
	out := []verdict{
		{"requests that failed", page.Number(o.metrics["http_req_failed"].Values["passes"]), "0", o.metrics["http_req_failed"].Values["passes"] == 0},
		{"p99 of the last fifth of the time by the first's", fmt.Sprintf("%.2f: %.2f by %.2f ms", drift, p99("last"), p99("first")), fmt.Sprint("≤ ", maxDrift), drift <= maxDrift},
	}
	if n := len(o.samples); n >= 10 {
		resident := func(s []sample) float64 {
			sum := 0.0
			for _, u := range s {
				sum += float64(u.Resident)
			}
			return sum / float64(len(s)) / 1e6
		}
		open := func(s []sample) int {
			return slices.MaxFunc(s, func(a, b sample) int { return a.Descriptors - b.Descriptors }).Descriptors
		}
		second, last := o.samples[n/5:2*n/5], o.samples[4*n/5:]
		growth := resident(last) / resident(second)
		out = append(out,
			verdict{"resident memory, last fifth by second", fmt.Sprintf("%.2f: %.0f by %.0f MB", growth, resident(last), resident(second)), fmt.Sprint("≤ ", maxGrowth), growth <= maxGrowth},
			verdict{"file descriptors, last fifth by second", fmt.Sprintf("%d by %d", open(last), open(second)), fmt.Sprintf("at most %d more", maxDescriptors), open(last) <= open(second)+maxDescriptors})
	}
	return out
}
