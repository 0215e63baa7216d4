package pet_test

import (
	"crypto/sha256"
	"regexp"
	"strings"
	"testing"

	"petpick/src/pet"
)

func TestParseLabel(t *testing.T) {
	for _, s := range []string{"cat", "dog"} {
		if got, err := pet.ParseLabel(s); err != nil || string(got) != s {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "CAT", " cat ", "cat ", "bird", "cat\x00", "cats"} {
		if _, err := pet.ParseLabel(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestParseWeight(t *testing.T) {
	for s, want := range map[string]pet.Weight{
		"0": 0, "1": 1000, "2.5": 2500, "0.001": 1, "0.1": 100, "0.010": 10, "1000": 1_000_000, "16777.215": 1<<24 - 1, "16777": 16777000, "0.000": 0,
	} {
		if got, err := pet.ParseWeight(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "abc", "-1", "+1", "1e9", "NaN", "Inf", "0.0001", "16777.216", "99999", "100000", "01", "00", ".5", "1.", "1,5", " 1", "1 ",
		"0x10", "1_000", "١", strings.Repeat("9", 1000), "1.2.3",
	} {
		if got, err := pet.ParseWeight(s); err == nil {
			t.Errorf("%q was accepted as %d", s, got)
		}
	}
}

func TestWeightText(t *testing.T) {
	for w, want := range map[pet.Weight]string{0: "0", 1: "0.001", 1000: "1", 2500: "2.5", 10: "0.01", 10000: "10", pet.MaxWeight: "16777.215"} {
		got, err := w.MarshalJSON()
		if err != nil || string(got) != want {
			t.Errorf("%d: got %s, want %s", uint32(w), got, want)
		}
	}
}

// FuzzParseWeight holds the parser to the grammar of the contract, and its output to its input.
func FuzzParseWeight(f *testing.F) {
	for _, s := range []string{"1", "0.5", "16777.215", "-1", "1e9", "012"} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`^(0|[1-9][0-9]{0,4})(\.[0-9]{1,3})?$`)
	f.Fuzz(func(t *testing.T, s string) {
		w, err := pet.ParseWeight(s)
		if err == nil && !grammar.MatchString(s) {
			t.Fatalf("%q was accepted", s)
		}
		if err != nil {
			if grammar.MatchString(s) && len(strings.Split(s, ".")[0]) < 5 {
				t.Fatalf("%q was refused: %v", s, err)
			}
			return
		}
		if again, err := pet.ParseWeight(w.String()); err != nil || again != w {
			t.Fatalf("%q is %d, written %s, read back %d, %v", s, w, w, again, err)
		}
	})
}

func TestID(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	for _, typ := range []pet.Type{pet.JPEG, pet.PNG, pet.WebP} {
		id := pet.NewID(sum, typ)
		if id.Type() != typ || !strings.HasPrefix(id.String(), "2d711642b726b04401627ca9fbac32f") {
			t.Errorf("type %d: got %s", typ, id)
		}
		if got, err := pet.ParseID(id.String()); err != nil || got != id {
			t.Errorf("%s read back as %s, %v", id, got, err)
		}
	}
	if got, want := pet.Key("dog", pet.NewID(sum, pet.WebP)), "dog/2d711642b726b04401627ca9fbac32f3.webp"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, s := range []string{
		"", "2d711642b726b04401627ca9fbac32f", "2D711642b726b04401627ca9fbac32f1", "2d711642b726b04401627ca9fbac32f0",
		"2d711642b726b04401627ca9fbac32ff", "zz711642b726b04401627ca9fbac32f1", "2d711642b726b04401627ca9fbac32f1 ",
	} {
		if _, err := pet.ParseID(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestParseKey(t *testing.T) {
	const id = "b8220353d3988a43976ab3e83ba30881" // of a JPEG
	label, got, err := pet.ParseKey("cat/" + id + ".jpg")
	if err != nil || label != "cat" || got.String() != id || pet.Key(label, got) != "cat/"+id+".jpg" {
		t.Errorf("got %s %s, %v", label, got, err)
	}
	for _, bad := range []string{"", "cat", "cat/", "bird/" + id + ".jpg", "cat/" + id, "cat/" + id + ".png", "cat/" + id + ".jpg.jpg", "cat//" + id + ".jpg", "cat/" + id[:31] + ".jpg"} {
		if _, _, err := pet.ParseKey(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestIsMediaType(t *testing.T) {
	for media, want := range map[string]bool{"image/jpeg": true, "image/png": true, "image/webp": true, "": false, "image/gif": false, "IMAGE/PNG": false, "image/png; q=1": false} {
		if got := pet.IsMediaType(media); got != want {
			t.Errorf("%q: got %v", media, got)
		}
	}
}
