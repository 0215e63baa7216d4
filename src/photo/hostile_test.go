package photo_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

func deflated(b []byte) string {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.String()
}

// profileOf reads the profile of what was published by the book, not as the package does.
func profileOf(t *testing.T, body []byte) []byte {
	t.Helper()
	if i := bytes.Index(body, []byte("ICC_PROFILE\x00\x01\x01")); i >= 0 {
		return body[i+14:][:int(binary.BigEndian.Uint16(body[i-2:]))-16]
	}
	if i := bytes.Index(body, []byte("ICCP")); i >= 0 {
		return body[i+8:][:binary.LittleEndian.Uint32(body[i+4:])]
	}
	i := bytes.Index(body, []byte("iCCP"))
	if i < 0 {
		return nil
	}
	z, err := zlib.NewReader(bytes.NewReader(body[i+9:]))
	if err != nil {
		t.Fatal(err)
	}
	icc, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return icc
}

// A profile stays in each type as what converts colours, and the serial number in it goes.
func TestProfile(t *testing.T) {
	const text = "SECRET serial number 4711"
	icc := phototest.Profile(text)
	var first []byte
	for name, data := range dirtied(phototest.EXIF(binary.LittleEndian, 8, text), icc, text) {
		p := publish(t, data)
		wantPublished(t, data, p)
		got := profileOf(t, p.Body)
		if first == nil {
			first = got
		}
		if len(got) < 132 || !bytes.Equal(got, first) || int(binary.BigEndian.Uint32(got)) != len(got) || string(got[36:40]) != "acsp" {
			t.Fatalf("%s: got %q, want the same as in the others: %q", name, got, first)
		}
		if bytes.Contains(p.Body, []byte("SECR")) || bytes.Contains(got, []byte("SECR")) || bytes.Contains(got, []byte("4711")) {
			t.Errorf("%s: got %q", name, p.Body)
		}
		for _, tag := range []string{"rXYZ", "gXYZ", "bXYZ", "wtpt", "rTRC", "gTRC", "bTRC"} {
			if before, after := tagOf(icc, tag), tagOf(got, tag); len(after) == 0 || !bytes.HasPrefix(before, after) {
				t.Errorf("%s: %s: got %q, want %q", name, tag, after, before)
			}
		}
		if tagOf(got, "mmod") != nil || tagOf(got, "desc") == nil || tagOf(got, "cprt") == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func tagOf(icc []byte, name string) []byte {
	for i := range int(binary.BigEndian.Uint32(icc[128:])) {
		if e := icc[132+12*i:]; string(e[:4]) == name {
			return icc[binary.BigEndian.Uint32(e[4:]):][:binary.BigEndian.Uint32(e[8:])]
		}
	}
	return nil
}

// What is no profile goes, for decoders ignore it; one over the limit refuses the picture, for its colours would change.
func TestBrokenProfile(t *testing.T) {
	good := phototest.Profile("SECRET serial number 4711")
	with := func(at int, b ...byte) []byte {
		icc := bytes.Clone(good)
		copy(icc[at:], b)
		return icc
	}
	for name, icc := range map[string][]byte{
		"no signature": with(36, 'X'), "longer than it is": with(0, 0, 0, 0xFF), "shorter than its table": with(0, 0, 0, 0, 140), "a million tags": with(128, 0, 0x0F, 0x42, 0x40),
		"no tags": with(128, 0, 0, 0, 0), "a tag behind the end": with(132+4, 0xFF, 0xFF, 0xFF, 0xFF), "a tag in the header": with(132+4, 0, 0, 0, 0), "nothing but text": bytes.Repeat([]byte("SECRET"), 100),
	} {
		for kind, data := range dirtied(nil, icc, "SECRET") {
			if p := publish(t, data); !bytes.Equal(p.Body, phototest.File(cleanOf[kind])) {
				t.Errorf("%s in %s: got %q", name, kind, p.Body)
			}
		}
	}
	big := make([]byte, photo.MaxProfile+1)
	copy(big, with(0, 0, 0x40, 0, 1))
	var segments [][]byte
	for i, piece := range slices.Collect(slices.Chunk(big, 65_000)) {
		segments = append(segments, phototest.Segment(0xE2, "ICC_PROFILE\x00"+string([]byte{byte(i + 1), 65})+string(piece)))
	}
	for kind, data := range map[string][]byte{
		"jpeg": phototest.InJPEG(phototest.File("baseline.jpg"), segments...),
		"png":  phototest.InPNG(phototest.File("rgba.png"), phototest.Chunk("iCCP", "x\x00\x00"+deflated(big))),
		"webp": phototest.InWebP(phototest.File("lossy.webp"), 40, 30, phototest.RIFF("ICCP", string(big)), nil),
	} {
		if _, err := photo.NewInspector().Publish(t.Context(), data); !errors.Is(err, photo.ErrUnsound) || !strings.Contains(err.Error(), "4 MiB") {
			t.Errorf("a profile over the limit in a %s: got %v", kind, err)
		}
	}
}

// A file that is a picture and something else is only a picture afterwards.
func TestPolyglots(t *testing.T) {
	for kind, payload := range map[string]string{
		"html": "<!DOCTYPE html><html><body onload=alert(1)>", "script": "*/=1;alert('polyglot')/*", "php": "<?php system($_GET[0]); ?>",
		"zip": "PK\x03\x04polyglotpolyglot.txtPK\x01\x02PK\x05\x06\x00\x00", "pdf": "%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript>>>>endobj\n%%EOF",
	} {
		within := dirtied(phototest.EXIF(binary.BigEndian, 6, payload), phototest.Profile(payload+" or more of it"), payload)
		for name, pic := range map[string]string{"jpeg": "baseline.jpg", "png": "rgba.png", "webp": "lossless.webp"} {
			if _, err := photo.NewInspector().Publish(t.Context(), append([]byte(payload), phototest.File(pic)...)); !errors.Is(err, photo.ErrType) {
				t.Errorf("%s before a %s: got %v, want %v", kind, name, err, photo.ErrType)
			}
			within[name+", behind"] = append(phototest.File(pic), payload...)
		}
		for _, name := range []string{"baseline.jpg", "progressive.jpg", "restart.jpg", "separate.jpg", "grey.jpg"} {
			pic := phototest.File(name)
			within[name+", behind its coded data"] = slices.Concat(pic[:len(pic)-2], []byte(payload), pic[len(pic)-2:])
			if scan := bytes.LastIndex(pic, []byte("\xFF\xDA")); name == "progressive.jpg" || name == "separate.jpg" {
				within[name+", between scans"] = slices.Concat(pic[:scan], []byte(payload+"\xFF\x00"+payload), pic[scan:])
			}
		}
		for name, hide := range hidingPlaces() {
			within[name] = hide(payload)
		}
		for name, data := range within {
			p := publish(t, data)
			wantPublished(t, data, p)
			for _, word := range []string{payload[:8], "<html", "alert(", "<?php", "PK\x03\x04", "PK\x05\x06", "%PDF", "JavaScript", "polyglot"} {
				if bytes.Contains(p.Body, []byte(word)) {
					t.Errorf("%s within %s: %q is in what is published", kind, name, word)
				}
			}
		}
		refused := map[string][]byte{
			"png, behind its compressed data": behindIDAT(phototest.File("rgba.png"), payload, false),
			"png, in a chunk of its own":      behindIDAT(phototest.File("rgba.png"), payload, true),
			"jpeg, before a restart marker":   bytes.Replace(phototest.File("restart.jpg"), []byte("\xFF\xD0"), []byte(payload+"\xFF\xD0"), 1),
		}
		for name, data := range refused {
			if _, err := photo.NewInspector().Publish(t.Context(), data); !errors.Is(err, photo.ErrUnsound) {
				t.Errorf("%s in a %s: got %v, want it refused", kind, name, err)
			}
		}
	}
}

// behindIDAT puts bytes behind the end of the compressed stream, where decoders do not look any more.
func behindIDAT(png []byte, payload string, own bool) []byte {
	at := bytes.Index(png, []byte("IDAT")) - 4
	n := int(binary.BigEndian.Uint32(png[at:]))
	if own {
		return slices.Concat(png[:at+12+n], phototest.Chunk("IDAT", payload), png[at+12+n:])
	}
	return slices.Concat(png[:at], phototest.Chunk("IDAT", string(png[at+8:at+8+n])+payload), png[at+12+n:])
}

// hidingPlaces are behind the last coded bits within the chunks of a WebP, where decoders do not look.
func hidingPlaces() map[string]func(payload string) []byte {
	at := map[string]func(string) []byte{
		"webp, behind its lossless data": func(payload string) []byte { return inRIFF("lossless.webp", "VP8L", payload) },
		"webp, behind its alpha plane":   func(payload string) []byte { return inRIFF("alpha.webp", "ALPH", payload) },
		"webp, behind its raw alpha":     func(payload string) []byte { return inRIFF("alpha-raw.webp", "ALPH", payload) },
		"webp, behind its first partition": func(payload string) []byte {
			webp := inRIFF("lossy.webp", "VP8 ", payload) // and moves it from the end to where it belongs
			frame, n := webp[20:], len(payload)
			size := int(frame[0])>>5 | int(frame[1])<<3 | int(frame[2])<<11
			end := len(phototest.File("lossy.webp")) - 20 // of the frame as it was: an even number
			copy(frame[10+size+n:], bytes.Clone(frame[10+size:end]))
			copy(frame[10+size:], payload)
			size += n
			frame[0], frame[1], frame[2] = frame[0]&0x1F|byte(size<<5), byte(size>>3), byte(size>>11)
			return webp
		},
	}
	for i := range 8 { // partitions, of which two have anything in them
		at[fmt.Sprintf("webp, behind partition %d", i)] = func(payload string) []byte {
			webp := inRIFF("partitions.webp", "VP8 ", payload)
			frame, end := webp[20:], len(phototest.File("partitions.webp"))-20
			sizes := 10 + (int(frame[0])>>5 | int(frame[1])<<3 | int(frame[2])<<11)
			to := sizes + 3*7
			for j := range min(i+1, 7) {
				size := int(frame[sizes+3*j]) | int(frame[sizes+3*j+1])<<8
				if to += size; j == i {
					size += len(payload)
					frame[sizes+3*j], frame[sizes+3*j+1] = byte(size), byte(size>>8)
				}
			}
			if i < 7 {
				copy(frame[to+len(payload):], bytes.Clone(frame[to:end]))
				copy(frame[to:], payload)
			}
			return webp
		}
	}
	return at
}

// inRIFF puts bytes at the end of a chunk of a file.
func inRIFF(name, chunk, payload string) []byte {
	webp := phototest.File(name)
	at := bytes.Index(webp, []byte(chunk))
	n := int(binary.LittleEndian.Uint32(webp[at+4:]))
	out := slices.Concat(webp[:at], phototest.RIFF(chunk, string(webp[at+8:at+8+n])+payload), webp[at+8+n+n&1:])
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// Whatever is hidden in a WebP, the same is published: where encoders leave up to three bytes, those are zeros then. The first byte
// behind lossless data may be looked at, and stays.
func TestHiddenInWebP(t *testing.T) {
	for name, hide := range hidingPlaces() {
		a, b := publish(t, hide("<html><script>alert(1)</script>.")), publish(t, hide("<PK\x03\x04 and so on, something longer"))
		if !bytes.Equal(a.Body, b.Body) || len(a.Body) > len(hide(""))+4 {
			t.Errorf("%s: got %d bytes %q and %d bytes %q of %d", name, len(a.Body), a.Body, len(b.Body), b.Body, len(hide("")))
		}
	}
	for _, name := range []string{"lossy.webp", "alpha.webp", "alpha-raw.webp", "partitions.webp", "lossless.webp", "lossless-alpha.webp"} { // as libwebp wrote them
		if p := publish(t, phototest.File(name)); !bytes.Equal(p.Body, phototest.File(name)) {
			t.Errorf("%s: got %q", name, p.Body)
		}
	}
}

// measured publishes bytes of which all behind the first readable ones must not be read: touching them faults, and is told from a
// refusal. It gives what was allocated.
func measured(t *testing.T, data []byte, readable int) (allocated uint64, err error) {
	t.Helper()
	page := syscall.Getpagesize()
	data = append(bytes.Clone(data), make([]byte, -len(data)&(page-1))...)
	mem, err := syscall.Mmap(-1, 0, len(data), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Munmap(mem); err != nil {
			t.Error(err)
		}
	}()
	copy(mem, data)
	if readable = (readable + page - 1) &^ (page - 1); readable < len(mem) {
		if err := syscall.Mprotect(mem[readable:], syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	in := photo.NewInspector()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = in.Publish(t.Context(), mem)
	runtime.ReadMemStats(&after)
	if err != nil && strings.Contains(err.Error(), "invalid memory address") {
		t.Errorf("more than %d bytes were read: %v", readable, err)
	}
	return after.TotalAlloc - before.TotalAlloc, err
}

// Little files that claim to be large, and large ones of little things: refused after few bytes read and allocated.
func TestBombs(t *testing.T) {
	const all = photo.MaxBytes
	baseline, rgba, lossy := phototest.File("baseline.jpg"), phototest.File("rgba.png"), phototest.File("lossy.webp")
	hidden := bytes.Clone(phototest.File("extended.webp"))
	copy(hidden[bytes.Index(hidden, []byte("VP8 "))+14:], []byte{0xFF, 0x3F, 0xFF, 0x3F}) // 16,383 x 16,383 in a canvas of 40 x 30
	lossless := bytes.Clone(phototest.File("lossless.webp"))
	copy(lossless[21:], []byte{0xFF, 0xFF, 0xFF, 0x0F})
	huge := bytes.Clone(baseline)
	copy(huge[bytes.Index(huge, []byte("\xFF\xC0"))+5:], []byte{0xFF, 0xFF, 0xFF, 0xFF})
	progressive := phototest.File("progressive.jpg")
	scan := bytes.LastIndex(progressive, []byte{0xFF, 0xDA})
	scans := slices.Concat(progressive[:scan], bytes.Repeat(progressive[scan:len(progressive)-2], 5000), []byte{0xFF, 0xD9})
	zeros := strings.Repeat(string(make([]byte, 1<<20)), 1<<4)
	bomb := deflated([]byte(zeros)) // 16 MiB in 16 KiB
	claimed := phototest.Profile("SECRET serial number 4711")
	binary.BigEndian.PutUint32(claimed, photo.MaxProfile+1)
	within := bytes.Clone(claimed)
	binary.BigEndian.PutUint32(within, photo.MaxProfile)
	many := func(thing []byte) []byte { return bytes.Repeat(thing, 10<<20/len(thing)) }
	metadata := bytes.Repeat([]byte("x"), photo.MaxMetadata/2+1)
	for _, c := range []struct {
		name      string
		data      []byte
		readable  int // bytes
		allocated uint64
		detail    string // "" when the picture is fine without it
	}{
		{"png of 60,000 x 60,000", phototest.PNGClaiming(60_000, 60_000), 33, 64 << 10, "50 million"},
		{"jpeg of 65,535 x 65,535", huge, 1 << 10, 64 << 10, "50 million"},
		{"webp whose lossy frame is larger than its canvas", hidden, all, 64 << 10, "its frame 16383 x 16383"},
		{"webp whose lossless frame is larger than its canvas", phototest.InWebP(lossless, 40, 30, nil, nil), all, 64 << 10, "its frame 16384 x 16384"},
		{"lossless webp of 16,384 x 16,384", lossless, all, 64 << 10, "50 million"},
		{"5,000 scans", scans, all, 64 << 10, "more than 32 scans"},
		{"endless scans", slices.Concat(progressive[:scan], many(progressive[scan:len(progressive)-2])), 1 << 20, 64 << 10, "more than 32 scans"},
		{"millions of jpeg segments", phototest.InJPEG(baseline, many(phototest.Segment(0xFE, ""))), 128 << 10, 512 << 10, "more than 16384"},
		{"millions of tables", phototest.InJPEG(baseline, many(phototest.Segment(0xDB, "\x03"+zeros[:64]))), 2 << 20, 512 << 10, "more than 16384"},
		{"millions of png chunks", phototest.InPNG(rgba, many(phototest.Chunk("prVt", ""))), 256 << 10, 512 << 10, "more than 16384"},
		{"millions of kinds of png chunks", phototest.InPNG(rgba, kinds(200_000)), 256 << 10, 4 << 20, "more than 16384"},
		{"millions of pieces of a picture", slices.Concat(rgba[:33], many(phototest.Chunk("IDAT", "x"))), 256 << 10, 2 << 20, "more than 16384"},
		{"millions of webp chunks", phototest.InWebP(lossy, 40, 30, many(phototest.RIFF("prVt", "")), nil), 192 << 10, 512 << 10, "more than 16384"},
		{"png of 4 billion frames", phototest.InPNG(rgba, phototest.Chunk("acTL", "\xFF\xFF\xFF\xFF\x00\x00\x00\x00"), many(phototest.Chunk("fcTL", zeros[:26]))), 4 << 10, 64 << 10, "animated"},
		{"webp of a million frames", phototest.InWebP(lossy, 40, 30, append(phototest.RIFF("ANIM", zeros[:6]), many(phototest.RIFF("ANMF", ""))...), nil), 4 << 10, 64 << 10, "animated"},
		{"16 MiB of jpeg metadata", phototest.InJPEG(baseline, many(phototest.Segment(0xE1, zeros[:65_000]))), 9 << 20, 64 << 10, "8 MiB"},
		{"16 MiB of png metadata", phototest.InPNG(rgba, slices.Repeat(phototest.Chunk("tEXt", string(metadata)), 2)), all, 64 << 10, "8 MiB"},
		{"16 MiB of webp metadata", phototest.InWebP(lossy, 40, 30, slices.Repeat(phototest.RIFF("XMP ", string(metadata)), 2), nil), all, 64 << 10, "8 MiB"},
		{"16 MiB in a png's zTXt", phototest.InPNG(rgba, phototest.Chunk("zTXt", "Comment\x00\x00"+bomb)), all, 256 << 10, ""},
		{"16 MiB in a png's iTXt", phototest.InPNG(rgba, phototest.Chunk("iTXt", "Comment\x00\x01\x00\x00\x00"+bomb)), all, 256 << 10, ""},
		{"16 MiB of zeros as a profile", phototest.InPNG(rgba, phototest.Chunk("iCCP", "x\x00\x00"+bomb)), all, 512 << 10, ""},
		{"16 MiB of profile", phototest.InPNG(rgba, phototest.Chunk("iCCP", "x\x00\x00"+deflated(append(claimed, zeros...)))), all, 256 << 10, "4 MiB"},
		{"16 MiB behind the size of a profile", phototest.InPNG(rgba, phototest.Chunk("iCCP", "x\x00\x00"+deflated(append(within, zeros...)))), all, 40 << 20, ""},
		{"16 MiB behind the pixels of a png", behindPixels([]byte(zeros)), all, 512 << 10, "too much pixel data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			allocated, err := measured(t, c.data, c.readable)
			if allocated > c.allocated {
				t.Errorf("%d bytes allocated, want at most %d", allocated, c.allocated)
			}
			if c.detail == "" && err != nil || c.detail != "" && (!errors.Is(err, photo.ErrUnsound) || !strings.Contains(err.Error(), c.detail)) {
				t.Errorf("got %v, want %q", err, c.detail)
			}
		})
	}
}

// A table that comes back after another that nothing used is not written twice: published again, it would be one.
func TestTableComesBack(t *testing.T) {
	pic := phototest.File("separate.jpg") // whose last two scans use the same tables
	last := bytes.LastIndex(pic, []byte("\xFF\xDA"))
	second := bytes.LastIndex(pic[:last], []byte("\xFF\xDA"))
	tables := pic[bytes.Index(pic, []byte("\xFF\xC4\x00\x1f\x01")):second]
	unused := phototest.Segment(0xC4, string([]byte{0x10 | pic[last+6]&15, 1})+strings.Repeat("\x00", 16))
	data := slices.Concat(pic[:last], unused, tables, pic[last:])
	if p := publish(t, data); !bytes.Equal(p.Body, pic) {
		t.Errorf("got %d bytes, want the %d that it was made of", len(p.Body), len(pic))
	}
}

func kinds(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, phototest.Chunk(string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'A' + byte(i/676%26), 'a' + byte(i/17576)}), "")...)
	}
	return b
}

