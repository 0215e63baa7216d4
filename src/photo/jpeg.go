package photo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"petpick/src/pet"
)

// Markers of a JPEG: ITU-T T.81, table B.1.
const (
	sof0 = 0xC0 // baseline
	sof2 = 0xC2 // progressive
	dht  = 0xC4 // Huffman tables
	rst0 = 0xD0
	rst7 = 0xD7
	soi  = 0xD8
	eoi  = 0xD9
	sos  = 0xDA // a scan
	dqt  = 0xDB // quantization tables
	dri  = 0xDD // restart interval
	app0 = 0xE0
	app1 = 0xE1
	app2 = 0xE2
	appE = 0xEE
	appF = 0xEF
	com  = 0xFE
)

const (
	jfifInJPEG  = "JFIF\x00"
	exifInJPEG  = "Exif\x00\x00"
	iccInJPEG   = "ICC_PROFILE\x00"
	adobeInJPEG = "Adobe"
)

// jpegFile reads the segments up to the first scan for the outline, and the rest when it writes. What it writes is in the order that
// libjpeg has: JFIF, EXIF, ICC, Adobe; then for each scan the tables that changed since the last one and that it uses.
type jpegFile struct {
	parts
	data []byte
	at   int
	o    outline

	jfif, adobe []byte
	hasEXIF     bool
	profile     [256][]byte // pieces by their number
	pieces      int
	profileSize int

	frame       jpegFrame
	scanHeader  []byte // of the scan that comes
	quant       [4]jpegTable
	huffman     [2 * 4]jpegTable // DC, then AC
	restart     int              // interval, in MCUs
	lastRestart int              // as written
	scans       int

	out []byte
}

// jpegTable is the present content of a slot. Where it was defined keeps tables together that shared a segment.
type jpegTable struct {
	raw         []byte
	at, segment int
	wrote       []byte // what the slot has in what is written, whatever was defined since
	decoder     *huffman
}

func (t *jpegTable) written() bool { return t.wrote != nil && bytes.Equal(t.raw, t.wrote) }

type jpegFrame struct {
	marker     byte
	raw        []byte
	components []component
	hMax, vMax int
}

func (f *jpegFrame) progressive() bool { return f.marker == sof2 }

type component struct {
	id, quant byte
	h, v      int
	// stride blocks in a row and rows of them, with those that fill up the last MCUs.
	stride, rows int
	known        []uint64 // of each block of a progressive picture: which coefficients are not zero
}

func parseJPEG(data []byte) (outline, error) {
	f := &jpegFile{parts: parts{t: pet.JPEG}, data: data, at: 2, o: outline{orientation: 1}}
	for f.scanHeader == nil {
		marker, body, err := f.next()
		if err != nil {
			return f.o, err
		}
		if marker == eoi {
			return f.o, corrupt(pet.JPEG, "it has no picture data")
		}
		if err := f.segment(marker, body); err != nil {
			return f.o, err
		}
	}
	if f.jfif != nil && len(f.frame.components) == 3 && (f.adobe != nil && f.adobe[11] == 0 || f.frame.ids() == "RGB") {
		return f.o, corrupt(pet.JPEG, "its segments contradict each other about its colours") // and decoders differ about it
	}
	f.o.rewrite = f.rewrite
	return f.o, f.countScans()
}

// countScans looks ahead, before time is spent on any of them.
func (f *jpegFile) countScans() error {
	ahead := jpegFile{parts: f.parts, data: f.data, at: f.at}
	for scans := 1; ; {
		switch marker, _, err := ahead.next(); {
		case err != nil:
			return err
		case marker == eoi:
			return nil
		case marker == sos:
			if scans++; scans > maxScans {
				return unsound("the JPEG has more than %d scans", maxScans)
			}
		}
	}
}

// next finds the next marker that has a meaning here, over fill bytes and over whatever else decoders skip, and its segment.
func (f *jpegFile) next() (marker byte, body []byte, err error) {
	for {
		i := bytes.IndexByte(f.data[f.at:], 0xFF)
		if i < 0 {
			return 0, nil, truncated(pet.JPEG)
		}
		for f.at += i; f.at < len(f.data) && f.data[f.at] == 0xFF; f.at++ {
		}
		if f.at == len(f.data) {
			return 0, nil, truncated(pet.JPEG)
		}
		marker = f.data[f.at]
		f.at++
		if marker != 0 && (marker < rst0 || marker > rst7) {
			break
		}
	}
	if marker == eoi {
		return marker, nil, nil
	}
	if marker < sof0 || marker == soi {
		return 0, nil, corrupt(pet.JPEG, fmt.Sprintf("it has an unknown marker %#x", marker))
	}
	if f.at+2 > len(f.data) {
		return 0, nil, truncated(pet.JPEG)
	}
	n := int(binary.BigEndian.Uint16(f.data[f.at:]))
	if n < 2 {
		return 0, nil, corrupt(pet.JPEG, "a segment is shorter than its own length")
	}
	if f.at+n > len(f.data) {
		return 0, nil, truncated(pet.JPEG)
	}
	body = f.data[f.at+2 : f.at+n]
	f.at += n
	return marker, body, f.count()
}

