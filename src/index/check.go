package index

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"petpick/src/blob"
	"petpick/src/pet"
)

// Fault is a picture of which index and truth say different things, or that is half removed.
type Fault struct {
	ID pet.ID
	// What is said for people: what is wrong, and with which weights.
	What string
	// Repaired says that it was mended.
	Repaired bool
}

// Check compares the whole index of the label with the truth, picture by picture in the order of ids, in memory that does not grow
// with their number. What looks wrong is looked at again by itself, since both may have changed meanwhile. With repair every
// fault is mended by a TOUCH, and bytes of removed pictures are deleted: the same ways that every change takes, and as safe beside
// others. report is called for each fault, progress for every so many pictures.
func (x *Index) Check(ctx context.Context, repair bool, report func(Fault), progress func(pictures int)) error {
	if err := x.sweep(ctx); err != nil { // what the journal still holds is no fault
		return err
	}
	base, err := x.load(ctx, nil, x.now())
	if err != nil {
		return err
	}
	nextTruth, stopTruth := iter.Pull2(x.truths(ctx, progress))
	defer stopTruth()
	nextIndexed, stopIndexed := iter.Pull2(x.indexed(ctx, base.root))
	defer stopIndexed()
	t, errT, moreT := nextTruth()
	i, errI, moreI := nextIndexed()
	for moreT || moreI {
		if err := errors.Join(errT, errI); err != nil {
			return err
		}
		order := 0
		switch {
		case !moreI:
			order = -1
		case !moreT:
			order = 1
		default:
			order = compare(t.id, i.id)
		}
		id, suspect := t.id, false
		switch {
		case order < 0: // the truth alone
			suspect = t.suspect || t.weight > 0
		case order > 0: // the index alone
			id, suspect = i.id, i.weight > 0 || i.copies > 1
		default:
			suspect = t.suspect || t.weight != i.weight || i.copies > 1
		}
		if suspect {
			if err := x.settle(ctx, id, repair, report); err != nil {
				return err
			}
		}
		if order <= 0 {
			t, errT, moreT = nextTruth()
		}
		if order >= 0 {
			i, errI, moreI = nextIndexed()
		}
	}
	return nil
}

// settle looks at one picture by itself.
func (x *Index) settle(ctx context.Context, id pet.ID, repair bool, report func(Fault)) error {
	pic, errLook := x.Look(ctx, id)
	if errLook != nil && !gone(errLook) && !errors.Is(errLook, ErrFormat) {
		return errLook
	}
	if errors.Is(errLook, ErrFormat) { // nothing that could be right is known: a person must look
		report(Fault{ID: id, What: errLook.Error()})
		return nil
	}
	said, copies, err := x.saidOf(ctx, id)
	if err != nil {
		return err
	}
	if said != uint64(pic.Weight) || copies > 1 {
		f := Fault{ID: id, What: fmt.Sprintf("the index says %s in %d places, the truth %s", pet.Thousandths(said), copies, pic.Weight)}
		if repair {
			if _, err := x.announce(ctx, note{id: id}); err != nil {
				return err
			}
			f.Repaired = true
		}
		report(f)
	}
	if !errors.Is(errLook, ErrRemoved) && !errors.Is(errLook, ErrBlocked) {
		return nil
	}
	if _, err := x.photos.Head(ctx, pet.Key(x.label, id)); !errors.Is(err, blob.ErrNotFound) {
		if err != nil {
			return err
		}
		f := Fault{ID: id, What: "its removal was not finished: the bytes are still there"}
		if repair {
			if _, err := x.Remove(ctx, id, errors.Is(errLook, ErrBlocked)); err != nil {
				return err
			}
			f.Repaired = true
		}
		report(f)
	}
	return nil
}

// saidOf is the mass of a picture in the present root, and in how many places it is.
func (x *Index) saidOf(ctx context.Context, id pet.ID) (mass uint64, copies int, err error) {
	v, err := x.load(ctx, nil, x.now())
	if err != nil {
		return 0, 0, err
	}
	if i, there := findOverride(v.overrides, id); there {
		return uint64(v.overrides[i].weight), 1, nil
	}
	if i, there := findWeighted(v.tail, id); there {
		mass, copies = uint64(v.tail[i].weight), 1
	}
	for _, row := range v.rows {
		w, err := x.lookup(ctx, row, id)
		if err != nil {
			return 0, 0, err
		}
		if w > 0 {
			mass, copies = mass+uint64(w), copies+1
		}
	}
	return mass, copies, nil
}

// placed is a picture as the index has it.
type placed struct {
	weighted
	copies int
}

