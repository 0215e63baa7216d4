package index

import (
	"sync/atomic"

	"petpick/src/pet"
)

// Counts is what an index has done since it was opened, and what it met. It only ever grows, but for Backlog.
type Counts struct {
	// Refreshes are readings of the root for draws; RefreshFailures are those of them that failed.
	Refreshes, RefreshFailures uint64
	// StaleDraws are answers given from a view that was older than it may be, because no newer one could be had in time.
	StaleDraws uint64
	// FoldAttempts are tries to swap the root; FoldLosses are those that another process won, or whose outcome nobody knows.
	FoldAttempts, FoldLosses uint64
	// Backlog is how many journal entries the last fold could read and not apply; after upkeep, with those that it did not come to.
	Backlog uint64
}

// All are the indexes of all labels.
type All map[pet.Label]*Index

// Counts are the sums over all labels.
func (a All) Counts() (sum Counts) {
	for _, x := range a {
		c := x.Counts()
		sum.Refreshes += c.Refreshes
		sum.RefreshFailures += c.RefreshFailures
		sum.StaleDraws += c.StaleDraws
		sum.FoldAttempts += c.FoldAttempts
		sum.FoldLosses += c.FoldLosses
		sum.Backlog += c.Backlog
	}
	return sum
}

type counters struct {
	foldAttempts, foldLosses, backlog atomic.Uint64
}

// Counts makes no call.
func (x *Index) Counts() Counts {
	r, c := x.reader.Counts(), &x.counters
	return Counts{r.Refreshes, r.Failures, r.Stale, c.foldAttempts.Load(), c.foldLosses.Load(), c.backlog.Load()}
}
