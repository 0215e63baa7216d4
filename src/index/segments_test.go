package index

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/index/drawtest"
	"petpick/src/index/journal"
	"petpick/src/index/segment"
	"petpick/src/pet"
	"petpick/src/truth"
)

// Draws over everything that a root can have: several segments, some in memory and some not, a tail, changed weights, removals, a
// paused heavyweight.
func TestDistributionOverSegments(t *testing.T) {
	for name, memory := range map[string]int64{"all in memory": 1 << 30, "one in memory": 40 * segment.Bytes, "none in memory": 1} {
		for _, absorb := range []int{1000, 1} { // with overrides, and with them absorbed
			t.Run(fmt.Sprintf("%s, absorb %d", name, absorb), func(t *testing.T) {
				w := newBuckets()
				x := w.process()
				x.limits = limits{tail: 30, overrides: 100, segment: 1 << 20, merge: 1000, absorb: absorb}
				rnd := rand.New(rand.NewPCG(5, 5))
				for i := range 150 {
					id, body := picture(i)
					weight := pet.Weight(1 + rnd.IntN(50))
					if i%40 == 7 {
						weight = 4000 // whose pausing supersedes most of its segment
					}
					if _, err := x.Add(t.Context(), Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: weight}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 150 {
					id, _ := picture(i)
					var err error
					switch {
					case i%40 == 7:
						_, err = x.Set(t.Context(), id, 0)
					case i%11 == 3:
						_, err = x.Set(t.Context(), id, pet.Weight(1+rnd.IntN(90)))
					case i%13 == 5:
						_, err = x.Remove(t.Context(), id, false)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				w.now.Add(int64(2 * time.Minute))
				if err := x.Tend(t.Context()); err != nil {
					t.Fatal(err)
				}
				reader := Open(Config{Label: "cat", Photos: w.photos, Index: w.store, Now: w.clock, Memory: memory})
				want, counts := map[pet.ID]float64{}, map[pet.ID]int{}
				for i := range 150 {
					id, _ := picture(i)
					truth, err := x.truth.Weigh(t.Context(), id)
					if err != nil {
						t.Fatal(err)
					}
					want[id] = float64(truth)
				}
				src := rand.NewPCG(7, 7)
				for range 100_000 {
					p, err := reader.Draw(t.Context(), src)
					if err != nil {
						t.Fatal(err)
					}
					counts[p.ID]++
				}
				if z := drawtest.Z(counts, want); z > drawtest.MaxZ {
					t.Errorf("z = %.1f", z)
				}
				r, err := w.root(t.Context())
				if err != nil || len(r.Rows) < 2 && absorb > 1 || (len(r.Overrides) > 0) != (absorb > 1) {
					t.Errorf("%d segments, %d overrides, %v: the test tests something else", len(r.Rows), len(r.Overrides), err)
				}
			})
		}
	}
}

// More changes than there are overrides for: they wait, new pictures do not, and upkeep works it all off.
func TestMoreChangesThanOverrides(t *testing.T) {
	w := newBuckets()
	x := w.process()
	x.limits = limits{tail: 50, overrides: 20, segment: 1 << 20, merge: 4, absorb: 10}
	for i := range 300 {
		id, body := picture(i)
		if _, err := x.Add(t.Context(), Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: 5}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 { // verdicts whose writers gave up waiting
		id, _ := picture(i)
		if err := x.truth.Decide(t.Context(), id, func(truth.Verdict) (truth.Verdict, error) {
			return truth.Verdict{State: truth.Live, Weight: 9}, nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.journal.Post(t.Context(), journal.Note{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	id, body := picture(1000)
	if _, err := x.Add(t.Context(), Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: 5}); err != nil {
		t.Errorf("a new picture among them: %v", err)
	}
	for range 30 {
		if err := x.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.now.Add(int64(2 * time.Minute))
	}
	w.wantTruth(t, 300)
	if notes, _, err := x.journal.Read(t.Context()); err != nil || len(notes) > 0 {
		t.Errorf("%d entries are left, %v", len(notes), err)
	}
}

// A crowd of entries longer than one reading of the journal: none starves, and the tail is spilled all the same.
func TestLongJournal(t *testing.T) {
	w := newBuckets()
	x := w.process()
	x.limits = limits{tail: 100, overrides: 100, segment: 1 << 20, merge: 4, absorb: 10}
	const n = 3*journal.MaxNotes + 77
	for i := range n {
		if _, err := x.journal.Post(t.Context(), journal.Note{ID: idAt(i, n), Add: true, Weight: 1, Date: w.clock()}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := x.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := w.root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if pictures, total := r.Counts(); pictures != n || total != n || len(r.Rows) == 0 {
		t.Errorf("%d pictures of total %d in %d segments, want %d", pictures, total, len(r.Rows), n)
	}
}

// Upkeep whose deletions fail ends, and says so.
func TestTendWhenNothingCanBeDeleted(t *testing.T) {
	w := newBuckets()
	x := w.process()
	x.use(undeletable{x.store}, defaultMemory)
	if _, err := x.journal.Post(t.Context(), journal.Note{ID: idAt(1, 3), Add: true, Weight: 1, Date: w.clock()}); err != nil {
		t.Fatal(err)
	}
	if err := x.Tend(t.Context()); err == nil {
		t.Error("no error")
	}
	if r, err := w.root(t.Context()); err != nil || r.Version > 5 || len(r.Tail) != 1 {
		t.Errorf("root version %d, %d in the tail, %v", r.Version, len(r.Tail), err)
	}
}

type undeletable struct{ blob.Store }

func (undeletable) DeleteMany(context.Context, []string) error { return errors.New("denied") }