func (f *jpegFile) segment(marker byte, body []byte) error {
	switch {
	case marker >= sof0 && marker <= sof2:
		return f.readFrame(marker, body)
	case marker == dht:
		return f.readTables(body, f.huffman[:], func(b []byte) (slot, size int) {
			if len(b) < 17 || b[0]>>4 > 1 || b[0]&15 > 3 {
				return 0, 0
			}
			size = 17
			for _, n := range b[1:17] {
				size += int(n)
			}
			return int(b[0]>>4)*4 + int(b[0]&15), size
		})
	case marker == dqt:
		return f.readTables(body, f.quant[:], func(b []byte) (slot, size int) {
			if b[0]>>4 > 1 || b[0]&15 > 3 {
				return 0, 0
			}
			return int(b[0] & 15), 1 + 64*(1+int(b[0]>>4))
		})
	case marker == dri:
		if len(body) != 2 {
			return corrupt(pet.JPEG, "its restart interval is malformed")
		}
		f.restart = int(binary.BigEndian.Uint16(body))
		return nil
	case marker == sos:
		f.scanHeader = body
		if f.frame.raw == nil {
			return corrupt(pet.JPEG, "a scan comes before the frame")
		}
		f.scans++
		return nil
	case marker >= app0 && marker <= appF || marker == com:
		return f.application(marker, body)
	case marker >= 0xC9 && marker <= 0xCF:
		return unsound("the JPEG is arithmetic-coded, a variant that cannot be checked")
	case marker < rst0:
		return unsound("the JPEG is lossless or hierarchical, a variant that cannot be checked")
	}
	return unsound("the JPEG has a segment %#x, a variant that cannot be checked", marker)
}

// application keeps what says how to show the picture. Behind the first scan nothing does, and decoders differ about what they find.
func (f *jpegFile) application(marker byte, body []byte) error {
	has := func(prefix string, n int) bool { return len(body) >= n && string(body[:len(prefix)]) == prefix }
	switch {
	case marker == app0 && len(body) >= 5 || marker == appE && has(adobeInJPEG, 12):
		if f.scans > 0 {
			return corrupt(pet.JPEG, "it says what its colours are behind its first scan")
		}
		if marker == appE {
			f.adobe = []byte("Adobe\x00\x64\x00\x00\x00\x00" + string(body[11:12])) // version 100, no flags, the transform
			return f.drop(len(body) - 12)
		}
		if f.jfif == nil && has(jfifInJPEG, 14) {
			f.jfif = append(slices.Clone(body[:12]), 0, 0) // version, density, and a thumbnail of 0 x 0
			return f.drop(len(body) - 14)
		}
	case marker == app1 && has(exifInJPEG, 6) && !f.hasEXIF && f.scans == 0:
		f.hasEXIF, f.o.orientation = true, orientation(body[6:])
	case marker == app2 && has(iccInJPEG, 14) && f.scans == 0:
		number := body[12]
		if f.profile[number] == nil {
			f.profile[number], f.pieces = body[14:], int(body[13])
			if f.profileSize += len(body) - 14; f.profileSize > MaxProfile {
				return errProfileSize(int64(f.profileSize))
			}
			return nil
		}
	}
	return f.drop(len(body))
}

