package index

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// idAt spreads n ids over the whole range, as hashes are.
func idAt(i, n int) pet.ID {
	var id pet.ID
	binary.BigEndian.PutUint64(id[:], uint64(i)*(^uint64(0)/uint64(n)))
	id[15] = byte(pet.JPEG)
	return id
}

// stored puts pictures into a segment.
func stored(tb testing.TB, x *Index, pictures []segment.Entry) segment.Row {
	tb.Helper()
	w := x.segments.Writer(len(pictures))
	for _, p := range pictures {
		if err := w.Add(tb.Context(), p); err != nil {
			tb.Fatal(err)
		}
	}
	rows, err := w.Close(tb.Context())
	if err != nil || len(rows) != 1 {
		tb.Fatal(rows, err)
	}
	return rows[0]
}

// A union of segments has every picture once, what is absorbed in place of what it supersedes.
func TestUnion(t *testing.T) {
	x := Open(Config{Label: "cat", Index: blob.NewMemory(nil)})
	rnd := rand.New(rand.NewPCG(7, 7))
	want := map[pet.ID]pet.Weight{}
	var inputs []segment.Row
	const segments, n = 5, 3000
	for s := range segments {
		var pictures []segment.Entry
		for i := range n {
			id, w := idAt(i*segments+s, n*segments), pet.Weight(1+rnd.Uint32N(1000))
			pictures = append(pictures, segment.Entry{ID: id, Weight: w})
			want[id] = w
		}
		inputs = append(inputs, stored(t, x, pictures))
	}
	var absorbed []root.Override
	for i := range 200 {
		id := idAt(i*70, n*segments)
		if i%4 == 0 {
			id[14] = 1 // one that no segment has
		}
		o := root.Override{Entry: segment.Entry{ID: id, Weight: pet.Weight(i % 3)}, Held: root.Held{Old: uint32(want[id])}, At: 0}
		absorbed = append(absorbed, o)
		want[id] = o.Weight
	}
	rows, got1, err := x.union(t.Context(), inputs, absorbed)
	if err != nil || len(rows) != 1 || len(got1) != len(absorbed) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if err := x.segments.Load(t.Context(), rows[0]); err != nil {
		t.Fatal(err)
	}
	got := x.segments.Table(rows[0].Name)
	alive := 0
	for id, w := range want {
		if w > 0 {
			alive++
		}
		if got.Weight(id) != w {
			t.Fatalf("%s: got %d, want %d", id, got.Weight(id), w)
		}
	}
	if n := len(slices.Collect(got.All())); n != alive {
		t.Errorf("%d pictures, want %d", n, alive)
	}
	if _, _, err := x.union(t.Context(), append(inputs, inputs[0]), nil); !errors.Is(err, ErrFormat) {
		t.Errorf("a picture in two segments: got %v, want ErrFormat", err)
	}
}