// behindPixels is a PNG whose image data goes on long after the last pixel.
func behindPixels(more []byte) []byte {
	b := phototest.PNG(1, 1, 1)
	return slices.Concat(b[:33], phototest.Chunk("IDAT", deflated(append([]byte{0, 1, 2, 3}, more...))), phototest.Chunk("IEND", ""))
}

func FuzzJPEG(f *testing.F) { fuzz(f, ".jpg", "jpeg", func([]byte) {}) }

// Checksums and sizes are made right again, for almost nothing would get past them.
func FuzzPNG(f *testing.F) {
	fuzz(f, ".png", "png", func(data []byte) {
		for at := 8; at+12 <= len(data); {
			n := int(binary.BigEndian.Uint32(data[at:]))
			if n > len(data)-at-12 {
				return
			}
			binary.BigEndian.PutUint32(data[at+8+n:], crc32.ChecksumIEEE(data[at+4:at+8+n]))
			at += 12 + n
		}
	})
}

func FuzzWebP(f *testing.F) {
	fuzz(f, ".webp", "webp", func(data []byte) {
		if len(data) >= 8 {
			binary.LittleEndian.PutUint32(data[4:], uint32(len(data)-8))
		}
	})
}

// fuzz holds for any bytes: no panic, an error of a kind, memory in proportion; and for whatever is accepted, what wantPublished says.
func fuzz(f *testing.F, ext, kind string, repair func([]byte)) {
	for _, name := range append(slices.Concat(phototest.Sound(), phototest.Unknown()), "animated.png", "animated.webp") {
		if strings.HasSuffix(name, ext) {
			f.Add(phototest.File(name))
		}
	}
	const text = "SECRET serial number 4711"
	for name, data := range dirtied(phototest.EXIF(binary.LittleEndian, 6, text), phototest.Profile(text), text) {
		if strings.HasPrefix(name, kind) {
			f.Add(data)
		}
	}
	in := photo.NewInspector()
	f.Fuzz(func(t *testing.T, data []byte) {
		data = bytes.Clone(data)
		repair(data)
		pixels := claim(data)
		if pixels > 1<<18 {
			t.Skip("too slow to try many of")
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := in.Publish(t.Context(), data)
		runtime.ReadMemStats(&after)
		// 64 B a pixel and block that is begun, 16 B a byte, decoders' own tables.
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(64*pixels+16*len(data)+4<<20); got > most {
			t.Errorf("%d bytes allocated, want at most %d", got, most)
		}
		if err != nil {
			if !errors.Is(err, photo.ErrType) && !errors.Is(err, photo.ErrUnsound) || strings.Contains(err.Error(), "runtime error") {
				t.Fatalf("got %v", err)
			}
			return
		}
		wantPublished(t, data, p)
		// The walk over a JPEG accepts nothing that Go's decoder finds wrong.
		if _, err := decoded(p.Body); err != nil && !errors.As(err, new(jpeg.UnsupportedError)) && !miscounted(p.Body) {
			t.Errorf("accepted, but: %v", err)
		}
	})
}

// miscounted: Go's decoder expects restart markers at the wrong places of a progressive JPEG, and where a colour of several blocks in an MCU has a
// scan of its own.
func miscounted(published []byte) bool {
	if !bytes.HasPrefix(published, []byte("\xFF\xD8")) || !bytes.Contains(published, []byte("\xFF\xDD")) {
		return false
	}
	for at := 2; ; at += 2 + int(binary.BigEndian.Uint16(published[at+2:])) {
		switch frame := published[at+4:]; published[at+1] {
		case 0xC2:
			return true
		case 0xC0, 0xC1:
			sampled := false
			for i := range int(frame[5]) {
				sampled = sampled || frame[7+3*i] != 0x11
			}
			return sampled && bytes.Count(published, []byte("\xFF\xDA")) > 1
		}
	}
}

// claim is the largest number of pixels that anything in the file could be taken to claim.
func claim(data []byte) int {
	cfg, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return 0
	}
	return (cfg.Width + 32) * (cfg.Height + 32)
}
