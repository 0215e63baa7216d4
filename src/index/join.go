package index

import (
	"context"
	"fmt"
	"iter"

	"petpick/src/box"
	"petpick/src/pet"
)

// claim is what one source says of a picture. All sources yield them in the order of ids, so that any number are walked beside each
// other in memory that does not grow with the pictures.
type claim struct {
	weighted
	by  source
	bad bool   // of the truth: it could not be read, or bytes are there that should not be
	old uint32 // of an override: the mass that it supersedes
}

type source uint8

const (
	bySegment source = iota
	byTail
	byOverride
	byTruth
)

type claims = iter.Seq2[claim, error]

func compareClaims(a, b claim) int { return pet.Compare(a.id, b.id) }

// pictures of a segment that is not in memory, read a chunk at a time; from one on, and perhaps some before it.
func (x *Index) pictures(ctx context.Context, r row, from pet.ID) claims {
	return func(yield func(claim, error) bool) {
		first, _ := around(r, from)
		if first > 0 {
			recs, err := x.records(ctx, r, first, 1)
			if err != nil {
				yield(claim{}, err)
				return
			}
			if pet.Compare(weightedAt(recs).id, from) > 0 { // it lies before what was guessed
				first = 0
			}
		}
		sum := &summed{row: r, whole: first == 0}
		for at := first; at < uint64(r.n); at += chunk {
			recs, err := sum.read(ctx, x, at, min(chunk, uint64(r.n)-at))
			if err != nil {
				yield(claim{}, err)
				return
			}
			for ; len(recs) > 0; recs = recs[recordSize:] {
				if !yield(claim{weighted: weightedAt(recs)}, nil) {
					return
				}
			}
		}
	}
}

// summed reads a segment in parts, and holds the whole against its checksum: damage must not be copied into the next segment.
type summed struct {
	row   row
	whole bool // from the first record on
	begin []byte
	sum   box.Sum // of what was read
}

func (s *summed) read(ctx context.Context, x *Index, at, n uint64) ([]byte, error) {
	if !s.whole {
		return x.records(ctx, s.row, at, n)
	}
	from, to, last := segmentHeader+at*recordSize, segmentHeader+(at+n)*recordSize, at+n == uint64(s.row.n)
	if at == 0 {
		from = 0
	}
	if last {
		to += 4
	}
	b, err := x.bytesOf(ctx, s.row, from, to-from)
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
		return nil, advise(fmt.Errorf("segment %016x: %w", s.row.name, err))
	}
	return b, nil
}

func segmentsOf(ctx context.Context, x *Index, rows []row, from pet.ID) (all []claims) {
	for _, r := range rows {
		all = append(all, x.pictures(ctx, r, from))
	}
	return all
}

func overridesOf(overrides []override) claims {
	return func(yield func(claim, error) bool) {
		for _, o := range overrides {
			if !yield(claim{weighted: o.weighted, by: byOverride, old: o.old}, nil) {
				return
			}
		}
	}
}

func tailOf(tail []weighted) claims {
	return func(yield func(claim, error) bool) {
		for _, w := range tail {
			if !yield(claim{weighted: w, by: byTail}, nil) {
				return
			}
		}
	}
}

// told is what the truth says, from one picture on.
func (x *Index) told(ctx context.Context, from pet.ID, progress func(pictures int)) claims {
	return func(yield func(claim, error) bool) {
		for w, err := range x.truth.All(ctx, from, progress) {
			if !yield(claim{weighted: weighted{w.ID, w.Weight}, by: byTruth, bad: w.Bad}, err) || err != nil {
				return
			}
		}
	}
}

// packer writes pictures that come in order into segments.
type packer struct {
	x     *Index
	limit int // pictures a segment
	body  body
	rows  []row
}

func (p *packer) add(ctx context.Context, w weighted) error {
	if w.weight == 0 {
		return nil
	}
	if p.body == nil {
		p.body = newBody(p.limit)
	}
	if p.body = p.body.add(w); p.body.size() < p.limit {
		return nil
	}
	return p.flush(ctx)
}

func (p *packer) flush(ctx context.Context) error {
	if p.body.size() <= 0 {
		return nil
	}
	r, err := p.x.putSegment(ctx, p.body)
	p.rows, p.body = append(p.rows, r), p.body[:segmentHeader]
	return err
}
