package segment

import (
	"context"
	"fmt"
	"iter"

	"petpick/src/box"
	"petpick/src/pet"
)

// chunk is how many records of a segment are held at a time.
const chunk = 8192

// Pictures of a segment that is not in memory, in the order of ids, read a chunk at a time; from one on, and perhaps some before it.
func (s *Store) Pictures(ctx context.Context, r Row, from pet.ID) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		first, _ := around(r, from)
		if first > 0 {
			recs, err := s.records(ctx, r, first, 1)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if pet.Compare(EntryAt(recs).ID, from) > 0 { // it lies before what was guessed
				first = 0
			}
		}
		sum := &summed{row: r, whole: first == 0}
		for at := first; at < uint64(r.N); at += chunk {
			recs, err := sum.read(ctx, s, at, min(chunk, uint64(r.N)-at))
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for ; len(recs) > 0; recs = recs[recordSize:] {
				if !yield(EntryAt(recs), nil) {
					return
				}
			}
		}
	}
}

// summed reads a segment in parts, and holds the whole against its checksum: damage must not be copied into the next segment.
type summed struct {
	row   Row
	whole bool // from the first record on
	begin []byte
	sum   box.Sum // of what was read
}

func (s *summed) read(ctx context.Context, store *Store, at, n uint64) ([]byte, error) {
	if !s.whole {
		return store.records(ctx, s.row, at, n)
	}
	from, to, last := segmentHeader+at*recordSize, segmentHeader+(at+n)*recordSize, at+n == uint64(s.row.N)
	if at == 0 {
		from = 0
	}
	if last {
		to += 4
	}
	b, err := store.bytes(ctx, s.row, from, to-from)
	if err != nil {
		return nil, err
	}
	end := b[len(b):]
	if last { // of all before it
		b, end = b[:len(b)-4], b[len(b)-4:]
	}
	s.sum.Add(b)
	if at == 0 {
		s.begin, b = b[:segmentHeader], b[segmentHeader:]
	}
	if last {
		if err = s.sum.Check(end); err == nil {
			err = segmentBox.CheckVersion(s.begin)
		}
	}
	if err != nil {
		return nil, Advise(fmt.Errorf("segment %016x: %w", s.row.Name, err))
	}
	return b, nil
}

// Writer writes pictures that come in order into segments.
type Writer struct {
	store *Store
	limit int // pictures a segment
	body  body
	rows  []Row
}

// Writer begins to write segments of up to so many pictures.
func (s *Store) Writer(limit int) *Writer { return &Writer{store: s, limit: limit} }

// Add takes the next picture; one of weight 0 is left out.
func (w *Writer) Add(ctx context.Context, p Entry) error {
	if p.Weight == 0 {
		return nil
	}
	if w.body == nil {
		w.body = newBody(w.limit)
	}
	if w.body = w.body.add(p); w.body.size() < w.limit {
		return nil
	}
	return w.flush(ctx)
}

func (w *Writer) flush(ctx context.Context) error {
	if w.body.size() <= 0 {
		return nil
	}
	r, err := w.store.put(ctx, w.body)
	w.rows, w.body = append(w.rows, r), w.body[:segmentHeader]
	return err
}

// Close writes what is left, and describes all that was written.
func (w *Writer) Close(ctx context.Context) ([]Row, error) {
	err := w.flush(ctx)
	return w.rows, err
}
