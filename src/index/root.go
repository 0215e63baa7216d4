package index

import (
	"fmt"
	"slices"

	"petpick/src/pet"
)

// Sizes and limits (FORMAT.md, "Root").
const (
	rootMagic    = "PPRT"
	rootHeader   = 48
	rowSize      = 56
	tailSize     = 20
	overrideSize = 32
	maxTail      = 2048
	maxOverrides = 2048
	maxSegments  = 4096
	// A tail may grow past its limit while all its pictures have journal keys, and so cannot be spilled.
	hardTail = 1 << 16
)

// root is a label's index but for its segments' contents. It is immutable once it is made.
type root struct {
	version   uint64
	epoch     uint64
	rows      []row
	tail      []weighted // by id; no weight is 0
	overrides []override // by id
}

// row describes a segment.
type row struct {
	name        uint64
	n, max      uint32 // pictures, and the largest weight
	total       uint64
	first, last pet.ID
}

func (r row) covers(id pet.ID) bool { return compare(r.first, id) <= 0 && compare(id, r.last) <= 0 }

// weighted is a picture with its weight.
type weighted struct {
	id     pet.ID
	weight pet.Weight
}

// override is a picture whose truth was looked up again: it replaces what segments say of it.
type override struct {
	weighted        // weight 0 is a tombstone
	old      uint32 // the mass that it supersedes: the sum of its weights in segments
	at       uint64 // when it was made, in milliseconds of Unix time
}

func findWeighted(s []weighted, id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(w weighted, id pet.ID) int { return compare(w.id, id) })
}

func findOverride(s []override, id pet.ID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(o override, id pet.ID) int { return compare(o.id, id) })
}

func (r *root) setTail(w weighted) {
	i, there := findWeighted(r.tail, w.id)
	if there {
		r.tail[i] = w
		return
	}
	r.tail = slices.Insert(r.tail, i, w)
}

func (r *root) dropTail(id pet.ID) {
	if i, there := findWeighted(r.tail, id); there {
		r.tail = slices.Delete(r.tail, i, i+1)
	}
}

func (r *root) setOverride(o override) {
	i, there := findOverride(r.overrides, o.id)
	if there {
		r.overrides[i] = o
		return
	}
	r.overrides = slices.Insert(r.overrides, i, o)
}

// next is a copy to change, of the version that follows.
func (r *root) next() *root {
	return &root{
		version: r.version + 1, epoch: r.epoch,
		rows: slices.Clone(r.rows), tail: slices.Clone(r.tail), overrides: slices.Clone(r.overrides),
	}
}

// counts are the live pictures and the sum of their weights: an override knows what it supersedes, so both are exact.
func (r *root) counts() (pictures int, total uint64) {
	for _, row := range r.rows {
		pictures += int(row.n)
		total += row.total
	}
	for _, w := range r.tail {
		pictures++
		total += uint64(w.weight)
	}
	for _, o := range r.overrides {
		if o.weight > 0 {
			pictures++
		}
		if o.old > 0 {
			pictures--
		}
		total += uint64(o.weight) - uint64(o.old)
	}
	return pictures, total
}

func (r *root) encode(nonce uint64) []byte {
	b := make([]byte, 0, rootHeader+len(r.rows)*rowSize+len(r.tail)*tailSize+len(r.overrides)*overrideSize+4)
	b = append(b, rootMagic...)
	b = le.AppendUint16(b, formatVersion)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, r.version)
	b = le.AppendUint64(b, nonce)
	b = le.AppendUint64(b, r.epoch)
	b = le.AppendUint32(b, uint32(len(r.rows)))
	b = le.AppendUint32(b, uint32(len(r.tail)))
	b = le.AppendUint32(b, uint32(len(r.overrides)))
	b = le.AppendUint32(b, 0)
	for _, row := range r.rows {
		b = le.AppendUint64(b, row.name)
		b = le.AppendUint32(b, row.n)
		b = le.AppendUint32(b, row.max)
		b = le.AppendUint64(b, row.total)
		b = append(append(b, row.first[:]...), row.last[:]...)
	}
	for _, w := range r.tail {
		b = le.AppendUint32(append(b, w.id[:]...), uint32(w.weight))
	}
	for _, o := range r.overrides {
		b = le.AppendUint32(append(b, o.id[:]...), uint32(o.weight))
		b = le.AppendUint32(b, o.old)
		b = le.AppendUint64(b, o.at)
	}
	return seal(b)
}

func decodeRoot(b []byte) (*root, error) {
	if err := unseal(b, rootMagic, rootHeader+4); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	r := &root{version: le.Uint64(b[8:]), epoch: le.Uint64(b[24:])}
	rows, tail, overrides := int(le.Uint32(b[32:])), int(le.Uint32(b[36:])), int(le.Uint32(b[40:]))
	// Before memory is spent on the counts.
	if rows > maxSegments || tail > hardTail || overrides > maxOverrides || len(b) != rootHeader+rows*rowSize+tail*tailSize+overrides*overrideSize+4 {
		return nil, fmt.Errorf("root: %w: %d bytes for %d segments, %d in the tail, %d overrides", ErrFormat, len(b), rows, tail, overrides)
	}
	b = b[rootHeader:]
	r.rows = make([]row, rows)
	for i := range r.rows {
		r.rows[i] = row{name: le.Uint64(b), n: le.Uint32(b[8:]), max: le.Uint32(b[12:]), total: le.Uint64(b[16:]), first: pet.ID(b[24:40]), last: pet.ID(b[40:56])}
		if err := r.rows[i].check(); err != nil {
			return nil, fmt.Errorf("root: segment %d: %w", i, err)
		}
		b = b[rowSize:]
	}
	r.tail = make([]weighted, tail)
	for i := range r.tail {
		r.tail[i] = weighted{pet.ID(b[:16]), pet.Weight(le.Uint32(b[16:]))}
		if w := r.tail[i]; w.weight == 0 || w.weight > pet.MaxWeight || i > 0 && compare(r.tail[i-1].id, w.id) >= 0 {
			return nil, fmt.Errorf("root: %w: %s of weight %d in the tail", ErrFormat, w.id, w.weight)
		}
		b = b[tailSize:]
	}
	r.overrides = make([]override, overrides)
	for i := range r.overrides {
		r.overrides[i] = override{weighted{pet.ID(b[:16]), pet.Weight(le.Uint32(b[16:]))}, le.Uint32(b[20:]), le.Uint64(b[24:])}
		if o := r.overrides[i]; o.weight > pet.MaxWeight || i > 0 && compare(r.overrides[i-1].id, o.id) >= 0 {
			return nil, fmt.Errorf("root: %w: override %s of weight %d", ErrFormat, o.id, o.weight)
		}
		b = b[overrideSize:]
	}
	return r, nil
}

func (r row) check() error {
	if r.n == 0 || r.n > maxSegment || r.max == 0 || r.max > uint32(pet.MaxWeight) || r.total < uint64(r.max) || r.total > uint64(r.n)*uint64(r.max) || compare(r.first, r.last) > 0 {
		return fmt.Errorf("%w: %d pictures, weights to %d, total %d, from %s to %s", ErrFormat, r.n, r.max, r.total, r.first, r.last)
	}
	return nil
}
