package phototest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// EXIF makes a TIFF block with an orientation, in a byte order, and text in tags that cameras and phones put names, places and
// serial numbers in.
func EXIF(order binary.AppendByteOrder, orientation uint16, text string) []byte {
	b := []byte("MM\x00*")
	if order.String() == "LittleEndian" {
		b = []byte("II*\x00")
	}
	tags := []uint16{0x010E, 0x010F, 0x0110, 0x0112, 0x013B, 0xA430, 0xA431} // description, make, model, orientation, artist, owner, serial number
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, uint16(len(tags)))
	values := 8 + 2 + 12*len(tags) + 4
	for _, tag := range tags {
		b = order.AppendUint16(b, tag)
		if tag == 0x0112 {
			b = order.AppendUint32(order.AppendUint16(b, 3), 1)
			b = order.AppendUint16(order.AppendUint16(b, orientation), 0)
			continue
		}
		b = order.AppendUint32(order.AppendUint16(b, 2), uint32(len(text)+1))
		b = order.AppendUint32(b, uint32(values))
	}
	b = order.AppendUint32(b, 0)
	return append(append(b, text...), 0)
}

// Profile makes the profile of a screen, with text where systems put the names and serial numbers of screens and their owners.
func Profile(text string) []byte {
	xyz := func(x, y, z uint32) []byte {
		b := []byte("XYZ \x00\x00\x00\x00")
		for _, v := range []uint32{x, y, z} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	curve := []byte("curv\x00\x00\x00\x00\x00\x00\x00\x01\x02\x33") // gamma 2.2
	private := append([]byte("mmod\x00\x00\x00\x00"), text...)
	tags := []struct {
		name string
		data []byte
	}{
		{"desc", append([]byte("desc\x00\x00\x00\x00\x00\x00\x00\xff"), text...)}, {"cprt", append([]byte("text\x00\x00\x00\x00"), text...)},
		{"wtpt", xyz(0xF6D6, 0x10000, 0xD32D)}, {"rXYZ", xyz(0x6FA2, 0x38F5, 0x390)}, {"gXYZ", xyz(0x6299, 0xB785, 0x18DA)}, {"bXYZ", xyz(0x24A0, 0xF84, 0xB6CF)},
		{"mmod", private}, {"prvt", append([]byte("mft2\x00\x00\x00\x00"), text...)}, {"rTRC", append(slices.Clone(curve), text...)}, {"gTRC", curve}, {"bTRC", curve},
	}
	b := make([]byte, 128)
	copy(b[4:], text[:4]) // the program that made it
	copy(b[8:], "\x02\x10\x00\x00mntrRGB XYZ ")
	copy(b[36:], "acsp")
	copy(b[48:], text[:8]) // maker and model
	copy(b[68:], "\x00\x00\xf6\xd6\x00\x01\x00\x00\x00\x00\xd3\x2d")
	copy(b[80:], text[:4])
	b = binary.BigEndian.AppendUint32(b, uint32(len(tags)))
	at := len(b) + 12*len(tags)
	var data []byte
	for _, t := range tags {
		b = append(b, t.name...)
		b = binary.BigEndian.AppendUint32(b, uint32(at+len(data)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.data)))
		data = append(data, t.data...)
		data = append(data, make([]byte, -len(data)&3)...)
	}
	b = append(b, data...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// Segment makes a segment of a JPEG.
func Segment(marker byte, body string) []byte {
	return append([]byte{0xFF, marker, byte((len(body) + 2) >> 8), byte(len(body) + 2)}, body...)
}

// Chunk makes a chunk of a PNG.
func Chunk(name, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, name...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// InJPEG puts bytes behind the first marker and, where there is one, the JFIF segment.
func InJPEG(pic []byte, what ...[]byte) []byte {
	at := 2
	if pic[3] == 0xE0 {
		at += 2 + int(binary.BigEndian.Uint16(pic[4:]))
	}
	return slices.Insert(bytes.Clone(pic), at, bytes.Join(what, nil)...)
}

// InPNG puts bytes behind the header.
func InPNG(pic []byte, what ...[]byte) []byte {
	return slices.Insert(bytes.Clone(pic), 8+12+13, bytes.Join(what, nil)...)
}

// RIFF makes a chunk of a WebP.
func RIFF(name, body string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(body)))
	b = append(b, body...)
	return append(b, make([]byte, len(body)&1)...)
}

// InWebP makes a picture an extended one, with before and behind around what it had but for an extended header.
func InWebP(pic []byte, w, h int, before, behind []byte) []byte {
	chunks := pic[12:]
	flags := byte(0x2C) // ICC, EXIF, XMP
	if string(chunks[:4]) == "VP8X" {
		flags |= chunks[8]
		chunks = chunks[18:]
	}
	canvas := string([]byte{flags, 0, 0, 0, byte(w - 1), byte((w - 1) >> 8), 0, byte(h - 1), byte((h - 1) >> 8), 0})
	b := bytes.Join([][]byte{[]byte("RIFF\x00\x00\x00\x00WEBP"), RIFF("VP8X", canvas), before, chunks, behind}, nil)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}
