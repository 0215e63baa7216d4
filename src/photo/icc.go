package photo

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/adler32"
	"io"
	"slices"
	"strings"
)

// A profile of a screen can hold the serial number of that screen (Apple's tag mmod), its EDID (tag meta), its owner's name (desc),
// and in any profile are the programs and dates that made it. So a profile is written anew too, from what a conversion of colours
// needs: ICC.1:2022, sections 7.2 (header), 7.3 (tag table), 8 (required tags).

const (
	iccHeader   = 128
	iccTag      = 12  // of the table: a name, an offset, a size
	maxICCTags  = 100 // they have 10 to 30
	iccReserved = 8   // a tag's data begins with its type and four zeros
)

// iccColours are the tags that say how to convert: primaries, white, curves, adaptation, lookup tables, code points.
var iccColours = strings.Fields("rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt chad cicp gamt A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3")

func errProfileSize(n int64) error {
	return unsound("the picture's colour profile has %d bytes; the limit is %d (%d MiB)", n, MaxProfile, MaxProfile>>20)
}

// cleanProfile gives the profile with its conversion and nothing else, or nil for what is no profile: decoders ignore that, so a
// picture looks the same without.
func cleanProfile(icc []byte) []byte {
	if len(icc) < iccHeader+4 || string(icc[36:40]) != "acsp" {
		return nil
	}
	size, n := binary.BigEndian.Uint32(icc), binary.BigEndian.Uint32(icc[iccHeader:])
	if int64(size) > int64(len(icc)) || n > maxICCTags || iccHeader+4+iccTag*int64(n) > int64(size) {
		return nil
	}
	icc = icc[:size]
	names := []string{"desc", "cprt"} // required, and said to nobody
	data := iccTexts(icc[8])
	for i := range int(n) {
		entry := icc[iccHeader+4+iccTag*i:]
		name, at, length := string(entry[:4]), int64(binary.BigEndian.Uint32(entry[4:])), int64(binary.BigEndian.Uint32(entry[8:]))
		if at < iccHeader || at+length > int64(size) {
			return nil
		}
		if !slices.Contains(iccColours, name) || slices.Contains(names, name) {
			continue
		}
		if d := trimICCTag(icc[at : at+length]); d != nil {
			names, data = append(names, name), append(data, d)
		}
	}
	if len(names) == 2 {
		return nil
	}
	return writeProfile(icc, names, data)
}

// iccTexts are a description and a copyright in the form of the profile's major version.
func iccTexts(major byte) [][]byte {
	const unnamed = "unnamed"
	if major < 4 {
		desc := append([]byte("desc\x00\x00\x00\x00\x00\x00\x00\x08"), unnamed...)
		desc = append(desc, make([]byte, 1+4+4+2+1+67)...) // the text's end, no Unicode, no ScriptCode
		return [][]byte{desc, []byte("text\x00\x00\x00\x00" + unnamed + "\x00")}
	}
	mluc := []byte("mluc\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0cenUS\x00\x00\x00\x0e\x00\x00\x00\x1c")
	for _, c := range []byte(unnamed) {
		mluc = append(mluc, 0, c)
	}
	return [][]byte{mluc, mluc}
}

// trimICCTag cuts a tag's data to what its type can use: nothing is behind the numbers of a curve. Lookup tables stay whole. Types
// that no conversion uses give nil.
func trimICCTag(d []byte) []byte {
	if len(d) < iccReserved+4 {
		return nil
	}
	var want uint64
	switch string(d[:4]) {
	case "XYZ ":
		want = 12
	case "cicp":
		want = 4
	case "sf32":
		want = 9 * 4
	case "curv":
		want = 4 + 2*uint64(binary.BigEndian.Uint32(d[8:]))
	case "para":
		kind := binary.BigEndian.Uint16(d[8:])
		if kind > 4 {
			return nil
		}
		want = 4 + 4*[]uint64{1, 3, 4, 5, 7}[kind]
	case "mft1", "mft2", "mAB ", "mBA ", "mpet":
		return d
	default:
		return nil
	}
	if want += iccReserved; want > uint64(len(d)) {
		return nil
	}
	return d[:want]
}

func writeProfile(icc []byte, names []string, data [][]byte) []byte {
	out := make([]byte, iccHeader, len(icc)+512)
	copy(out[8:24], icc[8:24])                                           // version, class, colour spaces
	copy(out[24:], []byte{0x07, 0xD0, 0, 1, 0, 1})                       // a date: 2000-01-01
	copy(out[36:], "acsp")                                               //
	out[67] = icc[67] & 3                                                // rendering intent
	copy(out[68:80], "\x00\x00\xf6\xd6\x00\x01\x00\x00\x00\x00\xd3\x2d") // D50, the only illuminant that there is
	out = binary.BigEndian.AppendUint32(out, uint32(len(names)))
	table := len(out)
	out = append(out, make([]byte, iccTag*len(names))...)
	written := map[string]int{} // equal curves are usually stored once
	for i, name := range names {
		at, ok := written[string(data[i])]
		if !ok {
			for len(out)%4 != 0 {
				out = append(out, 0)
			}
			at = len(out)
			written[string(data[i])] = at
			out = append(out, data[i]...)
		}
		entry := out[table+iccTag*i:]
		copy(entry, name)
		binary.BigEndian.PutUint32(entry[4:], uint32(at))
		binary.BigEndian.PutUint32(entry[8:], uint32(len(data[i])))
	}
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)))
	return out
}

// inflateProfile unpacks a PNG's profile. A profile begins with its own size, so that a small stream of endless zeros costs nothing.
func inflateProfile(packed []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, nil
	}
	var head [iccHeader]byte
	if _, err := io.ReadFull(z, head[:]); err != nil || string(head[36:40]) != "acsp" {
		return nil, nil
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxProfile {
		return nil, errProfileSize(int64(size))
	}
	// Grows with what is really there, whatever is claimed.
	rest, err := io.ReadAll(io.LimitReader(z, max(int64(size)-iccHeader, 0)))
	if err != nil {
		return nil, nil
	}
	return cleanProfile(append(head[:], rest...)), nil
}

// wrapProfileForPNG stores the profile without compressing it: what a compressor makes can change from one version to the next, and
// the same picture must stay the same bytes.
func wrapProfileForPNG(icc []byte) []byte {
	const most = 65_535 // of a stored block of deflate
	out := append(make([]byte, 0, len(icc)+len(icc)/most*5+32), "icc\x00\x00\x78\x01"...)
	for rest := icc; ; {
		n := min(len(rest), most)
		final := byte(0)
		if n == len(rest) {
			final = 1
		}
		out = append(out, final, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		out = append(out, rest[:n]...)
		if rest = rest[n:]; len(rest) == 0 {
			return binary.BigEndian.AppendUint32(out, adler32.Checksum(icc))
		}
	}
}
