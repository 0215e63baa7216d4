package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"petpick/src/blob"
	"petpick/src/pet"
)

var (
	// ErrFormat: an object of ours is truncated or corrupt. Nothing but petpick reindex overwrites it.
	ErrFormat = errors.New("not in a format that this program reads")
	// ErrNewer, an ErrFormat, too: a newer program wrote the object. Not even reindex overwrites it.
	ErrNewer = fmt.Errorf("%w: it is newer: upgrade this program", ErrFormat)
)

// box is what an object begins with (FORMAT.md, "Boxes").
type box struct {
	magic   string
	version uint16
}

var (
	verdictBox = box{"PPVD", 2}
	rootBox    = box{"PPRT", 3}
	segmentBox = box{"PPSG", 2}
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// begin makes a box with room for size bytes in all.
func (k box) begin(size int) []byte {
	return le.AppendUint16(append(make([]byte, 0, size), k.magic...), k.version)
}

// advise says what to do about an object of the index that cannot be read or is missing.
func advise(err error) error {
	if errors.Is(err, ErrFormat) && !errors.Is(err, ErrNewer) || errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("%w: run petpick reindex", err)
	}
	return err
}

// seal ends a box.
func seal(b []byte) []byte { return le.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

// unseal checks what every box has. The checksum comes before the version, for it is the same in every version: only what is sound can
// be newer.
func (k box) unseal(b []byte, atLeast int) error {
	switch {
	case len(b) < atLeast:
		return fmt.Errorf("%w: %d bytes, at least %d expected: truncated", ErrFormat, len(b), atLeast)
	case string(b[:4]) != k.magic:
		return fmt.Errorf("%w: begins with %q, not %q", ErrFormat, b[:4], k.magic)
	}
	if err := checkSum(crc32.Checksum(b[:len(b)-4], castagnoli), b[len(b)-4:]); err != nil {
		return err
	}
	return k.checkVersion(b)
}

func checkSum(computed uint32, end []byte) error {
	if want := le.Uint32(end); computed != want {
		return fmt.Errorf("%w: checksum %08x, computed %08x: truncated or corrupt", ErrFormat, want, computed)
	}
	return nil
}

func (k box) checkVersion(b []byte) error {
	switch v := le.Uint16(b[4:]); {
	case v > k.version:
		return fmt.Errorf("%w: format version %d, this program knows %d", ErrNewer, v, k.version)
	case v < k.version:
		return fmt.Errorf("%w: format version %d, this program knows %d", ErrFormat, v, k.version)
	}
	return nil
}

func compare(a, b pet.ID) int { return bytes.Compare(a[:], b[:]) }
