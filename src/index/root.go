package index

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"petpick/src/box"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// Sizes and limits (FORMAT.md, "Root").
const (
	rootHeader   = 64
	rowSize      = 52
	tailSize     = 20
	overrideSize = 40
	maxTail      = 2048
	maxOverrides = 2048
	maxSegments  = 4096
	// A tail may grow past its limit while all its pictures have journal keys, and so cannot be spilled.
	hardTail = 1 << 16
)

var (
	rootBox = box.Kind{Magic: "PPRT", Version: 3}
	le      = binary.LittleEndian
)

// root is a label's index but for its segments' contents. It is immutable once it is made.
type root struct {
	version   uint64
	epoch     uint64
	crowd     uint32          // entries that the last fold carried
	at        time.Time       // of its reading; to the millisecond
	reindexed uint64          // in milliseconds of Unix time: pictures of older ADDs may be in a segment
	rows      []segment.Row   // by the time of their listing
	tail      []segment.Entry // by id; no weight is 0
	overrides []override      // by id
}

// override is a picture whose truth was looked up again: it replaces what segments say of it.
type override struct {
	segment.Entry        // weight 0 is a tombstone
	held                 // what segments say of it, which it supersedes
	at            uint64 // when it was made, in milliseconds of Unix time
}

// held is what segments have of a picture.
type held struct {
	old uint32 // the sum of its weights there
	in  uint64 // the name of the segment, or of one of them; 0 when there is none
}

func findWeighted(s []segment.Entry, id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(w segment.Entry, id pet.ID) int { return pet.Compare(w.ID, id) })
}

func findOverride(s []override, id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(o override, id pet.ID) int { return pet.Compare(o.ID, id) })
}

// setTail adds a picture, unless it is there.
func (r *root) setTail(w segment.Entry) {
	if i, there := findWeighted(r.tail, w.ID); !there {
		r.tail = slices.Insert(r.tail, i, w)
	}
}

// setOverride makes an override, which speaks for the picture instead of all else.
func (r *root) setOverride(o override) {
	if i, there := findWeighted(r.tail, o.ID); there {
		r.tail = slices.Delete(r.tail, i, i+1)
	}
	i, there := findOverride(r.overrides, o.ID)
	if !there {
		r.overrides = slices.Insert(r.overrides, i, o)
	}
	r.overrides[i] = o
}

// next is a copy to change, of the version that follows.
func (r *root) next() *root {
	next := *r
	next.version++
	next.rows, next.tail, next.overrides = slices.Clone(r.rows), slices.Clone(r.tail), slices.Clone(r.overrides)
	return &next
}

// counts are the live pictures and the sum of their weights: an override knows what it supersedes, so both are exact.
func (r *root) counts() (pictures int, total uint64) {
	for _, row := range r.rows {
		pictures, total = pictures+int(row.N), total+row.Total
	}
	for _, w := range r.tail {
		pictures, total = pictures+1, total+uint64(w.Weight)
	}
	for _, o := range r.overrides {
		if o.Weight > 0 {
			pictures++
		}
		if o.old > 0 {
			pictures--
		}
		total += uint64(o.Weight) - uint64(o.old)
	}
	return pictures, total
}

func (r *root) encode(nonce uint64) []byte {
	b := rootBox.Begin(rootHeader + len(r.rows)*rowSize + len(r.tail)*tailSize + len(r.overrides)*overrideSize + 4)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, r.version)
	b = le.AppendUint64(b, nonce)
	b = le.AppendUint64(b, r.epoch)
	b = le.AppendUint32(b, uint32(len(r.rows)))
	b = le.AppendUint32(b, uint32(len(r.tail)))
	b = le.AppendUint32(b, uint32(len(r.overrides)))
	b = le.AppendUint32(b, r.crowd)
	b = le.AppendUint64(b, uint64(r.at.UnixMilli()))
	b = le.AppendUint64(b, r.reindexed)
	for _, row := range r.rows {
		b = le.AppendUint64(b, row.Name)
		b = le.AppendUint32(b, row.N)
		b = le.AppendUint64(b, row.Total)
		b = append(append(b, row.First[:]...), row.Last[:]...)
	}
	for _, w := range r.tail {
		b = segment.AppendEntry(b, w)
	}
	for _, o := range r.overrides {
		b = le.AppendUint32(segment.AppendEntry(b, o.Entry), o.old)
		b = le.AppendUint64(le.AppendUint64(b, o.in), o.at)
	}
	return box.Seal(b)
}

func decodeRoot(b []byte) (*root, error) {
	if err := rootBox.Unseal(b, rootHeader+4); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	r := &root{version: le.Uint64(b[8:]), epoch: le.Uint64(b[24:]), crowd: le.Uint32(b[44:]), at: time.UnixMilli(int64(le.Uint64(b[48:]))), reindexed: le.Uint64(b[56:])}
	rows, tail, overrides := int(le.Uint32(b[32:])), int(le.Uint32(b[36:])), int(le.Uint32(b[40:]))
	// Before memory is spent on the counts.
	if rows > maxSegments || tail > hardTail || overrides > maxOverrides || len(b) != rootHeader+rows*rowSize+tail*tailSize+overrides*overrideSize+4 {
		return nil, fmt.Errorf("root: %w: %d bytes for %d segments, %d in the tail, %d overrides", ErrFormat, len(b), rows, tail, overrides)
	}
	b = b[rootHeader:]
	r.rows, r.tail, r.overrides = make([]segment.Row, rows), make([]segment.Entry, tail), make([]override, overrides)
	for i := range r.rows {
		r.rows[i] = segment.Row{Name: le.Uint64(b), N: le.Uint32(b[8:]), Total: le.Uint64(b[12:]), First: pet.ID(b[20:36]), Last: pet.ID(b[36:52])}
		b = b[rowSize:]
	}
	for i := range r.tail {
		r.tail[i] = segment.EntryAt(b)
		b = b[tailSize:]
	}
	for i := range r.overrides {
		r.overrides[i] = override{segment.EntryAt(b), held{le.Uint32(b[20:]), le.Uint64(b[24:])}, le.Uint64(b[32:])}
		b = b[overrideSize:]
	}
	return r, r.check()
}

// check refuses what could not be drawn from.
func (r *root) check() error {
	for i, row := range r.rows {
		if n := uint64(row.N); n == 0 || n > segment.Max || row.Total < n || row.Total > n*uint64(pet.MaxWeight) || pet.Compare(row.First, row.Last) > 0 {
			return fmt.Errorf("root: %w: segment %d: %d pictures of total %d, from %s to %s", ErrFormat, i, n, row.Total, row.First, row.Last)
		}
	}
	for i, w := range r.tail {
		if w.Weight == 0 || w.Weight > pet.MaxWeight || i > 0 && pet.Compare(r.tail[i-1].ID, w.ID) >= 0 {
			return fmt.Errorf("root: %w: %s of weight %d in the tail", ErrFormat, w.ID, w.Weight)
		}
	}
	for i, o := range r.overrides {
		if o.Weight > pet.MaxWeight || i > 0 && pet.Compare(r.overrides[i-1].ID, o.ID) >= 0 {
			return fmt.Errorf("root: %w: override %s of weight %d", ErrFormat, o.ID, o.Weight)
		}
	}
	return nil
}
