package truth

import (
	"context"
	"errors"
	"log/slog"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/parallel"
	"petpick/src/pet"
)

// listWide is how many pictures of a page are read at a time.
const listWide = 64

// List returns pictures in the order of ids, those after one: at most limit, and fewer when some were removed while they were listed.
// Paused ones are among them. more says that there are others behind next, which is where the next List begins. What is added, changed or
// removed between two calls moves nothing else in or out of a page. A page of 1,000 costs a LIST or two, a HEAD for each picture, and a GET for
// each that has a verdict.
func (t *Truth) List(ctx context.Context, after pet.ID, limit int, log *slog.Logger) (pics []Picture, next pet.ID, more bool, err error) {
	ids, more, err := t.listPhotos(ctx, after, limit)
	if err != nil || len(ids) == 0 {
		return nil, after, more, err
	}
	decided, err := t.listVerdicts(ctx, after, ids[len(ids)-1])
	if err != nil {
		return nil, after, false, err
	}
	found := make([]*Picture, len(ids))
	err = parallel.Each(len(ids), listWide, func(i int) (err error) {
		found[i], err = t.listOne(ctx, ids[i], decided(ids[i]), log)
		return err
	})
	if err != nil {
		return nil, after, false, err
	}
	for _, p := range found {
		if p != nil {
			pics = append(pics, *p)
		}
	}
	return pics, ids[len(ids)-1], more, nil
}

// listPhotos names the photos after one. A key sorts as its id does: ids have one length, and an id has one extension.
func (t *Truth) listPhotos(ctx context.Context, after pet.ID, limit int) (ids []pet.ID, more bool, err error) {
	from := photosPrefix(t.label)
	if after != (pet.ID{}) {
		from = pet.Key(t.label, after)
	}
	for more = true; more && len(ids) < limit; {
		page, err := t.store.List(ctx, photosPrefix(t.label), from, limit-len(ids))
		if err != nil {
			return nil, false, err
		}
		more = page.More
		for _, o := range page.Objects {
			from = o.Key
			if _, id, err := pet.ParseKey(o.Key); err == nil { // other keys are not ours
				ids = append(ids, id)
			}
		}
	}
	return ids, more, nil
}

// listVerdicts says of which pictures after one, to another, a verdict may be there. It lists one page: of what is behind that it knows
// nothing, for removals leave verdicts where no photo is any more, without number.
func (t *Truth) listVerdicts(ctx context.Context, after, last pet.ID) (func(pet.ID) bool, error) {
	from := verdictsPrefix(t.label)
	if after != (pet.ID{}) {
		from += after.String()
	}
	page, err := t.store.List(ctx, verdictsPrefix(t.label), from, 1000)
	if err != nil {
		return nil, err
	}
	there, known := map[pet.ID]bool{}, last
	for _, o := range page.Objects {
		id, err := pet.ParseID(o.Key[len(verdictsPrefix(t.label)):])
		if err != nil {
			continue
		}
		there[id] = true
		if page.More {
			known = id
		}
	}
	if page.More && len(there) == 0 {
		return func(pet.ID) bool { return true }, nil
	}
	return func(id pet.ID) bool { return there[id] || pet.Compare(id, known) > 0 }, nil
}

// listOne reads a listed picture; nil when it is gone since, or cannot be read: one damaged object must not hide those behind it.
func (t *Truth) listOne(ctx context.Context, id pet.ID, decided bool, log *slog.Logger) (*Picture, error) {
	read := t.undecided
	if decided {
		read = t.Look
	}
	p, err := read(ctx, id)
	switch {
	case Gone(err):
		return nil, nil
	case errors.Is(err, box.ErrFormat):
		log.ErrorContext(ctx, "a picture is left out of a list, for it cannot be read", slog.Any("label", t.label), slog.String("id", id.String()), slog.Any("error", err))
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &p, nil
}

// undecided is a picture that has no verdict.
func (t *Truth) undecided(ctx context.Context, id pet.ID) (Picture, error) {
	head, err := t.store.Head(ctx, pet.Key(t.label, id))
	if errors.Is(err, blob.ErrNotFound) {
		return Picture{}, ErrNoPicture
	}
	if err != nil {
		return Picture{}, err
	}
	return pictureOf(t.label, id, head)
}
