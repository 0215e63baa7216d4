package photo_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/image/webp"

	"petpick/src/pet"
	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

func publish(t *testing.T, data []byte) photo.Published {
	t.Helper()
	p, err := photo.NewInspector().Publish(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func decode(t *testing.T, data []byte) image.Image {
	t.Helper()
	img, err := decoded(data)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func decoded(data []byte) (image.Image, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xFF\xD8")):
		return jpeg.Decode(bytes.NewReader(data))
	case bytes.HasPrefix(data, []byte("\x89PNG")):
		return png.Decode(bytes.NewReader(data))
	}
	return webp.Decode(bytes.NewReader(data))
}

func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			if a.At(x, y) != b.At(x, y) {
				return false
			}
		}
	}
	return true
}

// wantPublished checks what holds for everything that is published: the same pixels, and nothing to take from it any more.
func wantPublished(t *testing.T, from []byte, p photo.Published) {
	t.Helper()
	if before, err := decoded(from); err == nil && !samePixels(before, decode(t, p.Body)) {
		t.Error("the pixels are not the same")
	}
	again, err := photo.NewInspector().Publish(t.Context(), p.Body)
	if err != nil || !bytes.Equal(again.Body, p.Body) || again.Width != p.Width || again.Height != p.Height || again.Type != p.Type {
		t.Errorf("publishing it again gives %d x %d and %d bytes, %v; want %d x %d and the same %d bytes",
			again.Width, again.Height, len(again.Body), err, p.Width, p.Height, len(p.Body))
	}
}

func TestSound(t *testing.T) {
	types := map[string]pet.Type{".jpg": pet.JPEG, ".png": pet.PNG, ".webp": pet.WebP}
	for _, name := range append(phototest.Sound(), phototest.Unknown()...) {
		t.Run(name, func(t *testing.T) {
			data := phototest.File(name)
			from := bytes.Clone(data)
			w, h := 40, 30
			if filepath.Ext(name) == ".png" {
				w, h = 20, 15
			}
			if slices.Contains(phototest.Turned(), name) {
				w, h = h, w
			}
			p := publish(t, data)
			if p.Type != types[filepath.Ext(name)] || p.Width != w || p.Height != h {
				t.Errorf("got type %d, %d x %d; want %d x %d", p.Type, p.Width, p.Height, w, h)
			}
			if !bytes.Equal(data, from) {
				t.Error("what was sent is changed")
			}
			if clean := slices.Contains(append(phototest.Clean(), phototest.Unknown()...), name); bytes.Equal(p.Body, data) != clean {
				t.Errorf("published as it was: %v; want %v", !clean, clean)
			}
			wantPublished(t, data, p)
			if trailing := publish(t, append(bytes.Clone(data), "trailing"...)); !bytes.Equal(trailing.Body, p.Body) {
				t.Error("bytes behind it make a difference")
			}
		})
	}
}

