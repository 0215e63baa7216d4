package photo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image/png"

	"petpick/src/pet"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// pngColours are the chunks that change what the pixels look like, with the sizes that they may have. What else the standard knows
// goes: bKGD (a viewer's background), pHYs (a size in print) and PLTE of a true-colour picture (a hint for screens of 256 colours) are
// used by no browser; hIST, sPLT, tIME and the texts are no part of the picture.
var pngColours = map[string][]int{
	"gAMA": {4}, "cHRM": {32}, "sRGB": {1}, "sBIT": {1, 2, 3, 4}, "cICP": {4}, "mDCV": {24}, "cLLI": {8},
}

type pngFile struct {
	parts
	head    []byte // IHDR
	colours []byte // chunks, as they will be written
	seen    map[string]bool
	profile []byte
	palette []byte
	alpha   []byte // tRNS
	pixels  [][]byte
	bytes   int // in pixels
	last    string
	o       outline
}

// parsePNG reads the chunks up to the end chunk.
func parsePNG(data []byte) (outline, error) {
	f := &pngFile{parts: parts{t: pet.PNG}, seen: map[string]bool{}, o: outline{orientation: 1}}
	for data = data[len(pngSignature):]; ; {
		if len(data) < 12 {
			return f.o, truncated(pet.PNG)
		}
		n := int64(binary.BigEndian.Uint32(data))
		if n > int64(len(data))-12 {
			return f.o, truncated(pet.PNG)
		}
		name, body := string(data[4:8]), data[8:8+n]
		if binary.BigEndian.Uint32(data[8+n:]) != crc32.ChecksumIEEE(data[4:8+n]) {
			return f.o, corrupt(pet.PNG, fmt.Sprintf("the checksum of its chunk %q is wrong", name))
		}
		if f.head == nil && name != "IHDR" {
			return f.o, corrupt(pet.PNG, "it does not begin with its header")
		}
		data = data[12+n:]
		if name == "IEND" {
			return f.end()
		}
		if err := f.chunk(name, body); err != nil {
			return f.o, err
		}
	}
}

func (f *pngFile) chunk(name string, body []byte) error {
	if err := f.count(); err != nil {
		return err
	}
	again, last := f.seen[name], f.last
	f.seen[name], f.last = true, name
	switch name {
	case "IHDR":
		if again || len(body) != 13 {
			return corrupt(pet.PNG, "its header is malformed")
		}
		f.head = body
		// Unsigned: what is over 2^31 is over the limit too.
		f.o.width, f.o.height = int(binary.BigEndian.Uint32(body)), int(binary.BigEndian.Uint32(body[4:]))
		return f.o.limits()
	case "PLTE", "tRNS":
		if again || f.pixels != nil || name == "PLTE" && f.alpha != nil {
			return corrupt(pet.PNG, "its palette is out of place")
		}
		return f.keepPalette(name, body)
	case "IDAT":
		if again && last != name {
			return corrupt(pet.PNG, "its picture data is interrupted")
		}
		if len(body) > 0 { // an empty one is nothing
			f.pixels = append(f.pixels, body)
			f.bytes += len(body)
		}
		return nil
	case "acTL":
		return animated(pet.PNG)
	case "eXIf":
		if !again {
			f.o.orientation = orientation(body)
		}
	case "iCCP":
		if !again && f.beforePixels() {
			var err error
			if f.profile, err = profileInPNG(body); err != nil {
				return err
			}
		}
	default:
		if name[0]&0x20 == 0 { // upper case: a picture that cannot be shown without knowing what that is
			return unsound("the PNG has a critical chunk %q, which cannot be checked", name)
		}
		if !again && f.beforePixels() && fits(pngColours[name], len(body)) {
			f.colours = appendPNGChunk(f.colours, name, body)
			return nil
		}
	}
	return f.drop(len(body))
}

// beforePixels is where chunks about colours must stand; decoders do not look at them anywhere else.
func (f *pngFile) beforePixels() bool { return f.pixels == nil && !f.seen["PLTE"] }

func fits(sizes []int, n int) bool {
	for _, s := range sizes {
		if s == n {
			return true
		}
	}
	return false
}

func (f *pngFile) keepPalette(name string, body []byte) error {
	const paletted, withAlpha = 3, 4
	kind := f.head[9]
	switch {
	case name == "tRNS" && kind == paletted && len(body) > len(f.palette)/3, name == "tRNS" && kind&withAlpha != 0:
		return corrupt(pet.PNG, "its transparency is not of its palette") // and decoders differ about it
	case name == "tRNS":
		f.alpha = body
	case kind == paletted:
		f.palette = body
	case kind&2 == 0:
		return corrupt(pet.PNG, "a grey picture has a palette")
	default:
		return f.drop(len(body))
	}
	return nil
}

func (f *pngFile) end() (outline, error) {
	if f.pixels == nil {
		return f.o, corrupt(pet.PNG, "it has no picture data")
	}
	f.o.rewrite = func(ctx context.Context) ([]byte, error) {
		body, last := f.write()
		r := &feed{ctx: ctx, data: body, last: last}
		if err := f.o.decodes(pet.PNG, png.Decode, r); err != nil {
			return nil, err
		}
		if r.at <= last {
			return nil, corrupt(pet.PNG, "there are bytes behind its coded data")
		}
		return body, nil
	}
	return f.o, nil
}

// write puts the image data in one chunk: how an encoder happened to cut it says nothing of the picture, and a decoder then notices
// what is behind the end of the compressed stream. last is where its last byte is.
func (f *pngFile) write() (body []byte, last int) {
	body = make([]byte, 0, len(pngSignature)+len(f.head)+len(f.colours)+len(f.profile)+len(f.palette)+len(f.alpha)+f.bytes+256)
	body = append(body, pngSignature...)
	body = appendPNGChunk(body, "IHDR", f.head)
	if f.profile != nil {
		body = appendPNGChunk(body, "iCCP", wrapProfileForPNG(f.profile))
	}
	body = append(body, f.colours...)
	if f.palette != nil {
		body = appendPNGChunk(body, "PLTE", f.palette)
	}
	if f.alpha != nil {
		body = appendPNGChunk(body, "tRNS", f.alpha)
	}
	if exif := orientationOnly(f.o.orientation); exif != nil {
		body = appendPNGChunk(body, "eXIf", exif)
	}
	body = appendPNGChunk(body, "IDAT", f.pixels...)
	last = len(body) - 4 - 1 // before the checksum
	return appendPNGChunk(body, "IEND"), last
}

func appendPNGChunk(b []byte, name string, bodies ...[]byte) []byte {
	start := len(b) + 4
	b = append(b, 0, 0, 0, 0)
	b = append(b, name...)
	for _, body := range bodies {
		b = append(b, body...)
	}
	binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start-4))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// profileInPNG unpacks a profile: a name, a zero, the method, a zlib stream. It never inflates more than the profile's own size, or
// than MaxProfile.
func profileInPNG(body []byte) ([]byte, error) {
	name := bytes.IndexByte(body, 0)
	if name < 0 || len(body) < name+2 || body[name+1] != 0 {
		return nil, nil
	}
	return inflateProfile(body[name+2:])
}
