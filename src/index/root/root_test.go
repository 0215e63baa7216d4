package root

import (
	"bytes"
	"slices"
	"testing"

	"petpick/src/index/segment"
	"petpick/src/pet"
)

func numbered(i byte) pet.ID { return pet.ID{i, 15: byte(pet.JPEG)} }

func someRoot() *Root {
	row := segment.Row{N: 1000, Total: 500500, First: numbered(0), Last: numbered(255)}
	rows := []segment.Row{row, row}
	rows[0].Name, rows[1].Name = 7, 8
	return &Root{
		Version: 42, Epoch: 3, Rows: rows,
		Tail:      []segment.Entry{{ID: numbered(1), Weight: 5}, {ID: numbered(2), Weight: 6}},
		Overrides: []Override{{segment.Entry{ID: numbered(3), Weight: 0}, Held{334, 7}, 1000}, {segment.Entry{ID: numbered(4), Weight: 9}, Held{}, 2000}},
	}
}

func TestRootRoundTrip(t *testing.T) {
	r := someRoot()
	got, err := Decode(r.Encode(7))
	if err != nil || got.Version != 42 || !slices.Equal(got.Rows, r.Rows) || !slices.Equal(got.Tail, r.Tail) || !slices.Equal(got.Overrides, r.Overrides) || got.Epoch != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if bytes.Equal(r.Encode(1), r.Encode(2)) {
		t.Error("two roots with other nonces are equal: they would share an ETag")
	}
	if n, total := r.Counts(); n != 2002 || total != 2*500500+11+9-334 {
		t.Errorf("counts %d, %d", n, total)
	}
}

func FuzzDecodeRoot(f *testing.F) {
	f.Add(someRoot().Encode(9))
	f.Add((&Root{}).Encode(0))
	f.Add([]byte("PPRT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		if len(r.Tail)*tailSize+len(r.Rows)*rowSize+len(r.Overrides)*overrideSize > len(b) {
			t.Fatalf("more in memory than in %d bytes", len(b))
		}
	})
}
