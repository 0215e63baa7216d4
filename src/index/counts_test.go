package index

import (
	"errors"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index/journal"
	"petpick/src/truth"
)

// What was met is counted: refreshes, those that failed, draws from an old view, folds and those that were lost, and what a fold left.
func TestCounts(t *testing.T) {
	w := newBuckets()
	store := blobtest.NewFaulty(w.store)
	x := w.process()
	x.use(store, defaultMemory)
	want := func(when string, want Counts) {
		t.Helper()
		if got := x.Counts(); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", when, got, want)
		}
	}
	mustAdd(t, x, 0, 1)
	want("an upload", Counts{Refreshes: 1, FoldAttempts: 1})
	draw := func() {
		t.Helper()
		if _, err := x.Draw(t.Context(), newSource()); err != nil {
			t.Fatal(err)
		}
	}
	draw()
	want("a draw within the second", Counts{Refreshes: 1, FoldAttempts: 1})
	w.now.Add(int64(2 * time.Second))
	draw()
	want("a draw after it", Counts{Refreshes: 2, FoldAttempts: 1})
	store.Fail(blobtest.Outage, nil)
	w.now.Add(int64(2 * time.Second))
	draw()
	draw()
	want("draws while the store fails", Counts{Refreshes: 3, RefreshFailures: 1, StaleDraws: 2, FoldAttempts: 1})
	lost := errors.New("once")
	store.Fail(func(op blobtest.Op, _ string) error {
		if op == blobtest.Swap && lost != nil {
			lost = nil
			return blob.ErrChanged
		}
		return nil
	}, nil)
	w.now.Add(int64(2 * time.Second))
	mustAdd(t, x, 1, 2)
	if got := x.Counts(); got.FoldAttempts != 3 || got.FoldLosses != 1 || got.Backlog != 0 {
		t.Errorf("a fold that another one beat: got %+v", got)
	}
	// An entry whose truth cannot be read stays in the journal.
	id, _ := picture(1)
	photos := blobtest.NewFaulty(w.photos)
	photos.Fail(blobtest.Outage, nil)
	x.truth = truth.Open("cat", photos, x.now, x.rnd)
	if _, err := x.journal.Post(t.Context(), journal.Note{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := x.Counts().Backlog; got != 1 {
		t.Errorf("an entry that cannot be folded: backlog %d, want 1", got)
	}
	// Those that are more than one fold reads count as well.
	for range journal.MaxNotes {
		if _, err := x.journal.Post(t.Context(), journal.Note{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := x.Counts().Backlog; got != journal.MaxNotes+1 {
		t.Errorf("a long journal: backlog %d, want %d", got, journal.MaxNotes+1)
	}
}
