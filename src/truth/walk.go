package truth

import (
	"context"
	"errors"
	"iter"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/parallel"
	"petpick/src/pet"
	"petpick/src/sorted"
)

// Listed is a photo or a verdict.
type Listed struct {
	ID pet.ID
	At time.Time // when it was written, by the store's clock

	verdict bool
}

func compare(a, b Listed) int { return pet.Compare(a.ID, b.ID) }

func photosPrefix(l pet.Label) string { return string(l) + "/" }

// Photos lists the photos in the order of ids, from one on.
func (t *Truth) Photos(ctx context.Context, from pet.ID) iter.Seq2[Listed, error] {
	return t.listed(ctx, photosPrefix(t.label), from, false)
}

// Verdicts lists the verdicts in the order of ids, from one on.
func (t *Truth) Verdicts(ctx context.Context, from pet.ID) iter.Seq2[Listed, error] {
	return t.listed(ctx, verdictsPrefix(t.label), from, true)
}

// listed yields the pictures that keys under a prefix name; other keys are not ours.
func (t *Truth) listed(ctx context.Context, prefix string, from pet.ID, verdict bool) iter.Seq2[Listed, error] {
	after := []byte(prefix + from.String())
	after[len(after)-1]-- // just before it
	return func(yield func(Listed, error) bool) {
		for o, err := range blob.All(ctx, t.store, prefix, string(after)) {
			if err != nil {
				yield(Listed{}, err)
				return
			}
			id, err := pet.ParseID(o.Key[len(prefix):min(len(o.Key), len(prefix)+32)])
			if err == nil && !yield(Listed{id, o.Modified, verdict}, nil) {
				return
			}
		}
	}
}

// Weighed is what a walk says of a picture.
type Weighed struct {
	Listed
	Weight pet.Weight
	// Bad: it could not be read, or bytes are there that should not be.
	Bad bool

	hasPhoto, hasVerdict bool
}

// All yields the weights of all pictures in the order of ids, from one on: photos and verdicts are listed beside each other, and what no
// list tells is read for a page of them at a time. progress is told of each page.
func (t *Truth) All(ctx context.Context, from pet.ID, progress func(pictures int)) iter.Seq2[Weighed, error] {
	return func(yield func(Weighed, error) bool) {
		var page []Weighed
		flush := func() bool {
			if err := parallel.Each(len(page), 64, func(i int) error { return t.fill(ctx, &page[i]) }); err != nil {
				yield(Weighed{}, err)
				return false
			}
			for _, w := range page {
				if !yield(w, nil) {
					return false
				}
			}
			progress(len(page))
			page = page[:0]
			return true
		}
		for group, err := range sorted.Groups(compare, t.Photos(ctx, from), t.Verdicts(ctx, from)) {
			if err != nil {
				yield(Weighed{}, err)
				return
			}
			first, last := group[0], group[len(group)-1]
			page = append(page, Weighed{Listed: first, hasPhoto: !first.verdict, hasVerdict: last.verdict})
			if len(page) == 1000 && !flush() {
				return
			}
		}
		flush()
	}
}

// fill reads a listed picture's weight.
func (t *Truth) fill(ctx context.Context, w *Weighed) error {
	if w.hasVerdict {
		p, err := t.Look(ctx, w.ID)
		if errors.Is(err, box.ErrNewer) { // what it says is not known, and must not be left out
			return err
		}
		w.Weight = p.Weight
		w.Bad = errors.Is(err, box.ErrFormat) || w.hasPhoto && (errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked))
		if Gone(err) || w.Bad {
			return nil
		}
		return err
	}
	head, err := t.store.Head(ctx, t.key(w.ID))
	if errors.Is(err, blob.ErrNotFound) { // removed since it was listed
		return nil
	}
	if err != nil {
		return err
	}
	p, err := pictureOf(t.label, w.ID, head)
	w.Weight, w.Bad = p.Weight, err != nil
	return nil
}
