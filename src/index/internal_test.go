package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"petpick/src/blob"
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

func someRoot() *root {
	row := segment.Row{N: 1000, Total: 500500, First: idAt(0, 1000), Last: idAt(999, 1000)}
	rows := []segment.Row{row, row}
	rows[0].Name, rows[1].Name = 7, 8
	return &root{
		version: 42, epoch: 3, rows: rows,
		tail:      []segment.Entry{{ID: idAt(1, 9), Weight: 5}, {ID: idAt(2, 9), Weight: 6}},
		overrides: []override{{segment.Entry{ID: idAt(3, 9), Weight: 0}, held{334, 7}, 1000}, {segment.Entry{ID: idAt(4, 9), Weight: 9}, held{}, 2000}},
	}
}

func TestRootRoundTrip(t *testing.T) {
	r := someRoot()
	got, err := decodeRoot(r.encode(7))
	if err != nil || got.version != 42 || !slices.Equal(got.rows, r.rows) || !slices.Equal(got.tail, r.tail) || !slices.Equal(got.overrides, r.overrides) || got.epoch != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if bytes.Equal(r.encode(1), r.encode(2)) {
		t.Error("two roots with other nonces are equal: they would share an ETag")
	}
	if n, total := r.counts(); n != 2002 || total != 2*500500+11+9-334 {
		t.Errorf("counts %d, %d", n, total)
	}
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
	var absorbed []override
	for i := range 200 {
		id := idAt(i*70, n*segments)
		if i%4 == 0 {
			id[14] = 1 // one that no segment has
		}
		o := override{segment.Entry{ID: id, Weight: pet.Weight(i % 3)}, held{old: uint32(want[id])}, 0}
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

func FuzzDecodeRoot(f *testing.F) {
	f.Add(someRoot().encode(9))
	f.Add((&root{}).encode(0))
	f.Add([]byte("PPRT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err != nil {
			return
		}
		if len(r.tail)*tailSize+len(r.rows)*rowSize+len(r.overrides)*overrideSize > len(b) {
			t.Fatalf("more in memory than in %d bytes", len(b))
		}
	})
}
