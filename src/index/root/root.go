// Package root is the one object of a label's index that changes (src/index/FORMAT.md, "Root"): which segments there are, and which pictures
// are not in them, or not as they are now. It does not know how it is read or swapped.
package root

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
	// MaxTail and MaxOverrides are what a root holds before it is spilled, or must be merged.
	MaxTail      = 2048
	MaxOverrides = 2048
	MaxSegments  = 4096
	// HardTail: a tail may grow past its limit while all its pictures have journal keys, and so cannot be spilled.
	HardTail = 1 << 16
)

var (
	rootBox = box.Kind{Magic: "PPRT", Version: 3}
	le      = binary.LittleEndian
)

// Root is a label's index but for its segments' contents. It is immutable once it is made.
type Root struct {
	Version   uint64
	Epoch     uint64
	Crowd     uint32          // entries that the last fold carried
	At        time.Time       // of its reading; to the millisecond
	Reindexed uint64          // in milliseconds of Unix time: pictures of older ADDs may be in a segment
	Rows      []segment.Row   // by the time of their listing
	Tail      []segment.Entry // by id; no weight is 0
	Overrides []Override      // by id
}

// Override is a picture whose truth was looked up again: it replaces what segments say of it.
type Override struct {
	segment.Entry        // weight 0 is a tombstone
	Held                 // what segments say of it, which it supersedes
	At            uint64 // when it was made, in milliseconds of Unix time
}

// Held is what segments have of a picture.
type Held struct {
	Old uint32 // the sum of its weights there
	In  uint64 // the name of the segment, or of one of them; 0 when there is none
}

// Find finds a picture among some in the order of ids.
func Find(s []segment.Entry, id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(w segment.Entry, id pet.ID) int { return pet.Compare(w.ID, id) })
}

// FindOverride finds a picture's among overrides.
func FindOverride(s []Override, id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(o Override, id pet.ID) int { return pet.Compare(o.ID, id) })
}

// SetTail adds a picture, unless it is there.
func (r *Root) SetTail(w segment.Entry) {
	if i, there := Find(r.Tail, w.ID); !there {
		r.Tail = slices.Insert(r.Tail, i, w)
	}
}

// SetOverride makes an override, which speaks for the picture instead of all else.
func (r *Root) SetOverride(o Override) {
	if i, there := Find(r.Tail, o.ID); there {
		r.Tail = slices.Delete(r.Tail, i, i+1)
	}
	i, there := FindOverride(r.Overrides, o.ID)
	if !there {
		r.Overrides = slices.Insert(r.Overrides, i, o)
	}
	r.Overrides[i] = o
}

// Next is a copy to change, of the version that follows.
func (r *Root) Next() *Root {
	next := *r
	next.Version++
	next.Rows, next.Tail, next.Overrides = slices.Clone(r.Rows), slices.Clone(r.Tail), slices.Clone(r.Overrides)
	return &next
}

// Counts are the live pictures and the sum of their weights: an override knows what it supersedes, so both are exact.
func (r *Root) Counts() (pictures int, total uint64) {
	for _, row := range r.Rows {
		pictures, total = pictures+int(row.N), total+row.Total
	}
	for _, w := range r.Tail {
		pictures, total = pictures+1, total+uint64(w.Weight)
	}
	for _, o := range r.Overrides {
		if o.Weight > 0 {
			pictures++
		}
		if o.Old > 0 {
			pictures--
		}
		total += uint64(o.Weight) - uint64(o.Old)
	}
	return pictures, total
}

