package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// buckets are the truth and the index in memory, with a clock that tests turn.
type buckets struct {
	photos, store *blob.Memory
	now           atomic.Int64
}

func newBuckets() *buckets {
	w := &buckets{}
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w.photos, w.store = blob.NewMemory(w.clock), blob.NewMemory(w.clock)
	return w
}

func (w *buckets) clock() time.Time { return time.Unix(0, w.now.Load()) }

func (w *buckets) process() *Index { return w.processOn(w.photos, w.store) }

func (w *buckets) processOn(photos, store blob.Store) *Index {
	x := Open(Config{Label: "cat", Photos: photos, Index: store, Now: w.clock})
	x.limits = limits{tail: 6, overrides: 12, segment: 16, merge: 2, absorb: 3}
	return x
}

// picture is the i-th of the pictures that tests upload.
func picture(i int) (pet.ID, []byte) {
	body := binary.BigEndian.AppendUint64(nil, uint64(i))
	return pet.NewID(sha256.Sum256(body), pet.PNG), body
}

func photoOf(i int, weight pet.Weight) Photo {
	id, body := picture(i)
	return Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: weight}
}

func (w *buckets) root(ctx context.Context) (*root.Root, error) {
	o, err := w.store.Get(ctx, "index/cat/root", "")
	if errors.Is(err, blob.ErrNotFound) {
		return &root.Root{}, nil
	}
	if err != nil {
		return nil, err
	}
	return root.Decode(o.Body)
}

// mass is what a reader of a root would draw: for every picture, its weight. It checks what is true of every root: errors begin with a
// word for the promise that is broken.
func (w *buckets) mass(ctx context.Context, r *root.Root) (map[pet.ID]pet.Weight, error) {
	mass := map[pet.ID]pet.Weight{}
	add := func(id pet.ID, weight pet.Weight, where string) error {
		if mass[id] > 0 {
			return fmt.Errorf("doubled: %s is in the index twice: again in %s, root version %d", id, where, r.Version)
		}
		if weight > 0 {
			mass[id] = weight
		}
		return nil
	}
	old, in := map[pet.ID]uint32{}, map[pet.ID]uint64{}
	for _, row := range r.Rows {
		o, err := w.store.Get(ctx, fmt.Sprintf("index/cat/segments/%016x", row.Name), "")
		if err != nil {
			return nil, fmt.Errorf("dangling-segment: root version %d lists it: %w", r.Version, err)
		}
		s, err := segment.Decode(o.Body, row)
		if err != nil {
			return nil, fmt.Errorf("format: %w", err)
		}
		for p := range s.All() {
			if _, overridden := root.FindOverride(r.Overrides, p.ID); overridden {
				old[p.ID] += uint32(p.Weight)
				in[p.ID] = row.Name
			} else if err := add(p.ID, p.Weight, "a segment"); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range r.Tail {
		if err := add(t.ID, t.Weight, "the tail"); err != nil {
			return nil, err
		}
	}
	for _, o := range r.Overrides {
		if err := add(o.ID, o.Weight, "overrides"); err != nil {
			return nil, err
		}
		if old[o.ID] != o.Old || in[o.ID] != o.In {
			return nil, fmt.Errorf("superseded: override of %s supersedes %d in %x, the root says %d in %x, root version %d", o.ID, old[o.ID], in[o.ID], o.Old, o.In, r.Version)
		}
	}
	if n, total := r.Counts(); n != len(mass) || total != sum(mass) {
		return nil, fmt.Errorf("counts: root version %d counts %d pictures of %d, there are %d of %d", r.Version, n, total, len(mass), sum(mass))
	}
	return mass, nil
}

func sum(mass map[pet.ID]pet.Weight) (total uint64) {
	for _, w := range mass {
		total += uint64(w)
	}
	return total
}

// wantTruth compares what the index says of the first n pictures with the truth.
func (w *buckets) wantTruth(t *testing.T, n int) {
	t.Helper()
	r, err := w.root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mass, err := w.mass(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	x := w.process()
	for i := range n {
		id, _ := picture(i)
		if truth, err := x.truth.Weigh(t.Context(), id); err != nil || mass[id] != truth {
			t.Errorf("picture %d, %s: the index says %d, the truth %d, %v", i, id, mass[id], truth, err)
		}
	}
}
