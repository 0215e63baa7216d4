package index_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index"
	"petpick/src/pet"
)

// A removal that dies before any of its calls is finished by upkeep, or has not begun: the bytes are gone and copies forgotten, or the
// picture is drawn as before.
func TestRemovalsThatDieAreFinished(t *testing.T) {
	for dies := int64(1); ; dies++ {
		w := newWorld()
		add(t, w.open(), photo(0, 1000))
		p := photo(1, 2000)
		add(t, w.open(), p)
		var forgotten atomic.Int64
		open := func() *index.Index {
			return index.Open(index.Config{Label: "cat", Photos: w.photos, Index: w.store, Now: w.clock,
				Forget: func(context.Context, string) error { forgotten.Add(1); return nil }})
		}
		var calls atomic.Int64
		die := func(op blobtest.Op, key string) error {
			if calls.Add(1) >= dies {
				return blobtest.Outage(op, key)
			}
			return nil
		}
		w.photos.Fail(die, nil)
		w.store.Fail(die, nil)
		_, err := open().Remove(t.Context(), p.ID, true)
		w.failIndex(false)
		w.failPhotos(false)
		w.pass(2 * time.Minute)
		x := open()
		if err := x.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, errStats := x.Stats(t.Context())
		_, errPhoto := w.photos.Head(t.Context(), pet.Key("cat", p.ID))
		_, errLook := x.Look(t.Context(), p.ID)
		state := fmt.Sprintf("dead at call %d, %v: %+v, photo %v, record %v, forgotten %d times", dies, err, s, errPhoto, errLook, forgotten.Load())
		w.pass(25 * time.Hour) // an intent of what was not decided on is left for its process, which may be frozen
		if err := x.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		intents, errList := w.store.List(t.Context(), "removals/", "", 10)
		switch {
		case errStats != nil || errList != nil || len(intents.Objects) > 0:
			t.Fatalf("%s: %v, %v, %d intents are left", state, errStats, errList, len(intents.Objects))
		case errLook == nil && (err == nil || s.Total != 3000 || errPhoto != nil):
			t.Errorf("%s: it is not as before", state)
		case errLook != nil && (!errors.Is(errLook, index.ErrBlocked) || s.Total != 1000 || !errors.Is(errPhoto, blob.ErrNotFound) || forgotten.Load() == 0):
			t.Errorf("%s: it is not finished", state)
		}
		if err == nil && calls.Load() < dies { // it lived
			if dies < 10 {
				t.Errorf("a removal makes %d calls only", dies)
			}
			return
		}
	}
}

// A change of weight that dies before any of its calls is finished by upkeep, or has not begun: the draw has what the record says.
func TestWeightChangesThatDieAreFinished(t *testing.T) {
	for dies := int64(1); ; dies++ {
		w := newWorld()
		p := photo(1, 2000)
		add(t, w.open(), p)
		var calls atomic.Int64
		die := func(op blobtest.Op, key string) error {
			if calls.Add(1) >= dies {
				return blobtest.Outage(op, key)
			}
			return nil
		}
		w.photos.Fail(die, nil)
		w.store.Fail(die, nil)
		_, err := w.open().Set(t.Context(), p.ID, 5000)
		w.failIndex(false)
		w.failPhotos(false)
		for _, later := range []time.Duration{2 * time.Minute, 25 * time.Hour} {
			w.pass(later)
			x := w.open()
			if err := x.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			s, errStats := x.Stats(t.Context())
			pic, errLook := x.Look(t.Context(), p.ID)
			if errStats != nil || errLook != nil || s.Total != uint64(pic.Weight) || err == nil && pic.Weight != 5000 {
				t.Errorf("dead at call %d, %v, %v after: the draw has %d, the record %d (%v, %v)", dies, err, later, s.Total, pic.Weight, errStats, errLook)
			}
		}
		if left, err := w.store.List(t.Context(), "removals/", "", 10); err != nil || len(left.Objects) > 0 {
			t.Fatalf("dead at call %d: %d intents are left, %v", dies, len(left.Objects), err)
		}
		if err == nil && calls.Load() < dies { // it lived
			if dies < 8 {
				t.Errorf("a change of weight makes %d calls only", dies)
			}
			return
		}
	}
}

// A block is on the picture, whatever it is called, until it is lifted.
func TestABlockHoldsForEveryLabel(t *testing.T) {
	w := newWorld()
	p := photo(1, 1000)
	add(t, w.open(), p)
	if _, err := w.open().Remove(t.Context(), p.ID, true); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	for _, label := range pet.Labels {
		if _, err := w.openLabel(label).Add(t.Context(), p); !errors.Is(err, index.ErrBlocked) {
			t.Errorf("as a %s: got %v, want ErrBlocked", label, err)
		}
	}
	if _, err := w.open().Remove(t.Context(), p.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.openLabel("dog").Add(t.Context(), p); err != nil {
		t.Errorf("as a dog after the block was lifted: %v", err)
	}
	if _, err := w.open().Add(t.Context(), p); !errors.Is(err, index.ErrRemoved) {
		t.Errorf("as a cat within 16 minutes: got %v, want ErrRemoved", err)
	}
	w.pass(16 * time.Minute)
	if r, err := w.open().Add(t.Context(), p); err != nil || r.Weight != 1000 {
		t.Errorf("as a cat after that: %+v, %v", r, err)
	}
}
