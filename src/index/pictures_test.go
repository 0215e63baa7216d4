package index_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index"
	"petpick/src/pet"
)

// pages lists a label by pages of so many, and calls between before each page but the first.
func pages(t *testing.T, x *index.Index, limit int, between func()) (all []index.Picture) {
	t.Helper()
	for after := (pet.ID{}); ; between() {
		pics, next, more, err := x.List(t.Context(), after, limit)
		if err != nil || len(pics) > limit {
			t.Fatalf("%d pictures, %v", len(pics), err)
		}
		all = append(all, pics...)
		if !more {
			return all
		}
		if after = next; len(all) > 10_000 {
			t.Fatal("no end")
		}
	}
}

func keysOf(pics []index.Picture) (keys []string) {
	for _, p := range pics {
		keys = append(keys, pet.Key(p.Label, p.ID))
	}
	return keys
}

func TestListHasAllInOrder(t *testing.T) {
	w := newWorld()
	x := w.open()
	want := map[string]pet.Weight{}
	for i := range 57 {
		p := photo(i, pet.Weight(1000+i))
		add(t, x, p)
		want[pet.Key("cat", p.ID)] = p.Weight
	}
	for i := range 57 {
		id := photo(i, 0).ID
		switch {
		case i%5 == 0: // paused: listed
			if _, err := x.Set(t.Context(), id, 0); err != nil {
				t.Fatal(err)
			}
			want[pet.Key("cat", id)] = 0
		case i%7 == 0:
			if _, err := x.Remove(t.Context(), id, true); err != nil {
				t.Fatal(err)
			}
			delete(want, pet.Key("cat", id))
		}
	}
	add(t, w.openLabel("dog"), photo(99, 1))
	if _, err := w.photos.Create(t.Context(), "cat/7", []byte("not ours"), blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 2, 7, 56, 57, 58, 1000} {
		got := pages(t, x, limit, func() {})
		if !slices.IsSorted(keysOf(got)) || len(got) != len(want) {
			t.Errorf("by %d: %d pictures, want %d in order", limit, len(got), len(want))
		}
		for _, p := range got {
			if weight, there := want[pet.Key("cat", p.ID)]; !there || p.Weight != weight || p.Width != 3 || p.Bytes == 0 {
				t.Errorf("by %d: %+v, want weight %d", limit, p, weight)
			}
			if one, err := x.Look(t.Context(), p.ID); err != nil || one != p {
				t.Errorf("listed as %+v, looked at %+v, %v", p, one, err)
			}
		}
	}
	if pics, _, more, err := w.openLabel("dog").List(t.Context(), photo(99, 1).ID, 10); err != nil || more || len(pics) != 0 {
		t.Errorf("after the last: %v, %v, %v", pics, more, err)
	}
}

// What is added, changed and removed beside a walk shows up or does not: what stays is there exactly once.
func TestListIsStableBesideChanges(t *testing.T) {
	w := newWorld()
	x := w.open()
	stays := map[string]bool{}
	for i := range 40 {
		add(t, x, photo(i, 1000))
		if i%2 == 0 {
			stays[pet.Key("cat", photo(i, 0).ID)] = true
		}
	}
	n := 0
	got := pages(t, x, 3, func() {
		add(t, x, photo(100+n, 1000))
		if _, err := x.Remove(t.Context(), photo(n*2+1, 0).ID, false); err != nil && n*2+1 < 40 {
			t.Fatal(err)
		}
		if _, err := x.Set(t.Context(), photo(n*2%40, 0).ID, 5); err != nil {
			t.Fatal(err)
		}
		n++
	})
	seen := map[string]int{}
	for _, key := range keysOf(got) {
		seen[key]++
	}
	for key := range stays {
		if seen[key] == 0 {
			t.Errorf("%s was there all the time, and is not listed", key)
		}
	}
	for key, times := range seen {
		if times > 1 {
			t.Errorf("%s is listed %d times", key, times)
		}
	}
	if n < 10 {
		t.Fatalf("%d pages: the test tests nothing", n)
	}
}

