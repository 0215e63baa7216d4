package view

import "sync/atomic"

// Counts is what a reader has done since it was opened.
type Counts struct {
	// Refreshes are readings of the root for draws; Failures are those of them that failed.
	Refreshes, Failures uint64
	// Stale are answers given from a view that was older than it may be, because no newer one could be had in time.
	Stale uint64
}

type counters struct{ refreshes, refreshFailures, staleDraws atomic.Uint64 }

// Counts makes no call.
func (x *Reader) Counts() Counts {
	c := &x.counters
	return Counts{c.refreshes.Load(), c.refreshFailures.Load(), c.staleDraws.Load()}
}

// stale counts a view that is older than it may be.
func (x *Reader) stale(v *View) *View {
	x.counters.staleDraws.Add(1)
	return v
}