func (f *jpegFile) readFrame(marker byte, body []byte) error {
	if f.frame.raw != nil {
		return corrupt(pet.JPEG, "it has two frames")
	}
	if len(body) < 6 || len(body) != 6+3*int(body[5]) {
		return corrupt(pet.JPEG, "its frame's header is malformed")
	}
	if body[0] != 8 {
		return unsound("the JPEG has %d bits a colour, a variant that cannot be checked: 8 bits can", body[0])
	}
	f.frame = jpegFrame{marker: marker, raw: body, hMax: 1, vMax: 1}
	f.o.height, f.o.width = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
	if err := f.o.limits(); err != nil {
		return err
	}
	if n := body[5]; n != 1 && n != 3 && n != 4 {
		return unsound("the JPEG has %d colours, a variant that cannot be checked", n)
	}
	for b := body[6:]; len(b) > 0; b = b[3:] {
		c := component{id: b[0], h: int(b[1] >> 4), v: int(b[1] & 15), quant: b[2]}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.quant > 3 || strings.IndexByte(f.frame.ids(), c.id) >= 0 {
			return corrupt(pet.JPEG, "its frame's header is malformed")
		}
		if body[5] == 1 {
			c.h, c.v = 1, 1 // one colour is never interleaved: its sampling means nothing (A.2.2)
		}
		f.frame.hMax, f.frame.vMax = max(f.frame.hMax, c.h), max(f.frame.vMax, c.v)
		f.frame.components = append(f.frame.components, c)
	}
	return nil
}

func (f *jpegFrame) ids() string {
	var s []byte
	for _, c := range f.components {
		s = append(s, c.id)
	}
	return string(s)
}

// readTables notes the tables of a segment in their slots; measure says how long the first one is.
func (f *jpegFile) readTables(body []byte, slots []jpegTable, measure func([]byte) (slot, size int)) error {
	for at := f.at - len(body); len(body) > 0; {
		slot, size := measure(body)
		if size == 0 || size > len(body) {
			return corrupt(pet.JPEG, "its tables are malformed")
		}
		t := &slots[slot]
		if !bytes.Equal(t.raw, body[:size]) {
			if t.written() && len(slots) == len(f.quant) && f.frame.progressive() {
				return corrupt(pet.JPEG, "its quantization changes between scans") // and decoders differ about it
			}
			*t = jpegTable{raw: body[:size], at: at, segment: f.number, wrote: t.wrote}
		}
		body, at = body[size:], at+size
	}
	return nil
}

func (f *jpegFile) rewrite(ctx context.Context) ([]byte, error) {
	f.out = append(make([]byte, 0, len(f.data)+512), 0xFF, soi)
	if f.jfif != nil {
		f.write(app0, f.jfif)
	}
	if exif := orientationOnly(f.o.orientation); exif != nil {
		f.write(app1, []byte(exifInJPEG), exif)
	}
	f.writeProfile()
	if f.adobe != nil && len(f.frame.components) > 1 {
		f.write(appE, f.adobe)
	}
	for {
		if f.scanHeader != nil {
			if err := f.scan(ctx); err != nil {
				return nil, err
			}
			f.scanHeader = nil
		}
		marker, body, err := f.next()
		if err != nil {
			return nil, err
		}
		if marker == eoi {
			f.out = append(f.out, 0xFF, eoi)
			return f.out, nil
		}
		if err := f.segment(marker, body); err != nil {
			return nil, err
		}
	}
}

func (f *jpegFile) write(marker byte, bodies ...[]byte) {
	n := 2
	for _, b := range bodies {
		n += len(b)
	}
	f.out = append(f.out, 0xFF, marker, byte(n>>8), byte(n))
	for _, b := range bodies {
		f.out = append(f.out, b...)
	}
}

func (f *jpegFile) writeProfile() {
	var icc []byte
	for i := 1; i <= f.pieces; i++ {
		if f.profile[i] == nil {
			return // incomplete: no profile, to any decoder
		}
		icc = append(icc, f.profile[i]...)
	}
	const most = 65_535 - 2 - len(iccInJPEG) - 2
	clean := cleanProfile(icc)
	pieces := byte((len(clean) + most - 1) / most)
	for i := byte(1); i <= pieces; i++ {
		n := min(len(clean), most)
		f.write(app2, []byte(iccInJPEG), []byte{i, pieces}, clean[:n])
		clean = clean[n:]
	}
}

// writeTables writes those that are not written yet, as they were grouped.
func (f *jpegFile) writeTables(marker byte, tables []*jpegTable) {
	tables = slices.DeleteFunc(tables, func(t *jpegTable) bool { return t.raw == nil || t.written() })
	slices.SortFunc(tables, func(a, b *jpegTable) int { return cmp.Compare(a.at, b.at) })
	for tables = slices.Compact(tables); len(tables) > 0; {
		var group [][]byte
		segment := tables[0].segment
		for len(tables) > 0 && tables[0].segment == segment {
			group = append(group, tables[0].raw)
			tables[0].wrote = tables[0].raw
			tables = tables[1:]
		}
		f.write(marker, group...)
	}
}
