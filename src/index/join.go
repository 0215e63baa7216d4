package index

import (
	"context"
	"iter"

	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// claim is what one source says of a picture. All sources yield them in the order of ids, so that any number are walked beside each
// other in memory that does not grow with the pictures.
type claim struct {
	segment.Entry
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

func compareClaims(a, b claim) int { return pet.Compare(a.ID, b.ID) }

// segmentsOf are the pictures of segments, from one on, and perhaps some before it.
func (x *Index) segmentsOf(ctx context.Context, rows []segment.Row, from pet.ID) (all []claims) {
	for _, r := range rows {
		all = append(all, func(yield func(claim, error) bool) {
			for p, err := range x.segments.Pictures(ctx, r, from) {
				if !yield(claim{Entry: p, by: bySegment}, err) {
					return
				}
			}
		})
	}
	return all
}

func overridesOf(overrides []root.Override) claims {
	return func(yield func(claim, error) bool) {
		for _, o := range overrides {
			if !yield(claim{Entry: o.Entry, by: byOverride, old: o.Old}, nil) {
				return
			}
		}
	}
}

func tailOf(tail []segment.Entry) claims {
	return func(yield func(claim, error) bool) {
		for _, w := range tail {
			if !yield(claim{Entry: w, by: byTail}, nil) {
				return
			}
		}
	}
}

// told is what the truth says, from one picture on.
func (x *Index) told(ctx context.Context, from pet.ID, progress func(pictures int)) claims {
	return func(yield func(claim, error) bool) {
		for w, err := range x.truth.All(ctx, from, progress) {
			if !yield(claim{Entry: segment.Entry{ID: w.ID, Weight: w.Weight}, by: byTruth, bad: w.Bad}, err) || err != nil {
				return
			}
		}
	}
}