// Verdicts outlive their pictures: a page costs no more for a million of them.
func TestCallsOfAList(t *testing.T) {
	w := newWorld()
	x := w.open()
	for i := range 30 {
		add(t, x, photo(i, 1000))
	}
	if _, err := x.Set(t.Context(), photo(3, 0).ID, 7); err != nil {
		t.Fatal(err)
	}
	calls := func() int64 {
		before := w.calls()
		if pics, _, _, err := x.List(t.Context(), pet.ID{}, 30); err != nil || len(pics) != 30 {
			t.Fatalf("%d, %v", len(pics), err)
		}
		return w.calls() - before
	}
	if got := calls(); got != 2+30+1 { // two LISTs, HEADs, and the GET of a verdict
		t.Errorf("%d calls for 30 pictures of which one has a verdict", got)
	}
	var verdict []byte
	if o, err := w.photos.Get(t.Context(), "verdicts/cat/"+photo(3, 0).ID.String(), ""); err != nil {
		t.Fatal(err)
	} else {
		verdict = o.Body
	}
	for i := range 3000 { // of pictures that are gone
		if _, err := w.photos.Create(t.Context(), "verdicts/cat/"+photo(1000+i, 0).ID.String(), verdict, blob.Attr{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := calls(); got > 2+2*30 {
		t.Errorf("%d calls beside many verdicts", got)
	}
	// Nor is one that lies behind the first page of them overlooked.
	for i := range 30 {
		if _, err := x.Set(t.Context(), photo(i, 0).ID, 7); err != nil {
			t.Fatal(err)
		}
	}
	pics, _, _, err := x.List(t.Context(), pet.ID{}, 30)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pics {
		if p.Weight != 7 {
			t.Errorf("%s is listed with %d, want the weight of its verdict", p.ID, p.Weight)
		}
	}
}

func TestListWhatCannotBeRead(t *testing.T) {
	w := newWorld()
	var log strings.Builder
	x := index.Open(index.Config{Label: "cat", Photos: w.photos, Index: w.store, Now: w.clock, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 3 {
		add(t, x, photo(i, 1000))
	}
	damaged := photo(77, 0)
	if _, err := w.photos.Create(t.Context(), pet.Key("cat", damaged.ID), damaged.Body, blob.Attr{}); err != nil { // no metadata
		t.Fatal(err)
	}
	pics, _, more, err := x.List(t.Context(), pet.ID{}, 10)
	if err != nil || more || len(pics) != 3 || !strings.Contains(log.String(), damaged.ID.String()) {
		t.Errorf("%d, %v, %v; log %s", len(pics), more, err, log.String())
	}
	w.failPhotos(true)
	if _, _, _, err := x.List(t.Context(), pet.ID{}, 10); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("without a store: %v", err)
	}
	w.failPhotos(false)
	w.photos.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.Head && key == pet.Key("cat", photo(1, 0).ID) {
			return blobtest.Outage(op, key)
		}
		return nil
	}, nil)
	if _, _, _, err := x.List(t.Context(), pet.ID{}, 10); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("a picture that cannot be asked for: %v, want no list rather than half of one", err)
	}
}

// Of many who expect the same state, one changes it.
func TestOneOfManyChangesWhatAllHaveSeen(t *testing.T) {
	w := newWorld()
	p := photo(1, 1000)
	add(t, w.open(), p)
	for round := range 5 {
		seen, err := w.open().Look(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		same := func(now index.Picture) bool { return now.Seq == seen.Seq && now.Weight == seen.Weight }
		var done, changed atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			x := w.open()
			wg.Go(func() {
				var res index.Result
				var err error
				if round == 4 {
					res, err = x.RemoveIf(t.Context(), p.ID, true, same)
				} else {
					res, err = x.SetIf(t.Context(), p.ID, pet.Weight(i), same)
				}
				switch {
				case err == nil && res.Before == seen.Weight.String() && (round == 4 || res.Seq == seen.Seq+1 && res.Weight == pet.Weight(i)):
					done.Add(1)
				case errors.Is(err, index.ErrChanged) || round == 4 && errors.Is(err, index.ErrBlocked):
					changed.Add(1)
				default:
					t.Errorf("%+v, %v", res, err)
				}
			})
		}
		wg.Wait()
		if done.Load() != 1 || changed.Load() != 15 {
			t.Errorf("round %d: %d have changed it, %d were refused; want 1 and 15", round, done.Load(), changed.Load())
		}
	}
	intents, err := w.store.List(t.Context(), "removals/", "", 10)
	if err != nil || len(intents.Objects) != 0 {
		t.Errorf("intents of removals that were refused are left: %+v, %v", intents.Objects, err)
	}
	if res, err := w.open().Remove(t.Context(), p.ID, false); err != nil || res.Before != "blocked" {
		t.Errorf("removed again: %+v, %v", res, err)
	}
	w.pass(17 * time.Minute)
	add(t, w.open(), p)
	if res, err := w.open().RemoveIf(t.Context(), p.ID, false, func(index.Picture) bool { return true }); err != nil || res.Before != "1" {
		t.Errorf("after it came back: %+v, %v", res, err)
	}
}
