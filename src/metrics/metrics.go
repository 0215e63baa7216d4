// Package metrics is what the functions tell CloudWatch, beside what Lambda tells by itself: lines on standard output in the Embedded
// Metric Format, of which CloudWatch makes metrics. Which ones there are stands here, and the dashboard and the alarms use each of
// them; it knows nothing of how they come about.
//
// A line costs money: 0.50 USD per GB of logs, and a line has about 0.3 KB. One for each draw would be 100M x 0.3 KB = 30 GB = 15 USD per
// 100M draws, as much as the draws' own compute. One a minute for an environment that is in use is 43,200 x 0.3 KB = 13 MB = 0.0065 USD a
// month for each, and a single environment does 200 draws a second at 5 ms. Each metric costs 0.30 USD a month whatever is written.
package metrics

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Namespace has all metrics.
const Namespace = "petpick"

// The metrics. All are counts, to be summed, but for the last two, which are levels.
const (
	// Refreshes, RefreshFailures and StaleDraws are the random function's: readings of an index's root, those that failed, and draws
	// that went on with a view of more than a second. ColdStarts are its environments.
	Refreshes       = "Refreshes"
	RefreshFailures = "RefreshFailures"
	StaleDraws      = "StaleDraws"
	ColdStarts      = "ColdStarts"
	// Uploads has the dimension Result, too.
	Uploads = "Uploads"
	// FoldAttempts and FoldLosses are swaps of a root that were tried, and that another process won.
	FoldAttempts = "FoldAttempts"
	FoldLosses   = "FoldLosses"
	// JournalBacklog is what upkeep could not fold; Pictures are those that can be drawn. Both are of all labels together.
	JournalBacklog = "JournalBacklog"
	Pictures       = "Pictures"
)

// Stage is a dimension of all: several deployments share an account. Result is one of Uploads', with these values.
const (
	Stage   = "Stage"
	Result  = "Result"
	created = "created"
	known   = "known"   // the picture was there before
	refused = "refused" // the client's doing
	failed  = "failed"  // ours
)

// Group is metrics with the same dimensions beside the stage, which may be none.
type Group struct {
	Dimensions map[string]string
	Values     map[string]uint64
}

// Upload is what an upload that was answered with this status counts as.
func Upload(status int) Group {
	result := created
	switch {
	case status >= 500:
		result = failed
	case status >= 400:
		result = refused
	case status == 200:
		result = known
	}
	return Group{Dimensions: map[string]string{Result: result}, Values: map[string]uint64{Uploads: 1}}
}

// Writer writes lines. It is safe for concurrent use.
type Writer struct {
	out   io.Writer
	stage string

	mu   sync.Mutex
	last map[string]uint64
	next time.Time // of Minutely
}

// New returns a writer to a function's standard output.
func New(out io.Writer, stage string) *Writer { return &Writer{out: out, stage: stage} }

// Minutely writes by how much running totals have grown, at most once a minute, and the first time at once. What an environment counted in
// its last minute is lost when it is not called again: a line for each event could be one for each draw, just when the store fails.
func (w *Writer) Minutely(at time.Time, totals func() map[string]uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	at = at.Round(0) // by the wall clock: an environment is frozen between calls, and its monotonic clock with it
	if wait := w.next.Sub(at); wait > 0 && wait <= time.Minute {
		return nil
	}
	wrote, err := w.write(at, totals(), nil)
	if wrote {
		w.next = at.Add(time.Minute)
	}
	return err
}

// Write writes a line with the groups, and by how much running totals have grown.
func (w *Writer) Write(at time.Time, totals map[string]uint64, groups ...Group) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.write(at, totals, groups)
	return err
}

func (w *Writer) write(at time.Time, totals map[string]uint64, groups []Group) (wrote bool, err error) {
	grown := map[string]uint64{}
	for name, total := range totals {
		if n := total - w.last[name]; n > 0 {
			grown[name] = n
		}
	}
	w.last = totals
	if len(grown) > 0 {
		groups = append(slices.Clone(groups), Group{Values: grown})
	}
	if len(groups) == 0 {
		return false, nil
	}
	line, err := encode(at, w.stage, groups)
	if err != nil {
		return false, err
	}
	_, err = w.out.Write(line) // in one piece: lines of others must not come in between
	return err == nil, err
}

type (
	metadata struct {
		Timestamp         int64 // in ms
		CloudWatchMetrics []directive
	}
	directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []metric
	}
	metric struct{ Name, Unit string }
)

// encode makes a line of groups that have no name in common: their values are members of one object.
func encode(at time.Time, stage string, groups []Group) ([]byte, error) {
	about := metadata{Timestamp: at.UnixMilli()}
	line := map[string]any{Stage: stage}
	for _, g := range groups {
		d := directive{Namespace: Namespace, Dimensions: [][]string{append([]string{Stage}, slices.Sorted(maps.Keys(g.Dimensions))...)}}
		for _, name := range slices.Sorted(maps.Keys(g.Values)) {
			d.Metrics = append(d.Metrics, metric{name, "Count"})
			line[name] = g.Values[name]
		}
		for name, value := range g.Dimensions {
			line[name] = value
		}
		about.CloudWatchMetrics = append(about.CloudWatchMetrics, d)
	}
	line["_aws"] = about
	b, err := json.Marshal(line)
	return append(b, '\n'), err
}
