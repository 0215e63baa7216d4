package index

import (
	"context"
	"errors"
	"log/slog"

	"petpick/src/blob"
	"petpick/src/pet"
)

// listWide is how many pictures of a page are read at a time.
const listWide = 64

// List returns pictures in the order of ids, those after one: at most limit, and fewer when some were removed while they were listed.
// Paused ones are among them. more says that there are others behind next, which is where the next List begins. What is added, changed or
// removed between two calls moves nothing else in or out of a page. A page of 1,000 costs a LIST or two, a HEAD for each picture, and a GET for
// each that has a verdict.
func (x *Index) List(ctx context.Context, after pet.ID, limit int) (pics []Picture, next pet.ID, more bool, err error) {
	ids, more, err := x.listPhotos(ctx, after, limit)
	if err != nil || len(ids) == 0 {
		return nil, after, more, err
	}
	decided, err := x.listVerdicts(ctx, after, ids[len(ids)-1])
	if err != nil {
		return nil, after, false, err
	}
	found := make([]*Picture, len(ids))
	err = each(len(ids), listWide, func(i int) (err error) {
		found[i], err = x.listOne(ctx, ids[i], decided(ids[i]))
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
func (x *Index) listPhotos(ctx context.Context, after pet.ID, limit int) (ids []pet.ID, more bool, err error) {
	from := x.photosPrefix()
	if after != (pet.ID{}) {
		from = pet.Key(x.label, after)
	}
	for more = true; more && len(ids) < limit; {
		page, err := x.photos.List(ctx, x.photosPrefix(), from, limit-len(ids))
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
func (x *Index) listVerdicts(ctx context.Context, after, last pet.ID) (func(pet.ID) bool, error) {
	from := x.verdictsPrefix()
	if after != (pet.ID{}) {
		from += after.String()
	}
	page, err := x.photos.List(ctx, x.verdictsPrefix(), from, 1000)
	if err != nil {
		return nil, err
	}
	there, known := map[pet.ID]bool{}, last
	for _, o := range page.Objects {
		id, err := pet.ParseID(o.Key[len(x.verdictsPrefix()):])
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
	return func(id pet.ID) bool { return there[id] || compare(id, known) > 0 }, nil
}

// listOne reads a listed picture; nil when it is gone since, or cannot be read: one damaged object must not hide those behind it.
func (x *Index) listOne(ctx context.Context, id pet.ID, decided bool) (*Picture, error) {
	read := x.undecided
	if decided {
		read = x.Look
	}
	p, err := read(ctx, id)
	switch {
	case gone(err):
		return nil, nil
	case errors.Is(err, ErrFormat):
		x.log.ErrorContext(ctx, "a picture is left out of a list, for it cannot be read", slog.Any("label", x.label), slog.String("id", id.String()), slog.Any("error", err))
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &p, nil
}

// undecided is a picture that has no verdict.
func (x *Index) undecided(ctx context.Context, id pet.ID) (Picture, error) {
	head, err := x.photos.Head(ctx, pet.Key(x.label, id))
	if errors.Is(err, blob.ErrNotFound) {
		return Picture{}, ErrNoPicture
	}
	if err != nil {
		return Picture{}, err
	}
	return pictureOf(x.label, id, head)
}
