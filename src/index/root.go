package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"petpick/src/pet"
)

// ErrFormat: an object of ours is truncated, corrupt, or of a version that this program does not know. Nothing overwrites it.
var ErrFormat = errors.New("not in a format that this program reads")

const (
	formatVersion = 1
	rootMagic     = "PPRT"
	rootHeader    = 40
	entrySize     = 20
	// maxPictures in one table: 2^20 weights below 2^24 have a sum below 2^44, which leaves 20 bits of a word for an alias slot.
	maxPictures = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a picture in the draw. cell belongs to the alias table: threshold << 20 | alias slot.
// 32 B a picture: a million pictures take 32 MB.
type entry struct {
	cell   uint64
	id     pet.ID
	weight pet.Weight
}

// root is a label's whole index (FORMAT.md, "Root"). It is immutable once it is made, but for the cells, which are filled once.
type root struct {
	version uint64
	total   uint64
	entries []entry // by id; no weight is 0
	table   sync.Once
}

// ready fills the alias table's cells; a draw waits for that only if no reading has done it.
func (r *root) ready() *root {
	r.table.Do(func() {
		if r.total > 0 {
			buildAlias(r.entries, r.total)
		}
	})
	return r
}

func (r *root) find(id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(r.entries, id, func(e entry, id pet.ID) int { return bytes.Compare(e.id[:], id[:]) })
}

// weight is 0 for a picture that is not there.
func (r *root) weight(id pet.ID) pet.Weight {
	if i, there := r.find(id); there {
		return r.entries[i].weight
	}
	return 0
}

// with returns the next root, in which the pictures of changes have these weights.
func (r *root) with(changes map[pet.ID]pet.Weight) (*root, error) {
	next := &root{version: r.version + 1, entries: make([]entry, 0, len(r.entries)+len(changes))}
	for _, e := range r.entries {
		if _, changed := changes[e.id]; !changed {
			// Not e: its cell may be being filled at this moment, and is another root's anyway.
			next.entries = append(next.entries, entry{id: e.id, weight: e.weight})
		}
	}
	kept := len(next.entries)
	for id, w := range changes {
		if w > 0 {
			next.entries = append(next.entries, entry{id: id, weight: w})
		}
	}
	byID := func(a, b entry) int { return bytes.Compare(a.id[:], b.id[:]) }
	slices.SortFunc(next.entries[kept:], byID)
	mergeTail(next.entries, kept, byID)
	if len(next.entries) > maxPictures {
		return nil, fmt.Errorf("%w: %d pictures is the most that a label holds", ErrFull, maxPictures)
	}
	for _, e := range next.entries {
		next.total += uint64(e.weight)
	}
	return next, nil
}

// mergeTail merges the sorted halves s[:mid] and s[mid:], the second being small: each of its elements is moved to its place.
func mergeTail(s []entry, mid int, cmp func(a, b entry) int) {
	if len(s)-mid > 64 {
		slices.SortFunc(s, cmp)
		return
	}
	for i := mid; i < len(s); i++ {
		e := s[i]
		at, _ := slices.BinarySearchFunc(s[:i], e, cmp)
		copy(s[at+1:i+1], s[at:i])
		s[at] = e
	}
}

func (r *root) encode(nonce uint64) []byte {
	b := make([]byte, 0, rootHeader+len(r.entries)*entrySize+4)
	b = append(b, rootMagic...)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, r.version)
	b = binary.LittleEndian.AppendUint64(b, nonce)
	b = binary.LittleEndian.AppendUint64(b, r.total)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(r.entries)))
	for _, e := range r.entries {
		b = append(b, e.id[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(e.weight))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeRoot(b []byte) (*root, error) {
	if err := checkBox(b, rootMagic, rootHeader+4); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	r := &root{version: binary.LittleEndian.Uint64(b[8:])}
	total, n := binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint64(b[32:])
	if n > maxPictures || uint64(len(b)) != rootHeader+n*entrySize+4 { // before memory is spent on n
		return nil, fmt.Errorf("root: %w: %d bytes for %d pictures", ErrFormat, len(b), n)
	}
	r.entries = make([]entry, n)
	for i := range r.entries {
		at := b[rootHeader+i*entrySize:]
		e := entry{id: pet.ID(at[:16]), weight: pet.Weight(binary.LittleEndian.Uint32(at[16:]))}
		if e.weight == 0 || e.weight > pet.MaxWeight || !e.id.Type().Known() {
			return nil, fmt.Errorf("root: %w: picture %s of weight %d", ErrFormat, e.id, e.weight)
		}
		if i > 0 && bytes.Compare(r.entries[i-1].id[:], e.id[:]) >= 0 {
			return nil, fmt.Errorf("root: %w: picture %s out of order", ErrFormat, e.id)
		}
		r.entries[i] = e
		r.total += uint64(e.weight)
	}
	if r.total != total {
		return nil, fmt.Errorf("root: %w: weights sum to %d, header says %d", ErrFormat, r.total, total)
	}
	return r, nil
}

// checkBox checks what every object of ours has: a magic, a format version, and a CRC-32C of all before it at the end.
func checkBox(b []byte, magic string, atLeast int) error {
	if len(b) < atLeast {
		return fmt.Errorf("%w: %d bytes, at least %d expected: truncated", ErrFormat, len(b), atLeast)
	}
	if string(b[:4]) != magic {
		return fmt.Errorf("%w: begins with %q, not %q", ErrFormat, b[:4], magic)
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != formatVersion {
		return fmt.Errorf("%w: format version %d, this program knows %d: upgrade it", ErrFormat, v, formatVersion)
	}
	body := b[:len(b)-4]
	if got, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(b[len(b)-4:]); got != want {
		return fmt.Errorf("%w: checksum %08x, computed %08x: truncated or corrupt", ErrFormat, want, got)
	}
	return nil
}
