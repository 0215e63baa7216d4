package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/pet"
)

// Sizes and limits (FORMAT.md, "Segment").
const (
	segmentHeader = 32
	recordSize    = 48
	// maxSegment pictures: 2^20 weights below 2^24 have a sum below 2^44, which leaves 20 bits of a word for an alias slot.
	maxSegment = 1 << 20
)

var segmentBox = box.Kind{Magic: "PPSG", Version: 2}

// advise says what to do about an object of the index that cannot be read or is missing.
func advise(err error) error {
	if errors.Is(err, ErrFormat) && !errors.Is(err, ErrNewer) || errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("%w: run petpick reindex", err)
	}
	return err
}

// segment is a segment in memory.
type segment struct {
	recs  []rec
	total uint64
}

// rec is a picture with its column of the alias table: threshold << 20 | alias slot. It has 32 B, half a cache line: a draw touches
// one of them, or two.
type rec struct {
	cell   uint64
	id     pet.ID
	weight pet.Weight
}

const recBytes = 32

// records makes columns of them.
type records []rec

func (r records) size() int                  { return len(r) }
func (r records) weight(i int) uint64        { return uint64(r[i].weight) }
func (r records) cell(i int) uint64          { return r[i].cell }
func (r records) setCell(i int, cell uint64) { r[i].cell = cell }

// newSegment takes over recs, which are in the order of ids and have no weight 0, and fills their cells.
func newSegment(recs []rec) *segment {
	s := &segment{recs: recs}
	for i := range recs {
		s.total += uint64(recs[i].weight)
	}
	buildAlias(records(recs), s.total)
	return s
}

func segmentOf(pictures []weighted) *segment {
	recs := make([]rec, len(pictures))
	for i, w := range pictures {
		recs[i].id, recs[i].weight = w.id, w.weight
	}
	return newSegment(recs)
}

// at is the picture of a column at a height that is below the total. It returns a pointer: a picture that is copied from hand to hand
// before it has arrived from memory holds up the draws that follow.
func (s *segment) at(column, height uint64) *rec {
	r := &s.recs[column]
	if height >= r.cell>>slotBits {
		r = &s.recs[r.cell&slotMask]
	}
	return r
}

// weight is 0 for a picture that is not there.
func (s *segment) weight(id pet.ID) pet.Weight {
	i := sort.Search(len(s.recs), func(i int) bool { return pet.Compare(s.recs[i].id, id) >= 0 })
	if i < len(s.recs) && s.recs[i].id == id {
		return s.recs[i].weight
	}
	return 0
}

// without builds the table again, without the overridden pictures: drawing from it rejects nothing.
func (s *segment) without(overridden map[pet.ID]struct{}) *segment {
	var left []rec
	for _, r := range s.recs {
		if _, gone := overridden[r.id]; !gone {
			left = append(left, r)
		}
	}
	return newSegment(left)
}

// body is a segment's bytes in the making. They are made in place: a merge has little room beside a million records.
type body []byte

func newBody(pictures int) body {
	return segmentBox.Begin(segmentHeader + pictures*recordSize + 4)[:segmentHeader]
}

func (b body) record(i int) []byte        { return b[segmentHeader+i*recordSize:][:recordSize] }
func (b body) size() int                  { return (len(b) - segmentHeader) / recordSize }
func (b body) weight(i int) uint64        { return uint64(le.Uint32(b.record(i)[16:])) }
func (b body) cell(i int) uint64          { return le.Uint64(b.record(i)[40:]) }
func (b body) setCell(i int, cell uint64) { le.PutUint64(b.record(i)[40:], cell) }

func (b body) add(w weighted) body {
	return append(appendWeighted(b, w), make([]byte, recordSize-20)...)
}

// finish makes the table, writes each record with both its pictures, so that a draw from a segment that is not in memory reads one
// record, and describes it all.
func (b body) finish(name uint64) (body, row) {
	n := b.size()
	r := row{name: name, n: uint32(n), first: weightedAt(b.record(0)).id, last: weightedAt(b.record(n - 1)).id}
	for i := range n {
		r.total += b.weight(i)
	}
	buildAlias(b, r.total)
	for i := range n {
		alias := b.record(int(b.cell(i) & slotMask))
		copy(b.record(i)[20:], alias[16:20])
		copy(b.record(i)[24:], alias[:16])
	}
	le.PutUint64(b[8:], uint64(n))
	le.PutUint64(b[16:], r.total)
	return box.Seal(b), r
}

