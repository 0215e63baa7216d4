package segment

import (
	"encoding/binary"
	"fmt"

	"petpick/src/box"
	"petpick/src/pet"
)

// Sizes and limits (FORMAT.md, "Segment").
const (
	segmentHeader = 32
	recordSize    = 48
	// Max pictures: 2^20 weights below 2^24 have a sum below 2^44, which leaves 20 bits of a word for an alias slot.
	Max = 1 << 20
)

var (
	segmentBox = box.Kind{Magic: "PPSG", Version: 2}
	le         = binary.LittleEndian
)

// Row is what a root says of a segment.
type Row struct {
	Name        uint64
	N           uint32 // pictures
	Total       uint64 // the sum of their weights
	First, Last pet.ID
}

// Covers says whether a picture's id is in the range of the segment's.
func (r Row) Covers(id pet.ID) bool {
	return pet.Compare(r.First, id) <= 0 && pet.Compare(id, r.Last) <= 0
}

func (r Row) size() int64 { return int64(segmentHeader + uint64(r.N)*recordSize + 4) }

// fault is an ErrFormat about the segment.
func (r Row) fault(format string, args ...any) error {
	return fmt.Errorf("segment %016x: %w: %s", r.Name, box.ErrFormat, fmt.Sprintf(format, args...))
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

func (b body) add(w Entry) body {
	return append(AppendEntry(b, w), make([]byte, recordSize-20)...)
}

// finish makes the table, writes each record with both its pictures, so that a draw from a segment that is not in memory reads one
// record, and describes it all.
func (b body) finish(name uint64) (body, Row) {
	n := b.size()
	r := Row{Name: name, N: uint32(n), First: EntryAt(b.record(0)).ID, Last: EntryAt(b.record(n - 1)).ID}
	for i := range n {
		r.Total += b.weight(i)
	}
	buildAlias(b, r.Total)
	for i := range n {
		alias := b.record(int(b.cell(i) & slotMask))
		copy(b.record(i)[20:], alias[16:20])
		copy(b.record(i)[24:], alias[:16])
	}
	le.PutUint64(b[8:], uint64(n))
	le.PutUint64(b[16:], r.Total)
	return box.Seal(b), r
}

// Decode reads a whole segment, which is to be the one that a root describes.
func Decode(b []byte, r Row) (*Table, error) {
	if err := segmentBox.Unseal(b, segmentHeader+4); err != nil {
		return nil, fmt.Errorf("segment %016x: %w", r.Name, err)
	}
	n := le.Uint64(b[8:])
	if n == 0 || n != uint64(r.N) || le.Uint64(b[16:]) != r.Total || int64(len(b)) != r.size() {
		return nil, r.fault("%d bytes for %d pictures, the root says %d", len(b), n, r.N)
	}
	s := &Table{recs: make([]rec, n), total: r.Total}
	var total uint64
	for i := range s.recs {
		raw, c := b[segmentHeader+i*recordSize:], &s.recs[i]
		c.ID, c.Weight, c.cell = pet.ID(raw[:16]), pet.Weight(le.Uint32(raw[16:])), le.Uint64(raw[40:])
		total += uint64(c.Weight)
		if c.Weight == 0 || c.Weight > pet.MaxWeight || c.cell&slotMask >= n || c.cell>>slotBits > r.Total || i > 0 && pet.Compare(s.recs[i-1].ID, c.ID) >= 0 {
			return nil, r.fault("record %d", i)
		}
	}
	if total != r.Total || s.recs[0].ID != r.First || s.recs[n-1].ID != r.Last {
		return nil, r.fault("its pictures are not those that the root describes")
	}
	return s, nil
}

// AppendEntry encodes a picture with its weight in 20 bytes.
func AppendEntry(b []byte, w Entry) []byte {
	return le.AppendUint32(append(b, w.ID[:]...), uint32(w.Weight))
}

// EntryAt decodes one.
func EntryAt(b []byte) Entry { return Entry{pet.ID(b[:16]), pet.Weight(le.Uint32(b[16:]))} }
