package journal

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/pet"
)

func TestNotes(t *testing.T) {
	store := blob.NewMemory(nil)
	j := Open("cat", store, rand.New(rand.NewPCG(1, 2)), slog.New(slog.DiscardHandler))
	id := pet.NewID([32]byte{5}, pet.PNG)
	for _, n := range []Note{{ID: id}, {ID: id, Add: true, Weight: 1500, Date: time.UnixMilli(1767225600123)}} {
		got, err := Parse(n.name(77))
		if err != nil || got != n {
			t.Errorf("%+v: read back as %+v, %v", n, got, err)
		}
	}
	for _, bad := range []string{"", "x", "0000000000000001-zz-touch", "0000000000000001-" + id.String(), "0000000000000001-" + id.String() + "-touch-1",
		"0000000000000001-" + id.String() + "-add-1", "0000000000000001-" + id.String() + "-add-99999999-5", "1-" + id.String() + "-touch", "0000000000000001-" + id.String() + "-what"} {
		if _, err := Parse(bad); !errors.Is(err, box.ErrFormat) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	if _, err := store.Create(t.Context(), "journal/cat/garbage", nil, blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	if notes, complete, err := j.Read(t.Context()); err != nil || !complete || len(notes) != 0 {
		t.Errorf("a key that is not ours: %v %v %v", notes, complete, err)
	}
}

func FuzzParseNote(f *testing.F) {
	f.Add("0000000000000001-2d711642b726b04401627ca9fbac32f1-add-1500-1767225600123")
	f.Add("0000000000000001-2d711642b726b04401627ca9fbac32f1-touch")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := Parse(s); err == nil {
			if again, err := Parse(n.name(1)); err != nil || again != n {
				t.Fatalf("%q: %+v read back as %+v, %v", s, n, again, err)
			}
		}
	})
}
