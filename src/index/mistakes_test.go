package index

import (
	"errors"
	"sync"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/pet"
)

// Mistakes that are fatal in a protocol like this one and too rare for a storm to meet: each has a test that meets it.

// merging is a calm world with pictures in two segments, and overrides old enough to be absorbed.
func merging(t *testing.T) (*torn, *Index, *root) {
	t.Helper()
	w := newTorn(9)
	w.calm.Store(true)
	x := w.process()
	x.limits = limits{tail: 10, overrides: 50, segment: 1 << 20, merge: 2, absorb: 1}
	for i := range 40 {
		addPicture(t, x, i, 5)
	}
	for i := range 6 {
		id, _ := tortureID(i)
		if _, err := x.Set(t.Context(), id, 8); err != nil {
			t.Fatal(err)
		}
	}
	w.now.Add(int64(2 * time.Minute))
	r, err := w.root(t.Context())
	if err != nil || len(r.rows) < 2 || len(r.overrides) == 0 {
		t.Fatalf("%d segments, %d overrides, %v", len(r.rows), len(r.overrides), err)
	}
	return w, x, r
}

func oldOverrides(x *Index, r *root) []override {
	_, old := x.plan(r)
	return old
}

func addPicture(t *testing.T, x *Index, i int, weight pet.Weight) {
	t.Helper()
	id, body := tortureID(i)
	if _, err := x.Add(t.Context(), Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: weight}); err != nil {
		t.Fatal(err)
	}
}

func wantTruth(t *testing.T, w *torn, x *Index) {
	t.Helper()
	compareWithTruth(t.Context(), w, x, t.Errorf, func(int) bool { return true }, 60)
}

func TestMergeKeepsAnOverrideThatChanged(t *testing.T) {
	w, x, base := merging(t)
	outputs, absorbed, err := x.union(t.Context(), base.rows, oldOverrides(x, base))
	if err != nil || len(absorbed) == 0 {
		t.Fatal(len(absorbed), err)
	}
	if _, err := w.process().Set(t.Context(), absorbed[0].id, 2); err != nil {
		t.Fatal(err)
	}
	if done, err := x.replace(t.Context(), base, base.rows, outputs, absorbed); !done || err != nil {
		t.Fatal(done, err)
	}
	wantTruth(t, w, x)
}

func TestMergeKeepsAnOverrideWithAnEntryInTheJournal(t *testing.T) {
	w, x, base := merging(t)
	outputs, absorbed, err := x.union(t.Context(), base.rows, oldOverrides(x, base))
	if err != nil {
		t.Fatal(err)
	}
	// An ADD that is on its way again must meet the override when it is folded.
	if _, err := x.post(t.Context(), note{id: absorbed[0].id, add: true, weight: 5, date: w.clock()}); err != nil {
		t.Fatal(err)
	}
	if done, err := x.replace(t.Context(), base, base.rows, outputs, absorbed); !done || err != nil {
		t.Fatal(done, err)
	}
	if err := x.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTruth(t, w, x)
}

func TestMergeDoesNotAbsorbWhatItsInputsDoNotHold(t *testing.T) {
	w, x, base := merging(t)
	for i := range base.rows {
		inputs := base.rows[i : i+1]
		outputs, absorbed, err := x.union(t.Context(), inputs, oldOverrides(x, base))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range absorbed {
			if held, err := x.lookup(t.Context(), inputs[0], o.id); err != nil || uint32(held) != o.old {
				t.Errorf("%s was absorbed: the input holds %d of %d, %v", o.id, held, o.old, err)
			}
		}
		if i == 0 {
			if done, err := x.replace(t.Context(), base, inputs, outputs, absorbed); !done || err != nil {
				t.Fatal(done, err)
			}
			wantTruth(t, w, x)
		}
	}
}