// Encode makes the bytes of a root; the nonce makes them unlike those of any other.
func (r *Root) Encode(nonce uint64) []byte {
	b := rootBox.Begin(rootHeader + len(r.Rows)*rowSize + len(r.Tail)*tailSize + len(r.Overrides)*overrideSize + 4)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, r.Version)
	b = le.AppendUint64(b, nonce)
	b = le.AppendUint64(b, r.Epoch)
	b = le.AppendUint32(b, uint32(len(r.Rows)))
	b = le.AppendUint32(b, uint32(len(r.Tail)))
	b = le.AppendUint32(b, uint32(len(r.Overrides)))
	b = le.AppendUint32(b, r.Crowd)
	b = le.AppendUint64(b, uint64(r.At.UnixMilli()))
	b = le.AppendUint64(b, r.Reindexed)
	for _, row := range r.Rows {
		b = le.AppendUint64(b, row.Name)
		b = le.AppendUint32(b, row.N)
		b = le.AppendUint64(b, row.Total)
		b = append(append(b, row.First[:]...), row.Last[:]...)
	}
	for _, w := range r.Tail {
		b = segment.AppendEntry(b, w)
	}
	for _, o := range r.Overrides {
		b = le.AppendUint32(segment.AppendEntry(b, o.Entry), o.Old)
		b = le.AppendUint64(le.AppendUint64(b, o.In), o.At)
	}
	return box.Seal(b)
}

// Decode reads them.
func Decode(b []byte) (*Root, error) {
	if err := rootBox.Unseal(b, rootHeader+4); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	r := &Root{Version: le.Uint64(b[8:]), Epoch: le.Uint64(b[24:]), Crowd: le.Uint32(b[44:]), At: time.UnixMilli(int64(le.Uint64(b[48:]))), Reindexed: le.Uint64(b[56:])}
	rows, tail, overrides := int(le.Uint32(b[32:])), int(le.Uint32(b[36:])), int(le.Uint32(b[40:]))
	// Before memory is spent on the counts.
	if rows > MaxSegments || tail > HardTail || overrides > MaxOverrides || len(b) != rootHeader+rows*rowSize+tail*tailSize+overrides*overrideSize+4 {
		return nil, fmt.Errorf("root: %w: %d bytes for %d segments, %d in the tail, %d overrides", box.ErrFormat, len(b), rows, tail, overrides)
	}
	b = b[rootHeader:]
	r.Rows, r.Tail, r.Overrides = make([]segment.Row, rows), make([]segment.Entry, tail), make([]Override, overrides)
	for i := range r.Rows {
		r.Rows[i] = segment.Row{Name: le.Uint64(b), N: le.Uint32(b[8:]), Total: le.Uint64(b[12:]), First: pet.ID(b[20:36]), Last: pet.ID(b[36:52])}
		b = b[rowSize:]
	}
	for i := range r.Tail {
		r.Tail[i] = segment.EntryAt(b)
		b = b[tailSize:]
	}
	for i := range r.Overrides {
		r.Overrides[i] = Override{segment.EntryAt(b), Held{le.Uint32(b[20:]), le.Uint64(b[24:])}, le.Uint64(b[32:])}
		b = b[overrideSize:]
	}
	return r, r.check()
}

// check refuses what could not be drawn from.
func (r *Root) check() error {
	for i, row := range r.Rows {
		if n := uint64(row.N); n == 0 || n > segment.Max || row.Total < n || row.Total > n*uint64(pet.MaxWeight) || pet.Compare(row.First, row.Last) > 0 {
			return fmt.Errorf("root: %w: segment %d: %d pictures of total %d, from %s to %s", box.ErrFormat, i, n, row.Total, row.First, row.Last)
		}
	}
	for i, w := range r.Tail {
		if w.Weight == 0 || w.Weight > pet.MaxWeight || i > 0 && pet.Compare(r.Tail[i-1].ID, w.ID) >= 0 {
			return fmt.Errorf("root: %w: %s of weight %d in the tail", box.ErrFormat, w.ID, w.Weight)
		}
	}
	for i, o := range r.Overrides {
		if o.Weight > pet.MaxWeight || i > 0 && pet.Compare(r.Overrides[i-1].ID, o.ID) >= 0 {
			return fmt.Errorf("root: %w: override %s of weight %d", box.ErrFormat, o.ID, o.Weight)
		}
	}
	return nil
}
