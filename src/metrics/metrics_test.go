package metrics_test

import (
	"bytes"
	"testing"
	"time"

	"petpick/src/metrics"
)

var noon = time.UnixMilli(1_700_000_000_000)

// The lines are as CloudWatch documents the format: each directive's dimensions and metrics are members of the line.
func TestLine(t *testing.T) {
	var out bytes.Buffer
	w := metrics.New(&out, "dev")
	totals := map[string]uint64{metrics.FoldAttempts: 3, metrics.FoldLosses: 0}
	if err := w.Write(noon, totals, metrics.Upload(201)); err != nil {
		t.Fatal(err)
	}
	const aws = `"_aws":{"Timestamp":1700000000000,"CloudWatchMetrics":[{"Namespace":"petpick","Dimensions":[["Stage","Result"]],"Metrics":[{"Name":"Uploads","Unit":"Count"}]}`
	want := `{"FoldAttempts":3,"Result":"created","Stage":"dev","Uploads":1,` + aws + `,{"Namespace":"petpick","Dimensions":[["Stage"]],"Metrics":[{"Name":"FoldAttempts","Unit":"Count"}]}]}}` + "\n"
	if got := out.String(); got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
	out.Reset()
	if err := w.Write(noon, totals, metrics.Upload(201)); err != nil { // nothing was folded since
		t.Fatal(err)
	}
	if got, want := out.String(), `{"Result":"created","Stage":"dev","Uploads":1,`+aws+"]}}\n"; got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
}

func TestUploadResults(t *testing.T) {
	for status, want := range map[int]string{201: "created", 200: "known", 400: "refused", 401: "refused", 413: "refused", 451: "refused", 500: "failed", 503: "failed"} {
		if got := metrics.Upload(status).Dimensions[metrics.Result]; got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestMinutely(t *testing.T) {
	var out bytes.Buffer
	w := metrics.New(&out, "dev")
	var refreshes uint64
	at := func(after time.Duration) string {
		t.Helper()
		out.Reset()
		if err := w.Minutely(noon.Add(after), func() map[string]uint64 { return map[string]uint64{"Refreshes": refreshes} }); err != nil {
			t.Fatal(err)
		}
		line, _, _ := bytes.Cut(out.Bytes(), []byte(`,"_aws"`))
		return string(line)
	}
	for i, c := range []struct {
		after  time.Duration
		totals uint64
		want   string
	}{
		{0, 1, `{"Refreshes":1,"Stage":"dev"`},
		{time.Second, 2, ""},
		{59 * time.Second, 50, ""},
		{60 * time.Second, 61, `{"Refreshes":60,"Stage":"dev"`},
		{3 * time.Minute, 61, ""}, // nothing to tell: nothing is told
		{4 * time.Minute, 62, `{"Refreshes":1,"Stage":"dev"`},
		{-time.Hour, 70, `{"Refreshes":8,"Stage":"dev"`}, // a clock that was set back does not silence it
	} {
		refreshes = c.totals
		if got := at(c.after); got != c.want {
			t.Errorf("%d: got %q, want %q", i, got, c.want)
		}
	}
}
