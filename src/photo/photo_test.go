package photo_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"petpick/src/pet"
	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

func TestSoundPictures(t *testing.T) {
	in := photo.NewInspector()
	types := map[string]pet.Type{"jpg": pet.JPEG, "png": pet.PNG, "webp": pet.WebP}
	for _, name := range phototest.Sound() {
		_, ext, _ := strings.Cut(name, ".")
		w, h := 40, 30
		if ext == "png" {
			w, h = 20, 15
		}
		info, err := in.Inspect(t.Context(), phototest.File(name))
		if err != nil || info != (photo.Info{Type: types[ext], Width: w, Height: h}) {
			t.Errorf("%s: got %+v, %v; want %s %dx%d", name, info, err, ext, w, h)
		}
		trailing := append(bytes.Clone(phototest.File(name)), "trailing"...)
		if _, err := in.Inspect(t.Context(), trailing); err != nil {
			t.Errorf("%s with trailing bytes: %v", name, err)
		}
	}
}

// Every cut of every file is refused, and as what it is: once the signature is there, unsound, before that no picture at all.
func TestTruncated(t *testing.T) {
	in := photo.NewInspector()
	for _, name := range phototest.Sound() {
		data := phototest.File(name)
		for cut := range len(data) {
			if strings.HasSuffix(name, ".jpg") && cut >= len(data)-2 {
				break // without its last marker a JPEG has all its pixels: both answers are right
			}
			if strings.HasSuffix(name, ".png") && cut >= len(data)-4 {
				break // likewise without the checksum of the empty last chunk
			}
			_, err := in.Inspect(t.Context(), data[:cut])
			if cut < 3 && !errors.Is(err, photo.ErrType) || cut >= 12 && !errors.Is(err, photo.ErrUnsound) || err == nil {
				t.Fatalf("%s cut to %d of %d bytes: got %v", name, cut, len(data), err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	lossy := phototest.File("lossy.webp")
	arithmetic := bytes.Replace(phototest.File("baseline.jpg"), []byte{0xFF, 0xC0}, []byte{0xFF, 0xC9}, 1)
	corrupt := bytes.Clone(phototest.File("palette.png"))
	corrupt[len(corrupt)-20] ^= 0xFF
	for _, c := range []struct {
		name   string
		data   []byte
		kind   error
		detail string
	}{
		{"empty", nil, photo.ErrType, "not a JPEG, PNG or WebP"},
		{"text", []byte("a text file named cat.jpg"), photo.ErrType, "content decides"},
		{"html", []byte("<html><script>alert(1)</script>"), photo.ErrType, ""},
		{"gif", []byte("GIF89a\x01\x00\x01\x00"), photo.ErrType, ""},
		{"riff that is not webp", append([]byte("RIFF\x10\x00\x00\x00WAVE"), lossy[12:]...), photo.ErrType, ""},
		{"60,000 x 60,000", phototest.PNGClaiming(60_000, 60_000), photo.ErrUnsound, "60000 x 60000 pixels; the limits are 50 million"},
		{"long side", phototest.PNGClaiming(65_536, 1), photo.ErrUnsound, "65535 on a side"},
		{"no pixels", phototest.PNGClaiming(0, 10), photo.ErrUnsound, ""},
		{"2^31", phototest.PNGClaiming(1<<31, 1<<31), photo.ErrUnsound, ""},
		{"header and data differ", phototest.PNGClaiming(2, 2), photo.ErrUnsound, ""},
		{"animated png", phototest.File("animated.png"), photo.ErrUnsound, "animated"},
		{"animated webp", phototest.File("animated.webp"), photo.ErrUnsound, "animated"},
		{"arithmetic-coded jpeg", arithmetic, photo.ErrUnsound, "variant"},
		{"corrupt png", corrupt, photo.ErrUnsound, "corrupt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := photo.NewInspector().Inspect(t.Context(), c.data)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.detail) {
				t.Errorf("got %v, want %v with %q", err, c.kind, c.detail)
			}
		})
	}
}

// The pixel limit is checked before memory is spent, also where a small header hides a huge frame.
func TestHugeClaimsAllocateNothing(t *testing.T) {
	hidden := bytes.Clone(phototest.File("extended.webp"))
	at := bytes.Index(hidden, []byte("VP8 "))
	copy(hidden[at+14:], []byte{0xFF, 0x3F, 0xFF, 0x3F}) // 16,383 x 16,383 in a canvas of 40 x 30
	lossless := bytes.Clone(phototest.File("lossless.webp"))
	canvas := []byte("VP8X\x0A\x00\x00\x00\x00\x00\x00\x00\x27\x00\x00\x1D\x00\x00")
	copy(lossless[21:], []byte{0xFF, 0xFF, 0xFF, 0x0F})
	lossless = append(append(bytes.Clone(lossless[:12]), canvas...), lossless[12:]...)
	lossless[4] += byte(len(canvas))
	in := photo.NewInspector()
	for name, data := range map[string][]byte{
		"png": phototest.PNGClaiming(60_000, 60_000), "webp, lossy frame": hidden, "webp, lossless frame": lossless,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := in.Inspect(t.Context(), data)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 || !errors.Is(err, photo.ErrUnsound) {
			t.Errorf("%s: %d bytes allocated; %v", name, got, err)
		}
	}
}

// A small file can have thousands of scans, each of which walks all pixels.
func TestScanBomb(t *testing.T) {
	data := phototest.File("progressive.jpg")
	scan := bytes.LastIndex(data, []byte{0xFF, 0xDA})
	one := data[scan : len(data)-2]
	bomb := bytes.Clone(data[:scan])
	for range 5000 {
		bomb = append(bomb, one...)
	}
	bomb = append(bomb, 0xFF, 0xD9)
	if _, err := photo.NewInspector().Inspect(t.Context(), bomb); !errors.Is(err, photo.ErrUnsound) || !strings.Contains(err.Error(), "scans") {
		t.Errorf("got %v", err)
	}
}

// A decoder does not go on when nobody waits for it any more.
func TestDecodingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	big := phototest.JPEG(1, 2000, 2000)
	<-ctx.Done()
	if _, err := photo.NewInspector().Inspect(ctx, big); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestWaitingForMemoryEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := photo.NewInspector().Inspect(ctx, phototest.JPEG(1, 8, 8)); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzInspect(f *testing.F) {
	for _, name := range append(phototest.Sound(), "animated.png", "animated.webp") {
		f.Add(phototest.File(name))
	}
	in := photo.NewInspector()
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := in.Inspect(t.Context(), data)
		if err == nil && (!info.Type.Known() || info.Width < 1 || info.Height < 1 || info.Width*info.Height > photo.MaxPixels) {
			t.Fatalf("accepted as %+v", info)
		}
		if err != nil && !errors.Is(err, photo.ErrType) && !errors.Is(err, photo.ErrUnsound) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}