// indexed yields the pictures of a root in the order of ids.
func (x *Index) indexed(ctx context.Context, r *root) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		var streams []*stream
		for _, row := range r.rows {
			streams = append(streams, &stream{x: x, row: row})
		}
		tail, overrides := r.tail, r.overrides
		for {
			var lowest pet.ID
			found := false
			consider := func(id pet.ID) {
				if !found || compare(id, lowest) < 0 {
					lowest, found = id, true
				}
			}
			for _, s := range streams {
				if err := s.fill(ctx); err != nil {
					yield(placed{}, err)
					return
				}
				if !s.done() {
					consider(s.head().id)
				}
			}
			if len(tail) > 0 {
				consider(tail[0].id)
			}
			if len(overrides) > 0 {
				consider(overrides[0].id)
			}
			if !found {
				return
			}
			p := placed{weighted: weighted{id: lowest}}
			for _, s := range streams {
				if !s.done() && s.head().id == p.id {
					p.weight, p.copies = p.weight+s.head().weight, p.copies+1
					s.skip()
				}
			}
			if len(tail) > 0 && tail[0].id == p.id {
				p.weight, p.copies = p.weight+tail[0].weight, p.copies+1
				tail = tail[1:]
			}
			if len(overrides) > 0 && overrides[0].id == p.id {
				p.weight, p.copies = overrides[0].weight, 1
				overrides = overrides[1:]
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// listed is a picture as the photos bucket has it.
type listed struct {
	weighted
	photo, verdict bool
	modified       time.Time // of the photo
	suspect        bool      // its truth could not be read, or its bytes should not be there
}

// truths yields the pictures of the photos bucket in the order of ids: photos and verdicts are listed beside each other, and what no
// list tells is read for a page of them at a time.
func (x *Index) truths(ctx context.Context, progress func(pictures int)) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		photos := &lister{store: x.photos, prefix: string(x.label) + "/"}
		verdicts := &lister{store: x.photos, prefix: "verdicts/" + string(x.label) + "/"}
		for {
			page, err := nextPage(ctx, photos, verdicts)
			if err != nil {
				yield(listed{}, err)
				return
			}
			if len(page) == 0 {
				return
			}
			errs := make([]error, len(page))
			each(len(page), 64, func(i int) { errs[i] = x.fill(ctx, &page[i]) })
			for i, p := range page {
				if !yield(p, errs[i]) {
					return
				}
			}
			progress(len(page))
		}
	}
}

// fill reads a listed picture's weight.
func (x *Index) fill(ctx context.Context, l *listed) error {
	if !l.verdict {
		head, err := x.photos.Head(ctx, pet.Key(x.label, l.id))
		if errors.Is(err, blob.ErrNotFound) { // removed since it was listed
			return nil
		}
		if err != nil {
			return err
		}
		p, err := pictureOf(x.label, l.id, head)
		l.weight, l.suspect = p.Weight, err != nil
		return nil
	}
	p, err := x.Look(ctx, l.id)
	l.weight = p.Weight
	l.suspect = errors.Is(err, ErrFormat) || l.photo && (errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked))
	if gone(err) || l.suspect {
		return nil
	}
	return err
}

// lister walks the keys under a prefix.
type lister struct {
	store  blob.Store
	prefix string
	buf    []blob.Info
	after  string
	end    bool
}

// head is the next key that names a picture; false at the end.
func (l *lister) head(ctx context.Context) (pet.ID, blob.Info, bool, error) {
	for {
		for len(l.buf) > 0 {
			name, _, _ := strings.Cut(strings.TrimPrefix(l.buf[0].Key, l.prefix), ".")
			if id, err := pet.ParseID(name); err == nil {
				return id, l.buf[0], true, nil
			}
			l.buf = l.buf[1:] // not ours: no key of a picture looks like that
		}
		if l.end {
			return pet.ID{}, blob.Info{}, false, nil
		}
		page, err := l.store.List(ctx, l.prefix, l.after, 1000)
		if err != nil {
			return pet.ID{}, blob.Info{}, false, err
		}
		l.buf, l.end = page.Objects, !page.More
		if n := len(l.buf); n > 0 {
			l.after = l.buf[n-1].Key
		}
	}
}

// nextPage joins the next ids of both lists.
func nextPage(ctx context.Context, photos, verdicts *lister) ([]listed, error) {
	var page []listed
	for len(page) < 1000 {
		p, photo, isPhoto, err1 := photos.head(ctx)
		v, _, isVerdict, err2 := verdicts.head(ctx)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if !isPhoto && !isVerdict {
			break
		}
		l := listed{photo: isPhoto, verdict: isVerdict}
		switch order := compare(p, v); {
		case isPhoto && (!isVerdict || order < 0):
			l.id, l.verdict = p, false
		case isVerdict && (!isPhoto || order > 0):
			l.id, l.photo = v, false
		default:
			l.id = p
		}
		if l.photo {
			l.modified = photo.Modified
			photos.buf = photos.buf[1:]
		}
		if l.verdict {
			verdicts.buf = verdicts.buf[1:]
		}
		page = append(page, l)
	}
	return page, nil
}

