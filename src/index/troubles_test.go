package index

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index/journal"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
	"petpick/src/truth"
)

// Troubles that take longer, or are larger, than the scenarios.

func mustAdd(t *testing.T, x *Index, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := x.Add(t.Context(), photoOf(i, 5)); err != nil {
			t.Fatal(err)
		}
	}
}

// reindexWhile is a reindex in the middle of which something else happens.
func reindexWhile(ctx context.Context, x *Index, f func()) error {
	var once sync.Once
	return x.Reindex(ctx, func(Fault) {}, func(int) { once.Do(f) })
}

// More is uploaded while a reindex runs than there are overrides for: all of it is there when the reindex ends, and changes go on.
func TestReindexBesideManyUploads(t *testing.T) {
	w := newBuckets()
	x, up := w.process(), w.process()
	mustAdd(t, up, 0, 10)
	w.now.Add(int64(time.Hour))
	if err := reindexWhile(t.Context(), x, func() { mustAdd(t, up, 10, 60) }); err != nil {
		t.Fatal(err)
	}
	w.wantTruth(t, 60)
	if _, err := up.Remove(t.Context(), idOf(0), true); err != nil {
		t.Errorf("a removal afterwards: %v", err)
	}
	w.wantTruth(t, 60)
}

// A reindex that dies just after its swap has lost nothing.
func TestReindexThatDiesAfterItsSwap(t *testing.T) {
	w := newBuckets()
	up := w.process()
	mustAdd(t, up, 0, 4)
	w.now.Add(int64(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	x, store := w.process(), blobtest.NewFaulty(w.store)
	x.use(store, defaultMemory)
	store.Fail(nil, func(op blobtest.Op, _ string) error {
		if op == blobtest.Swap {
			cancel()
		}
		return nil
	})
	if err := reindexWhile(ctx, x, func() { mustAdd(t, up, 4, 20) }); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Fatal("it never swapped")
	}
	if err := w.process().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantTruth(t, 20)
}

// An upload beside every listing does not keep a reindex from its end.
func TestReindexDoesNotStarve(t *testing.T) {
	w := newBuckets()
	photos, n, listings := blobtest.NewFaulty(w.photos), 1, 0
	up, x := w.process(), w.processOn(photos, w.store)
	mustAdd(t, up, 0, 1)
	photos.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.List && n < 200 {
			mustAdd(t, up, n, n+1)
			n, listings = n+1, listings+1
		}
		return nil
	}, nil)
	if err := x.Reindex(t.Context(), func(Fault) {}, func(int) {}); err != nil {
		t.Fatal(err)
	}
	if listings > 20 {
		t.Errorf("%d listings", listings)
	}
	w.wantTruth(t, n)
}

