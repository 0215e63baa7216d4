// Package box is what every object of ours but a picture begins and ends with (src/index/FORMAT.md, "Boxes"): magic, version and checksum.
package box

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

var (
	// ErrFormat: an object is truncated or corrupt.
	ErrFormat = errors.New("not in a format that this program reads")
	// ErrNewer, an ErrFormat, too: a newer program wrote the object.
	ErrNewer = fmt.Errorf("%w: it is newer: upgrade this program", ErrFormat)
)

// Kind is what an object begins with (FORMAT.md, "Boxes").
type Kind struct {
	Magic   string
	Version uint16
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// Sum is the checksum of what was added to it: an object that is read in parts is held against its end as well.
type Sum uint32

// Add adds bytes.
func (s *Sum) Add(b []byte) { *s = Sum(crc32.Update(uint32(*s), castagnoli, b)) }

// Check compares with the last bytes of a box.
func (s Sum) Check(end []byte) error {
	if want := le.Uint32(end); uint32(s) != want {
		return fmt.Errorf("%w: checksum %08x, computed %08x: truncated or corrupt", ErrFormat, want, uint32(s))
	}
	return nil
}

// Begin makes a box with room for size bytes in all.
func (k Kind) Begin(size int) []byte {
	return le.AppendUint16(append(make([]byte, 0, size), k.Magic...), k.Version)
}

// Seal ends a box.
func Seal(b []byte) []byte { return le.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

// Unseal checks what every box has. The checksum comes before the version, for it is the same in every version: only what is sound can
// be newer.
func (k Kind) Unseal(b []byte, atLeast int) error {
	switch {
	case len(b) < atLeast:
		return fmt.Errorf("%w: %d bytes, at least %d expected: truncated", ErrFormat, len(b), atLeast)
	case string(b[:4]) != k.Magic:
		return fmt.Errorf("%w: begins with %q, not %q", ErrFormat, b[:4], k.Magic)
	}
	if err := Sum(crc32.Checksum(b[:len(b)-4], castagnoli)).Check(b[len(b)-4:]); err != nil {
		return err
	}
	return k.CheckVersion(b)
}

// CheckVersion refuses every version but the one that is known.
func (k Kind) CheckVersion(b []byte) error {
	switch v := le.Uint16(b[4:]); {
	case v > k.Version:
		return fmt.Errorf("%w: format version %d, this program knows %d", ErrNewer, v, k.Version)
	case v < k.Version:
		return fmt.Errorf("%w: format version %d, this program knows %d", ErrFormat, v, k.Version)
	}
	return nil
}