func decodeSegment(b []byte, r row) (*segment, error) {
	if err := segmentBox.Unseal(b, segmentHeader+4); err != nil {
		return nil, fmt.Errorf("segment %016x: %w", r.name, err)
	}
	n := le.Uint64(b[8:])
	if n == 0 || n != uint64(r.n) || le.Uint64(b[16:]) != r.total || uint64(len(b)) != segmentHeader+n*recordSize+4 {
		return nil, fmt.Errorf("segment %016x: %w: %d bytes for %d pictures, the root says %d", r.name, ErrFormat, len(b), n, r.n)
	}
	s := &segment{recs: make([]rec, n), total: r.total}
	var total uint64
	for i := range s.recs {
		raw, c := b[segmentHeader+i*recordSize:], &s.recs[i]
		c.id, c.weight, c.cell = pet.ID(raw[:16]), pet.Weight(le.Uint32(raw[16:])), le.Uint64(raw[40:])
		total += uint64(c.weight)
		if c.weight == 0 || c.weight > pet.MaxWeight || c.cell&slotMask >= n || c.cell>>slotBits > r.total || i > 0 && pet.Compare(s.recs[i-1].id, c.id) >= 0 {
			return nil, fmt.Errorf("segment %016x: %w: record %d", r.name, ErrFormat, i)
		}
	}
	if total != r.total || s.recs[0].id != r.first || s.recs[n-1].id != r.last {
		return nil, fmt.Errorf("segment %016x: %w: its pictures are not those that the root describes", r.name, ErrFormat)
	}
	return s, nil
}

func (x *Index) segmentKey(name uint64) string {
	return fmt.Sprintf("index/%s/segments/%016x", x.label, name)
}

// putSegment stores a segment, under a new name.
func (x *Index) putSegment(ctx context.Context, b body) (row, error) {
	b, r := b.finish(x.rnd.Uint64())
	err := blob.Place(ctx, x.store, x.segmentKey(r.name), b)
	for try := 0; try < 2 && errors.Is(err, blob.ErrUnclear) && ctx.Err() == nil; try++ {
		err = blob.Place(ctx, x.store, x.segmentKey(r.name), b)
	}
	return r, err
}

// records reads n records of a segment that is not in memory, by one ranged GET.
func (x *Index) records(ctx context.Context, r row, from, n uint64) ([]byte, error) {
	return x.bytesOf(ctx, r, segmentHeader+from*recordSize, n*recordSize)
}

// bytesOf reads n bytes of a segment, which has the size that the root says.
func (x *Index) bytesOf(ctx context.Context, r row, from, n uint64) ([]byte, error) {
	o, err := x.store.GetRange(ctx, x.segmentKey(r.name), int64(from), int64(n))
	if errors.Is(err, blob.ErrRange) { // it is shorter
		err = fmt.Errorf("segment %016x: %w: %w", r.name, ErrFormat, err)
	}
	if err == nil && (uint64(len(o.Body)) != n || o.Size != int64(segmentHeader+uint64(r.n)*recordSize+4)) {
		err = fmt.Errorf("segment %016x: %w: %d bytes in all, %d of %d read", r.name, ErrFormat, o.Size, len(o.Body), n)
	}
	return o.Body, advise(err)
}

// remoteAt is at for a segment that is not in memory, by one ranged GET.
func (x *Index) remoteAt(ctx context.Context, r row, column, height uint64) (*rec, error) {
	raw, err := x.records(ctx, r, column, 1)
	if err != nil {
		return nil, err
	}
	threshold, pick := le.Uint64(raw[40:])>>slotBits, weightedAt(raw)
	if height >= threshold {
		pick = weighted{pet.ID(raw[24:40]), pet.Weight(le.Uint32(raw[20:]))}
	}
	if threshold > r.total || pick.weight == 0 || pick.weight > pet.MaxWeight || !r.covers(pick.id) { // a part has no checksum
		return nil, advise(fmt.Errorf("segment %016x: %w: a record of %s", r.name, ErrFormat, pick.id))
	}
	return &rec{id: pick.id, weight: pick.weight}, nil
}

// lookup finds a picture's weight in a segment. Ids are hashes, so that a picture's place can be guessed: one ranged GET around the
// guess nearly always holds it (4 standard deviations of the place), and tells when it does not.
func (x *Index) lookup(ctx context.Context, r row, id pet.ID) (pet.Weight, error) {
	if !r.covers(id) {
		return 0, nil
	}
	if s := x.cache.get(r.name); s != nil {
		return s.weight(id), nil
	}
	n := uint64(r.n)
	from, to := around(r, id)
	for width := to - from; ; width *= 8 {
		recs, err := x.records(ctx, r, from, to-from)
		if err != nil {
			return 0, err
		}
		count := int(to - from)
		at := func(i int) weighted { return weightedAt(recs[i*recordSize:]) }
		i := sort.Search(count, func(i int) bool { return pet.Compare(at(i).id, id) >= 0 })
		switch {
		case i < count && at(i).id == id:
			return at(i).weight, nil
		case (i > 0 || from == 0) && (i < count || to == n): // between two that are there
			return 0, nil
		}
		from, to = from-min(from, width), min(n, to+width)
	}
}

// around guesses where in a segment a picture is, or would be.
func around(r row, id pet.ID) (from, to uint64) {
	n := uint64(r.n)
	guess, width := uint64(place(r.first, r.last, id)*float64(n-1)), max(32, uint64(2*math.Sqrt(float64(n))))
	return guess - min(guess, width), min(n, guess+width+1)
}

// place is where id lies between first and last, from 0 to 1.
func place(first, last, id pet.ID) float64 {
	num := func(id pet.ID) float64 { return float64(binary.BigEndian.Uint64(id[:])) }
	if num(last) <= num(first) {
		return 0
	}
	return min(1, max(0, (num(id)-num(first))/(num(last)-num(first))))
}
