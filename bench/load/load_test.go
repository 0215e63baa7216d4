package main

import (
	"testing"

	"petpick/bench/rig"
)

// run100 is a run of 100 samples whose memory and descriptors grow linearly, by so much in all.
func run100(memory, descriptors, first, last, failed float64) outcome {
	o := outcome{metrics: map[string]metric{
		"http_req_failed":               {Values: map[string]float64{"passes": failed}},
		"http_req_duration{part:first}": {Values: map[string]float64{"p(99)": first}},
		"http_req_duration{part:last}":  {Values: map[string]float64{"p(99)": last}},
	}}
	for i := range 100 {
		part := float64(i) / 100
		o.samples = append(o.samples, sample{"soak", rig.Usage{Resident: int64(100e6 * (1 + part*memory)), Descriptors: 50 + int(part*descriptors)}})
	}
	return o
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      outcome
		missed string
	}{
		{"flat", run100(0, 0, 10, 10, 0), ""},
		{"a little more", run100(0.1, 10, 10, 11.9, 0), ""},
		{"errors", run100(0, 0, 10, 10, 1), "requests that failed"},
		{"slower", run100(0, 0, 10, 12.1, 0), "p99 of the last fifth of the time by the first's"},
		{"a leak of memory", run100(0.5, 0, 10, 10, 0), "resident memory, last fifth by second"},
		{"a leak of descriptors", run100(0, 40, 10, 10, 0), "file descriptors, last fifth by second"},
	} {
		missed := ""
		for _, v := range judge(c.o) {
			if !v.ok {
				missed += v.what
			}
		}
		if missed != c.missed {
			t.Errorf("%s: missed %q, want %q", c.name, missed, c.missed)
		}
	}
}

func TestTitle(t *testing.T) {
	for metric, want := range map[string]string{
		"http_req_duration{scenario:page}": "random: page", "http_req_duration{name:POST /upload}": "random: POST /upload",
		"http_req_duration{expected_response:true}": "", "http_req_duration": "", "http_reqs": "",
	} {
		if got, ok := title("random", metric); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", metric, got, ok, want)
		}
	}
}