// The youngest photo's PUT took seconds, and its ADD comes after a whole reindex: it is not in the index twice.
func TestReindexBesideASlowUpload(t *testing.T) {
	w := newBuckets()
	photos, store := blobtest.NewFaulty(w.photos), blobtest.NewFaulty(w.store)
	up := w.processOn(photos, store)
	photos.Fail(nil, func(op blobtest.Op, key string) error {
		if op == blobtest.Create && strings.HasPrefix(key, "cat/") {
			w.now.Add(int64(4 * time.Second))
		}
		return nil
	})
	var once sync.Once
	store.Fail(func(op blobtest.Op, key string) error {
		if strings.Contains(key, "-add-") {
			once.Do(func() {
				if err := w.process().Reindex(t.Context(), func(Fault) {}, func(int) {}); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}, nil)
	mustAdd(t, up, 1, 2)
	w.wantTruth(t, 2)
}

// intent leaves the intent of a removal that was cut short.
func (w *buckets) intent(t *testing.T, id pet.ID) {
	t.Helper()
	if _, err := w.store.Create(t.Context(), "removals/cat/"+id.String()+"-0123456789abcdef", nil, blob.Attr{}); err != nil {
		t.Fatal(err)
	}
}

// A removal that cannot be finished, for its verdict is damaged, does not hold up those behind it.
func TestOneBadIntentDoesNotHoldUpOthers(t *testing.T) {
	w := newBuckets()
	x := w.process()
	mustAdd(t, x, 0, 2)
	ids := []pet.ID{idOf(0), idOf(1)}
	slices.SortFunc(ids, pet.Compare)
	w.intent(t, ids[0])
	w.intent(t, ids[1])
	if _, err := w.photos.Create(t.Context(), "verdicts/cat/"+ids[0].String(), []byte("junk"), blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	if err := x.truth.Decide(t.Context(), ids[1], func(truth.Verdict) (truth.Verdict, error) {
		return truth.Verdict{State: truth.Blocked, When: w.clock()}, nil
	}); err != nil {
		t.Fatal(err)
	}
	w.now.Add(int64(2 * time.Minute))
	if err := x.Tend(t.Context()); !errors.Is(err, ErrFormat) {
		t.Errorf("upkeep does not say that a verdict is damaged: %v", err)
	}
	left, err := w.store.List(t.Context(), "removals/", "", 10)
	if err != nil || len(left.Objects) != 1 || !strings.Contains(left.Objects[0].Key, ids[0].String()) {
		t.Errorf("intents left: %v, %v", left.Objects, err)
	}
	if _, err := w.photos.Head(t.Context(), pet.Key("cat", ids[1])); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the bytes of the other are there: %v", err)
	}
}

// An upload that a block overtakes, and that cannot take its photo back: upkeep does.
func TestAnUploadThatCannotBeTakenBack(t *testing.T) {
	w := newBuckets()
	x := w.process()
	mustAdd(t, x, 1, 2)
	if _, err := x.Remove(t.Context(), idOf(1), false); err != nil {
		t.Fatal(err)
	}
	w.now.Add(int64(truth.Rest + time.Minute))
	photos, store := blobtest.NewFaulty(w.photos), blobtest.NewFaulty(w.store)
	up := w.processOn(photos, store)
	photos.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.Create && strings.HasPrefix(key, "cat/") {
			if _, err := x.Remove(t.Context(), idOf(1), true); err != nil {
				t.Error(err)
			}
		}
		return nil
	}, nil)
	store.Fail(func(op blobtest.Op, key string) error {
		if strings.HasPrefix(key, "journal/") {
			return blobtest.Outage(op, key)
		}
		return nil
	}, nil)
	if _, err := up.Add(t.Context(), photoOf(1, 5)); !errors.Is(err, ErrBlocked) {
		t.Errorf("got %v, want ErrBlocked", err)
	}
	w.wantGone(t, 1)
}

// wantGone: upkeep deletes the bytes.
func (w *buckets) wantGone(t *testing.T, i int) {
	t.Helper()
	w.now.Add(int64(2 * time.Minute))
	if err := w.process().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.photos.Head(t.Context(), pet.Key("cat", idOf(i))); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the bytes are still there: %v", err)
	}
}

