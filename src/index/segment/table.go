package segment

import (
	"iter"
	"sort"

	"petpick/src/pet"
)

// Entry is a picture with its weight.
type Entry struct {
	ID     pet.ID
	Weight pet.Weight
}

// Table is a segment in memory.
type Table struct {
	recs  []rec
	total uint64
}

// rec is a picture with its column of the alias table: threshold << 20 | alias slot. It has 32 B, half a cache line: a draw touches
// one of them, or two.
type rec struct {
	cell uint64
	Entry
}

// Bytes is what a picture takes in memory.
const Bytes = 32

// records makes columns of them.
type records []rec

func (r records) size() int                  { return len(r) }
func (r records) weight(i int) uint64        { return uint64(r[i].Weight) }
func (r records) cell(i int) uint64          { return r[i].cell }
func (r records) setCell(i int, cell uint64) { r[i].cell = cell }

// newTable takes over recs, which are in the order of ids and have no weight 0, and fills their cells.
func newTable(recs []rec) *Table {
	s := &Table{recs: recs}
	for i := range recs {
		s.total += uint64(recs[i].Weight)
	}
	buildAlias(records(recs), s.total)
	return s
}

// Of makes a table of pictures in the order of ids, none of weight 0. (A label's few latest are drawn so, too, in any order.)
func Of(pictures []Entry) *Table {
	recs := make([]rec, len(pictures))
	for i, p := range pictures {
		recs[i].Entry = p
	}
	return newTable(recs)
}

// Total is the sum of the weights.
func (s *Table) Total() uint64 { return s.total }

// All yields the pictures.
func (s *Table) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, r := range s.recs {
			if !yield(r.Entry) {
				return
			}
		}
	}
}

// Aim chooses a column, and begins to bring it nearer.
func (s *Table) Aim(rnd Source) (column uint64) {
	column = Below(rnd, uint64(len(s.recs)))
	prefetch(&s.recs[column])
	return column
}

// At is the picture of a column at a height that is below the total. It returns a pointer: a picture that is copied from hand to hand
// before it has arrived from memory holds up the draws that follow.
func (s *Table) At(column, height uint64) *Entry {
	r := &s.recs[column]
	if height >= r.cell>>slotBits {
		r = &s.recs[r.cell&slotMask]
	}
	return &r.Entry
}

// Weight is 0 for a picture that is not there.
func (s *Table) Weight(id pet.ID) pet.Weight {
	i := sort.Search(len(s.recs), func(i int) bool { return pet.Compare(s.recs[i].ID, id) >= 0 })
	if i < len(s.recs) && s.recs[i].ID == id {
		return s.recs[i].Weight
	}
	return 0
}

// Without builds the table again, without the overridden pictures: drawing from it rejects nothing.
func (s *Table) Without(overridden map[pet.ID]struct{}) *Table {
	var left []rec
	for _, r := range s.recs {
		if _, gone := overridden[r.ID]; !gone {
			left = append(left, r)
		}
	}
	return newTable(left)
}
