package index

import (
	"context"
	"fmt"
	"iter"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/pet"
)

// claim is what one source says of a picture. All sources yield them in the order of ids, so that any number are walked beside each
// other in memory that does not grow with the pictures.
type claim struct {
	weighted
	by  source
	bad bool      // of the truth: it could not be read, or bytes are there that should not be
	old uint32    // of an override: the mass that it supersedes
	at  time.Time // of a photo or a verdict: when it was written, by the store's clock
}

type source uint8

const (
	bySegment source = iota
	byTail
	byOverride
	byPhoto
	byVerdict
	byTruth
)

type claims = iter.Seq2[claim, error]

// joined yields all that the sources say of one picture, picture after picture. The slice is only good until the next.
func joined(sources ...claims) iter.Seq2[[]claim, error] {
	return func(yield func([]claim, error) bool) {
		type reader struct {
			head claim
			next func() (claim, error, bool)
		}
		var open []*reader
		advance := func(r *reader) (more bool, err error) {
			r.head, err, more = r.next()
			return more, err
		}
		for _, s := range sources {
			next, stop := iter.Pull2(s)
			defer stop()
			r := &reader{next: next}
			if more, err := advance(r); err != nil {
				yield(nil, err)
				return
			} else if more {
				open = append(open, r)
			}
		}
		var group []claim
		for len(open) > 0 {
			lowest := open[0].head.id
			for _, r := range open[1:] {
				if pet.Compare(r.head.id, lowest) < 0 {
					lowest = r.head.id
				}
			}
			group = group[:0]
			for i := 0; i < len(open); {
				if open[i].head.id != lowest {
					i++
					continue
				}
				group = append(group, open[i].head)
				more, err := advance(open[i])
				if err != nil {
					yield(nil, err)
					return
				}
				if !more {
					open = append(open[:i], open[i+1:]...)
				}
			}
			if !yield(group, nil) {
				return
			}
		}
	}
}

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

func (x *Index) photosPrefix() string   { return string(x.label) + "/" }
func (x *Index) verdictsPrefix() string { return "verdicts/" + string(x.label) + "/" }

// listed yields the pictures, from one on, that keys of the photos bucket under a prefix name; other keys are not ours.
func (x *Index) listed(ctx context.Context, prefix string, by source, from pet.ID) claims {
	after := []byte(prefix + from.String())
	after[len(after)-1]-- // just before it
	return func(yield func(claim, error) bool) {
		for o, err := range blob.All(ctx, x.photos, prefix, string(after)) {
			if err != nil {
				yield(claim{}, err)
				return
			}
			id, err := pet.ParseID(o.Key[len(prefix):min(len(o.Key), len(prefix)+32)])
			if err == nil && !yield(claim{weighted: weighted{id: id}, by: by, at: o.Modified}, nil) {
				return
			}
		}
	}
}