func TestMergeGivesUpWhenItsInputsAreGone(t *testing.T) {
	w, x, base := merging(t)
	outputs, _, err := x.union(t.Context(), base.rows, nil) // none absorbed: only the inputs tell
	if err != nil {
		t.Fatal(err)
	}
	if err := w.process().merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done, err := x.replace(t.Context(), base, base.rows, outputs, nil); done || err != nil {
		t.Errorf("done %v, %v: another merge had replaced the inputs", done, err)
	}
	wantTruth(t, w, x)
}

// A merge that stalls for hours between its segments and its swap must not list what collect has deleted.
func TestCollectAgainstAStalledMerge(t *testing.T) {
	w, x, base := merging(t)
	outputs, absorbed, err := x.union(t.Context(), base.rows, oldOverrides(x, base))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.process().collect(t.Context()); err != nil { // young orphans stay
		t.Fatal(err)
	}
	if _, err := w.store.Head(t.Context(), x.segmentKey(outputs[0].name)); err != nil {
		t.Errorf("a segment that a merge has just written was collected: %v", err)
	}
	w.now.Add(int64(collectAge + time.Hour))
	if err := w.process().collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Head(t.Context(), x.segmentKey(outputs[0].name)); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("an orphan of three hours was not collected: %v", err)
	}
	if done, err := x.replace(t.Context(), base, base.rows, outputs, absorbed); done || err != nil {
		t.Errorf("done %v, %v: the root lists segments that were collected", done, err)
	}
	wantTruth(t, w, x)
}

// An ADD that lands late may have been overtaken by a removal, and its tombstone absorbed since.
func TestALateAddIsLookedAt(t *testing.T) {
	w := newTorn(9)
	w.calm.Store(true)
	x := w.process()
	id, _ := tortureID(1)
	if _, err := x.post(t.Context(), note{id: id, add: true, weight: 5, date: w.clock().Add(-lateAdd - 2*time.Second)}); err != nil {
		t.Fatal(err)
	}
	if err := x.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTruth(t, w, x) // there is no photo
}

// A blocked picture is not even published for a moment.
func TestABlockedPictureIsNotWritten(t *testing.T) {
	w := newTorn(9)
	w.calm.Store(true)
	x := w.process()
	addPicture(t, x, 1, 5)
	id, body := tortureID(1)
	if _, err := x.Remove(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	faulty := blobtest.NewFaulty(w.photos)
	faulty.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.Create {
			t.Errorf("%s was written", key)
		}
		return nil
	}, nil)
	x.photos = faulty
	if _, err := x.Add(t.Context(), Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: 5}); !errors.Is(err, ErrBlocked) {
		t.Errorf("got %v, want ErrBlocked", err)
	}
	wantTruth(t, w, x)
}

// A removal between an upload's two looks at the verdict: the upload sees it, and takes its photo back after the index has folded that.
func TestRemovalDuringAnUpload(t *testing.T) {
	for _, when := range []blobtest.Op{blobtest.Get, blobtest.Create} {
		w := newTorn(9)
		w.calm.Store(true)
		remover := w.process()
		faulty := blobtest.NewFaulty(w.photos)
		uploader := w.process()
		uploader.photos = faulty
		id, body := tortureID(1)
		var once sync.Once
		block := func(op blobtest.Op, key string) error {
			if op == when {
				once.Do(func() {
					if _, err := remover.Remove(t.Context(), id, true); err != nil && !errors.Is(err, ErrNoPicture) {
						t.Error(err)
					}
					err := remover.decide(t.Context(), id, func(verdict) (verdict, error) { return verdict{state: blocked, when: w.clock()}, nil })
					if err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		}
		faulty.Fail(block, block)
		if _, err := uploader.Add(t.Context(), Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: 5}); !errors.Is(err, ErrBlocked) {
			t.Errorf("removed at its %s: got %v, want ErrBlocked", when, err)
		}
		if _, err := w.photos.Head(t.Context(), pet.Key("cat", id)); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("removed at its %s: the photo is still there: %v", when, err)
		}
		wantTruth(t, w, remover)
	}
}