// A remover that stands still after its intent, while upkeep passes by, and then cannot delete the bytes.
func TestARemovalThatIsLateIsFinished(t *testing.T) {
	w := newBuckets()
	x := w.process()
	mustAdd(t, x, 1, 2)
	photos, store := blobtest.NewFaulty(w.photos), blobtest.NewFaulty(w.store)
	late := w.processOn(photos, store)
	store.Fail(nil, func(op blobtest.Op, key string) error {
		if op == blobtest.Create && strings.HasPrefix(key, "removals/") {
			w.now.Add(int64(2 * time.Minute))
			if err := x.Tend(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	photos.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.Delete {
			return blobtest.Outage(op, key)
		}
		return nil
	}, nil)
	if _, err := late.Remove(t.Context(), idOf(1), true); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	w.wantGone(t, 1)
}

// Overrides that no merge can absorb, of pictures twice in two large segments, do not keep the others from being absorbed.
func TestOverridesThatCannotBeAbsorbed(t *testing.T) {
	w := newBuckets()
	x := w.process() // 16 in a segment, 12 overrides, 3 are worth a merge
	r := &root.Root{Version: 1}
	for _, numbers := range [][2]int{{0, 16}, {0, 8}, {16, 32}} {
		var pictures []segment.Entry
		for i := numbers[0]; i < numbers[1]; i++ {
			pictures = append(pictures, segment.Entry{ID: idOf(i), Weight: 5})
		}
		slices.SortFunc(pictures, func(a, b segment.Entry) int { return pet.Compare(a.ID, b.ID) })
		r.Rows = append(r.Rows, stored(t, x, pictures))
	}
	for i := range 8 { // the doubled ones, mended
		r.SetOverride(root.Override{Entry: segment.Entry{ID: idOf(i), Weight: 5}, Held: root.Held{Old: 10, In: r.Rows[1].Name}, At: 1})
	}
	for i := 16; i < 20; i++ { // and removals of pictures in the third segment
		r.SetOverride(root.Override{Entry: segment.Entry{ID: idOf(i), Weight: 0}, Held: root.Held{Old: 5, In: r.Rows[2].Name}, At: 1})
	}
	if _, err := w.store.Create(t.Context(), x.rootKey, r.Encode(1), blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := x.merge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if now, err := w.root(t.Context()); err != nil || len(now.Overrides) > 8 {
		t.Errorf("%d overrides are left, %v", len(now.Overrides), err)
	}
}

// prefixLimit is what S3 serves of a prefix: 5,500 reads a second, here of 15 ms each.
type prefixLimit struct {
	blob.Store
	mu   sync.Mutex
	next time.Time
}

func (l *prefixLimit) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	l.mu.Lock()
	at := l.next
	if now := time.Now(); at.Before(now) {
		at = now
	}
	l.next = at.Add(time.Second / 5500)
	l.mu.Unlock()
	timer := time.NewTimer(time.Until(at) + 15*time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return l.Store.GetRange(ctx, key, offset, n)
	case <-ctx.Done():
		return blob.Object{}, ctx.Err()
	}
}

// With a thousand segments that all may have any picture, each touch costs a thousand reads: some are done in every fold.
func TestTouchesOverManySegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		x := Open(Config{Label: "cat", Photos: blob.NewMemory(nil), Index: store})
		r := &root.Root{Version: 1}
		for i := range 1000 {
			var first, last pet.ID
			first[13], first[14], first[15] = byte(i>>8), byte(i), byte(pet.PNG)
			last = first
			last[0] = 0xFF
			r.Rows = append(r.Rows, stored(t, x, []segment.Entry{{ID: first, Weight: 5}, {ID: last, Weight: 5}}))
		}
		if _, err := store.Create(t.Context(), x.rootKey, r.Encode(1), blob.Attr{}); err != nil {
			t.Fatal(err)
		}
		x.use(&prefixLimit{Store: store}, defaultMemory)
		for i := range 24 {
			if _, err := x.journal.Post(t.Context(), journal.Note{ID: idOf(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			if _, err := x.fold(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		left, err := store.List(t.Context(), "journal/", "", 1000)
		if err != nil || len(left.Objects) > 0 {
			t.Errorf("%d of 24 touches are left after 10 folds, %v", len(left.Objects), err)
		}
	})
}

// A merge that has nothing to absorb after all leaves no copy of its input.
func TestAMergeInVainLeavesNothing(t *testing.T) {
	w := newBuckets()
	x := w.process() // 16 in a segment, 3 overrides are worth a merge
	var pictures []segment.Entry
	for i := range 16 {
		pictures = append(pictures, segment.Entry{ID: idOf(i), Weight: 5})
	}
	slices.SortFunc(pictures, func(a, b segment.Entry) int { return pet.Compare(a.ID, b.ID) })
	r := &root.Root{Version: 1, Rows: []segment.Row{stored(t, x, pictures), stored(t, x, pictures)}}
	for _, p := range pictures[:3] { // each in both: no merge of one of them may absorb it
		r.SetOverride(root.Override{Entry: p, Held: root.Held{Old: 10, In: r.Rows[0].Name}, At: 1})
	}
	if _, err := w.store.Create(t.Context(), x.rootKey, r.Encode(1), blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	if done, err := x.mergeOnce(t.Context()); done || err != nil {
		t.Fatalf("merged: %v, %v", done, err)
	}
	page, err := w.store.List(t.Context(), "index/cat/segments/", "", 1000)
	if err != nil || len(page.Objects) != 2 {
		t.Errorf("%d segments, %v, want 2", len(page.Objects), err)
	}
}
