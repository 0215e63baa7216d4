package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"petpick/src/pet"
)

// ErrFormat: an object of ours is truncated, corrupt, or of a version that this program does not know. Nothing overwrites it.
var ErrFormat = errors.New("not in a format that this program reads")

const formatVersion = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var le = binary.LittleEndian

// seal ends an object (FORMAT.md, "Boxes").
func seal(b []byte) []byte { return le.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

// unseal checks what every object of ours has: a magic, a format version, and a CRC-32C of all before it at the end.
func unseal(b []byte, magic string, atLeast int) error {
	if len(b) < atLeast {
		return fmt.Errorf("%w: %d bytes, at least %d expected: truncated", ErrFormat, len(b), atLeast)
	}
	if err := checkMagic(b, magic); err != nil {
		return err
	}
	body := b[:len(b)-4]
	if got, want := crc32.Checksum(body, castagnoli), le.Uint32(b[len(b)-4:]); got != want {
		return fmt.Errorf("%w: checksum %08x, computed %08x: truncated or corrupt", ErrFormat, want, got)
	}
	return nil
}

func checkMagic(b []byte, magic string) error {
	if string(b[:4]) != magic {
		return fmt.Errorf("%w: begins with %q, not %q", ErrFormat, b[:4], magic)
	}
	if v := le.Uint16(b[4:]); v != formatVersion {
		return fmt.Errorf("%w: format version %d, this program knows %d", ErrFormat, v, formatVersion)
	}
	return nil
}

func compare(a, b pet.ID) int { return bytes.Compare(a[:], b[:]) }