// Reindex makes the index of the label anew from the truth, whatever is left of the old one, and then checks it with repair: what
// changed while it was made is mended so. The label can be drawn from all the time.
func (x *Index) Reindex(ctx context.Context, report func(Fault), progress func(pictures int)) error {
	rows, youngest, err := x.rebuild(ctx, progress)
	if err != nil {
		return err
	}
	// An ADD of a picture that is in the new segments already must be in the journal by now, or count as late when it comes.
	if err := x.waitUntil(ctx, youngest.Add(lateAdd+time.Second)); err != nil {
		return err
	}
	for {
		err := x.install(ctx, rows)
		if err == nil {
			break
		}
		if !errors.Is(err, errBeaten) {
			return err
		}
		if err := x.pause(ctx); err != nil {
			return err
		}
	}
	return x.Check(ctx, true, report, func(int) {})
}

// rebuild writes segments of all that has a weight, and says when the youngest photo among them was written.
func (x *Index) rebuild(ctx context.Context, progress func(pictures int)) (rows []row, youngest time.Time, err error) {
	var recs []rec
	flush := func() error {
		if len(recs) == 0 {
			return nil
		}
		r, err := x.putSegment(ctx, newSegment(recs))
		rows, recs = append(rows, r), recs[:0]
		return err
	}
	for l, err := range x.truths(ctx, progress) {
		if err != nil {
			return nil, time.Time{}, err
		}
		if l.weight == 0 || l.suspect {
			continue
		}
		if l.modified.After(youngest) {
			youngest = l.modified
		}
		recs = append(recs, rec{id: l.id, weight: l.weight})
		if len(recs) == x.limits.segment {
			if err := flush(); err != nil {
				return nil, time.Time{}, err
			}
		}
	}
	return rows, youngest, flush()
}

func (x *Index) waitUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(t.Sub(x.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// install swaps in a root of the new segments. Of the old one it keeps what came by an ADD since, and it gives every picture with an
// entry in the journal an override: an ADD that is folded later meets it.
func (x *Index) install(ctx context.Context, rows []row) error {
	cur, err := x.load(ctx, nil, x.now())
	if errors.Is(err, ErrFormat) { // what cannot be read is replaced: that is what reindex is for
		var o blob.Object
		if o, err = x.store.Get(ctx, x.rootKey(), ""); err == nil {
			cur = &view{root: &root{}, etag: o.ETag}
		}
	}
	if err != nil {
		return err
	}
	notes, complete, err := x.readJournal(ctx)
	if err != nil {
		return err
	}
	if !complete {
		return fmt.Errorf("index of %s: the journal is too long to be taken over: %w: run petpick tend first", x.label, ErrBusy)
	}
	// A rebuild that took longer than collectAge may have lost segments to upkeep.
	missing := make([]error, len(rows))
	each(len(rows), 64, func(i int) { _, missing[i] = x.store.Head(ctx, x.segmentKey(rows[i].name)) })
	if err := errors.Join(missing...); err != nil {
		return err
	}
	// Versions only grow, also where the old root is gone and its version with it.
	next := &root{version: max(cur.version+1, uint64(x.now().UnixMilli())), epoch: cur.epoch + 1, rows: rows}
	for _, w := range cur.tail {
		old, err := x.massIn(ctx, rows, w.id)
		if err != nil {
			return err
		}
		if old == 0 {
			next.tail = append(next.tail, w)
		}
	}
	now := uint64(x.now().UnixMilli())
	for _, n := range notes {
		if _, there := findOverride(next.overrides, n.id); there {
			continue
		}
		if len(next.overrides) == x.limits.overrides {
			return fmt.Errorf("index of %s: the journal is too long to be taken over: %w: run petpick tend first", x.label, ErrBusy)
		}
		w, err := x.weigh(ctx, n.id)
		if err != nil {
			return err
		}
		old, err := x.massIn(ctx, rows, n.id)
		if err != nil {
			return err
		}
		next.dropTail(n.id)
		next.setOverride(override{weighted{n.id, w}, old, now})
	}
	return x.commit(ctx, cur, next)
}

func (x *Index) massIn(ctx context.Context, rows []row, id pet.ID) (old uint32, err error) {
	masses, errs := make([]pet.Weight, len(rows)), make([]error, len(rows))
	each(len(rows), 8, func(i int) { masses[i], errs[i] = x.lookup(ctx, rows[i], id) })
	for _, w := range masses {
		old += uint32(w)
	}
	return old, errors.Join(errs...)
}