// Every cut of every file is refused, and as what it is: once the signature is there, unsound, before that no picture at all.
func TestTruncated(t *testing.T) {
	in := photo.NewInspector()
	for _, name := range append(phototest.Sound(), phototest.Unknown()...) {
		data := phototest.File(name)
		for cut := range len(data) {
			_, err := in.Publish(t.Context(), data[:cut])
			if cut < 3 && !errors.Is(err, photo.ErrType) || cut >= 12 && !errors.Is(err, photo.ErrUnsound) || err == nil {
				t.Fatalf("%s cut to %d of %d bytes: got %v", name, cut, len(data), err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	baseline, lossy, lossless, palette := phototest.File("baseline.jpg"), phototest.File("lossy.webp"), phototest.File("lossless.webp"), phototest.File("palette.png")
	replaced := func(in []byte, old, with string) []byte {
		if !bytes.Contains(in, []byte(old)) {
			t.Fatalf("%q is not there to be replaced", old)
		}
		return bytes.Replace(in, []byte(old), []byte(with), 1)
	}
	corrupt := bytes.Clone(palette)
	corrupt[len(corrupt)-20] ^= 0xFF
	at := bytes.Index(baseline, []byte("\xFF\xDA"))
	progressive := phototest.File("progressive.jpg")
	between := func(segment []byte) []byte {
		return slices.Insert(bytes.Clone(progressive), bytes.LastIndex(progressive, []byte("\xFF\xDA")), segment...)
	}
	idat := bytes.Index(palette, []byte("IDAT")) - 4
	scan := slices.Insert(bytes.Clone(baseline), len(baseline)-200, 0xFF, 0x00)
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
		{"no pixels", phototest.PNGClaiming(0, 10), photo.ErrUnsound, "no pixels"},
		{"2^31", phototest.PNGClaiming(1<<31, 1<<31), photo.ErrUnsound, "50 million"},
		{"header and data differ", phototest.PNGClaiming(2, 2), photo.ErrUnsound, "corrupt"},
		{"too many bytes", append(bytes.Clone(baseline), make([]byte, photo.MaxBytes)...), photo.ErrUnsound, "50 MB"},
		{"animated png", phototest.File("animated.png"), photo.ErrUnsound, "animated"},
		{"animated webp", phototest.File("animated.webp"), photo.ErrUnsound, "animated"},
		{"arithmetic-coded jpeg", replaced(baseline, "\xFF\xC0", "\xFF\xC9"), photo.ErrUnsound, "arithmetic-coded, a variant"},
		{"lossless jpeg", replaced(baseline, "\xFF\xC0", "\xFF\xC3"), photo.ErrUnsound, "variant"},
		{"12-bit jpeg", replaced(baseline, "\xFF\xC0\x00\x11\x08", "\xFF\xC0\x00\x11\x0C"), photo.ErrUnsound, "12 bits"},
		{"two frames", slices.Insert(bytes.Clone(baseline), at, baseline[bytes.Index(baseline, []byte("\xFF\xC0")):][:19]...), photo.ErrUnsound, "two frames"},
		{"corrupt scan", scan, photo.ErrUnsound, "corrupt"},
		{"half of a restart marker", replaced(phototest.File("restart.jpg"), "\xFF\xD0", "\xD0"), photo.ErrUnsound, "a restart marker is missing"},
		{"missing tables", replaced(baseline, "\xFF\xC4", "\xFF\xE5"), photo.ErrUnsound, "Huffman table is missing"},
		{"colours that contradict each other", phototest.InJPEG(baseline, phototest.Segment(0xEE, "Adobe\x00\x64\x00\x00\x00\x00\x00")), photo.ErrUnsound, "contradict"},
		{"colours behind the first scan", between(phototest.Segment(0xEE, "Adobe\x00\x64\x00\x00\x00\x00\x00")), photo.ErrUnsound, "behind its first scan"},
		{"quantization that changes between scans", between(phototest.Segment(0xDB, "\x00"+strings.Repeat("\x01", 64))), photo.ErrUnsound, "between scans"},
		{"interrupted picture data", slices.Concat(palette[:idat], phototest.Chunk("IDAT", "\x78"), phototest.Chunk("tEXt", "x\x00"), phototest.Chunk("IDAT", "\x9c"), palette[idat:]),
			photo.ErrUnsound, "interrupted"},
		{"corrupt png", corrupt, photo.ErrUnsound, "checksum"},
		{"corrupt text in a png", replaced(palette, "date:create", "date:CREATE"), photo.ErrUnsound, "checksum of its chunk \"tEXt\""},
		{"critical chunk", phototest.InPNG(palette, phototest.Chunk("CgBI", "\x50\x00\x20\x02")), photo.ErrUnsound, "CgBI"},
		{"webp of another size than its frame", phototest.InWebP(lossless, 41, 30, nil, nil), photo.ErrUnsound, "41 x 30, its frame 40 x 30"},
		{"webp without a frame", []byte("RIFF\x04\x00\x00\x00WEBP"), photo.ErrUnsound, "no picture data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := photo.NewInspector().Publish(t.Context(), c.data)
			var r *photo.Refusal
			if !errors.Is(err, c.kind) || !errors.As(err, &r) || !strings.Contains(r.Detail, c.detail) {
				t.Errorf("got %v, want %v with %q", err, c.kind, c.detail)
			}
		})
	}
}

// dirtied gives a picture of each type with bytes of EXIF, a profile, and whatever else can hold a text.
func dirtied(exif, icc []byte, text string) map[string][]byte {
	long := "http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta>" + text + "</x:xmpmeta>"
	segments := [][]byte{
		phototest.Segment(0xE0, "JFXX\x00\x10"+text), phototest.Segment(0xE1, "Exif\x00\x00"+string(exif)), phototest.Segment(0xE1, long),
		phototest.Segment(0xED, "Photoshop 3.0\x008BIM"+text), phototest.Segment(0xFE, text), phototest.Segment(0xE2, "MPF\x00"+text),
		phototest.Segment(0xE5, text), phototest.Segment(0xEF, text), phototest.Segment(0xEE, text), []byte(text), // the last between segments
		phototest.Segment(0xDB, "\x03"+(text + strings.Repeat(text, 64))[:64]), // a table that nothing uses
	}
	chunks := [][]byte{
		phototest.Chunk("tEXt", "Comment\x00"+text), phototest.Chunk("zTXt", "Comment\x00\x00"+text), phototest.Chunk("iTXt", "XML:com.adobe.xmp\x00\x00\x00\x00\x00"+text),
		phototest.Chunk("eXIf", string(exif)), phototest.Chunk("tIME", "\x07\xEA\x0B\x18\x0A\x0A\x0A"), phototest.Chunk("prVt", text), phototest.Chunk("caBX", text), phototest.Chunk("gAMA", text),
	}
	before, behind := []byte(nil), slices.Concat(phototest.RIFF("EXIF", string(exif)), phototest.RIFF("XMP ", long), phototest.RIFF("prVt", text))
	if icc != nil {
		segments = append(segments, phototest.Segment(0xE2, "ICC_PROFILE\x00\x02\x02"+string(icc[200:])), phototest.Segment(0xE2, "ICC_PROFILE\x00\x01\x02"+string(icc[:200])))
		chunks = append(chunks, phototest.Chunk("iCCP", text+"\x00\x00"+deflated(icc)))
		before = phototest.RIFF("ICCP", string(icc))
	}
	return map[string][]byte{
		"jpeg":          append(phototest.InJPEG(phototest.File("baseline.jpg"), segments...), text...),
		"jpeg, scans":   append(phototest.InJPEG(phototest.File("progressive.jpg"), segments...), text...),
		"png":           append(phototest.InPNG(phototest.File("rgba.png"), chunks...), text...),
		"webp":          append(phototest.InWebP(phototest.File("lossy.webp"), 40, 30, before, behind), text...),
		"webp, alpha":   append(phototest.InWebP(phototest.File("alpha.webp"), 40, 30, before, behind), text...),
		"webp lossless": append(phototest.InWebP(phototest.File("lossless.webp"), 40, 30, before, behind), text...),
	}
}

var cleanOf = map[string]string{
	"jpeg": "baseline.jpg", "jpeg, scans": "progressive.jpg", "png": "rgba.png", "webp": "lossy.webp", "webp, alpha": "alpha.webp", "webp lossless": "lossless.webp",
}

// Copies that differ only in metadata become one picture: the very file that never had any.
func TestMetadataGoes(t *testing.T) {
	const text = "SECRET serial number 4711, 47.1234 N 8.5678 E"
	for name, data := range dirtied(phototest.EXIF(binary.BigEndian, 1, text), nil, text) {
		t.Run(name, func(t *testing.T) {
			p := publish(t, data)
			if !bytes.Equal(p.Body, phototest.File(cleanOf[name])) {
				t.Errorf("got %q, want what %s has", p.Body, cleanOf[name])
			}
			wantPublished(t, data, p)
		})
	}
	for _, name := range phototest.Dirty() { // as exiftool and ImageMagick wrote them
		if p := publish(t, phototest.File(name)); bytes.Contains(p.Body, []byte("SECRET")) || bytes.Contains(p.Body, []byte("someone")) || bytes.Contains(p.Body, []byte("2026")) {
			t.Errorf("%s: got %q", name, p.Body)
		}
	}
}

// The orientation is all that stays of EXIF, in either byte order; a picture that is upright has none.
func TestOrientation(t *testing.T) {
	const text = "SECRET serial number 4711"
	for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
		for o := range uint16(10) {
			for name, data := range dirtied(phototest.EXIF(order, o, text), nil, text) {
				p := publish(t, data)
				w, h := decode(t, data).Bounds().Dx(), decode(t, data).Bounds().Dy()
				if o >= 5 && o <= 8 {
					w, h = h, w
				}
				exif := append([]byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"), 0, byte(o), 0, 0, 0, 0, 0, 0)
				if kept, want := bytes.Contains(p.Body, exif), o >= 2 && o <= 8; kept != want || bytes.Contains(p.Body, []byte("SECRET")) || p.Width != w || p.Height != h {
					t.Errorf("%s, %v, orientation %d: got %d x %d, orientation kept: %v; want %d x %d: %q", name, order, o, p.Width, p.Height, kept, w, h, p.Body)
				}
				wantPublished(t, data, p)
			}
		}
	}
}

// A picture with broken EXIF is an upright picture.
func TestBrokenEXIF(t *testing.T) {
	good := string(phototest.EXIF(binary.BigEndian, 6, "SECRET"))
	at := strings.Index(good, "\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06")
	for name, exif := range map[string]string{
		"empty": "", "cut in the header": good[:6], "cut in the directory": good[:at+8], "no byte order": "XX" + good[2:], "not 42": good[:3] + "+" + good[4:],
		"a directory far away": good[:4] + "\xFF\xFF\xFF\xFF" + good[8:], "a directory at the end": good[:4] + "\x00\x00\x00" + string(rune(len(good))) + good[8:],
		"a long": good[:at+3] + "\x04" + good[at+4:], "two of them": good[:at+7] + "\x02" + good[at+8:], "9": good[:at+9] + "\x09" + good[at+10:], "774": good[:at+8] + "\x03" + good[at+9:],
	} {
		for kind, data := range dirtied([]byte(exif), nil, "SECRET") {
			if p := publish(t, data); !bytes.Equal(p.Body, phototest.File(cleanOf[kind])) {
				t.Errorf("%s in %s: got %q", name, kind, p.Body)
			}
		}
	}
	// Entries that are claimed and not there end with the block.
	for kind, data := range dirtied([]byte(good[:8]+"\xFF\xFF"+good[10:]), nil, "SECRET") {
		if p := publish(t, data); p.Width >= p.Height && kind != "png" {
			t.Errorf("%s: got %d x %d, want it turned", kind, p.Width, p.Height)
		}
	}
}

func TestNobodyWaits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	big := phototest.JPEG(1, 2000, 2000)
	<-ctx.Done()
	if _, err := photo.NewInspector().Publish(ctx, big); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// A decoder does not go on when nobody waits for it any more.
func TestDecodingEndsWithTheContext(t *testing.T) {
	for _, data := range [][]byte{phototest.JPEG(1, 2000, 2000), phototest.PNG(1, 1000, 1000)} {
		ctx := &ending{Context: t.Context(), left: 20}
		if _, err := photo.NewInspector().Publish(ctx, data); !errors.Is(err, context.Canceled) || ctx.left > 0 {
			t.Errorf("got %v after %d looks, want the context's error", err, 20-ctx.left)
		}
	}
}

// ending is a context that ends after it was asked a number of times.
type ending struct {
	context.Context
	left int
}

func (c *ending) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}
