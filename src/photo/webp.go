package photo

import (
	"context"
	"encoding/binary"
	"fmt"

	"petpick/src/pet"
)

// Flags of a WebP's VP8X chunk.
const (
	webpAnimation = 0x02
	webpEXIF      = 0x08
	webpAlpha     = 0x10
	webpICC       = 0x20
)

type webpFile struct {
	parts
	canvas  []byte // VP8X
	profile []byte
	alpha   []byte // ALPH
	frame   []byte
	name    string // of the frame's chunk
	sees    bool   // through: a lossless frame has an alpha channel
	hasEXIF bool
	o       outline
}

// parseWebP reads the chunks up to the size that the file's header gives.
func parseWebP(data []byte) (outline, error) {
	f := &webpFile{parts: parts{t: pet.WebP}, o: outline{orientation: 1}}
	size := int64(binary.LittleEndian.Uint32(data[4:])) + 8
	if size > int64(len(data)) {
		return f.o, unsound("the WebP is truncated: %d of %d bytes are there", len(data), size)
	}
	if size < 12 {
		return f.o, corrupt(pet.WebP, "its size is wrong")
	}
	for data = data[12:size]; len(data) > 0; {
		if len(data) < 8 {
			return f.o, truncated(pet.WebP)
		}
		n := int64(binary.LittleEndian.Uint32(data[4:]))
		if n > int64(len(data))-8 {
			return f.o, truncated(pet.WebP)
		}
		if err := f.chunk(string(data[:4]), data[8:8+n]); err != nil {
			return f.o, err
		}
		data = data[min(8+n+n&1, int64(len(data))):]
	}
	return f.end()
}

func (f *webpFile) chunk(name string, body []byte) error {
	if err := f.count(); err != nil {
		return err
	}
	switch name {
	case "VP8X":
		if f.number != 1 || len(body) != 10 {
			return corrupt(pet.WebP, "its extended header is out of place or malformed")
		}
		if f.canvas = body; body[0]&webpAnimation != 0 {
			return animated(pet.WebP)
		}
		return nil
	case "ANIM", "ANMF":
		return animated(pet.WebP)
	case "ICCP":
		if f.profile == nil && f.frame == nil {
			if len(body) > MaxProfile {
				return errProfileSize(int64(len(body)))
			}
			f.profile = cleanProfile(body)
		}
	case "ALPH":
		if f.frame == nil {
			if f.alpha != nil {
				return corrupt(pet.WebP, "it has two alpha planes")
			}
			f.alpha = body
			return nil
		}
	case "VP8 ", "VP8L":
		if f.frame == nil {
			f.name, f.frame = name, body
			return f.size()
		}
	case "EXIF":
		if !f.hasEXIF {
			f.hasEXIF = true
			if len(body) > 6 && string(body[:6]) == exifInJPEG { // some writers put a JPEG's prefix there, and readers know it
				body = body[6:]
			}
			f.o.orientation = orientation(body)
		}
	}
	return f.drop(len(body))
}

// size reads what the frame itself claims, for that is what a decoder spends memory on; the extended header can claim less.
func (f *webpFile) size() error {
	b := f.frame
	switch {
	case f.name == "VP8 " && len(b) >= 10 && b[0]&1 == 0 && string(b[3:6]) == "\x9d\x01\x2a":
		// A tag of 3 bytes, a start code of 3, then 14 bits each.
		f.o.width, f.o.height = int(binary.LittleEndian.Uint16(b[6:]))&0x3FFF, int(binary.LittleEndian.Uint16(b[8:]))&0x3FFF
	case f.name == "VP8L" && len(b) >= 5 && b[0] == 0x2F:
		// A signature byte, then 14 bits each, less one, then the alpha bit.
		bits := binary.LittleEndian.Uint32(b[1:])
		f.o.width, f.o.height = int(bits&0x3FFF)+1, int(bits>>14&0x3FFF)+1
		f.sees = bits>>28&1 != 0
	default:
		return corrupt(pet.WebP, "its frame's header is malformed")
	}
	return nil
}

func (f *webpFile) end() (outline, error) {
	switch {
	case f.frame == nil:
		return f.o, corrupt(pet.WebP, "it has no picture data")
	case f.alpha != nil && f.name == "VP8L":
		return f.o, corrupt(pet.WebP, "a lossless picture has an alpha plane of its own")
	case f.canvas == nil:
		f.alpha, f.profile, f.o.orientation = nil, nil, 1 // a simple file has a frame and nothing else that a decoder looks at
	default:
		w, h := int(uint24(f.canvas[4:]))+1, int(uint24(f.canvas[7:]))+1
		if w != f.o.width || h != f.o.height {
			return f.o, corrupt(pet.WebP, fmt.Sprintf("its header says %d x %d, its frame %d x %d", w, h, f.o.width, f.o.height))
		}
	}
	if raw := 1 + f.o.width*f.o.height; len(f.alpha) > raw && f.alpha[0]&3 == 0 { // not compressed: a byte a pixel
		f.alpha = f.alpha[:raw]
	}
	f.o.rewrite = func(context.Context) ([]byte, int, error) {
		body, last := f.write()
		return body, last, nil
	}
	return f.o, nil
}

func uint24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

// write uses the extended form only for what needs it, so that a file that had nothing but metadata in it is like one that never had.
func (f *webpFile) write() (body []byte, last int) {
	exif := orientationOnly(f.o.orientation)
	body = make([]byte, 0, len(f.profile)+len(f.alpha)+len(f.frame)+128)
	body = append(body, "RIFF\x00\x00\x00\x00WEBP"...)
	if f.profile != nil || f.alpha != nil || exif != nil {
		canvas := make([]byte, 10)
		if f.profile != nil {
			canvas[0] |= webpICC
		}
		if f.alpha != nil || f.sees {
			canvas[0] |= webpAlpha
		}
		if exif != nil {
			canvas[0] |= webpEXIF
		}
		putUint24(canvas[4:], f.o.width-1)
		putUint24(canvas[7:], f.o.height-1)
		body = appendWebPChunk(body, "VP8X", canvas)
	}
	if f.profile != nil {
		body = appendWebPChunk(body, "ICCP", f.profile)
	}
	if f.alpha != nil {
		body = appendWebPChunk(body, "ALPH", f.alpha)
	}
	if f.name == "VP8L" {
		// A byte may be looked at ahead, and some encoders add one.
		last = len(body) + 8 + max(len(f.frame)-2, 0)
	}
	body = appendWebPChunk(body, f.name, f.frame)
	if exif != nil {
		body = appendWebPChunk(body, "EXIF", exif)
	}
	binary.LittleEndian.PutUint32(body[4:], uint32(len(body)-8))
	return body, last
}

func putUint24(b []byte, v int) { b[0], b[1], b[2] = byte(v), byte(v>>8), byte(v>>16) }

func appendWebPChunk(b []byte, name string, body []byte) []byte {
	b = append(b, name...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	if len(body)&1 != 0 {
		b = append(b, 0)
	}
	return b
}
