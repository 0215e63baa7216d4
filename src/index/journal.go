package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"petpick/src/blob"
	"petpick/src/pet"
)

// maxNotes is what one fold reads: more wait for the next.
const maxNotes = 5000

// note is a journal entry (FORMAT.md, "Journal"). The key carries everything; the object is empty. An ADD brings a new picture with
// its weight; a TOUCH says only "look at this picture again".
type note struct {
	key    string
	id     pet.ID
	add    bool
	weight pet.Weight // of an ADD
	date   time.Time  // of an ADD: the store's clock when its photo was written
	landed time.Time  // when the entry appeared, by the store's clock; to the second
}

func (x *Index) journalPrefix() string { return "journal/" + string(x.label) + "/" }

// name has the nonce first: keys that begin at random let S3 split the prefix under load.
func (n note) name(nonce uint64) string {
	if n.add {
		return fmt.Sprintf("%016x-%s-add-%d-%d", nonce, n.id, n.weight, n.date.UnixMilli())
	}
	return fmt.Sprintf("%016x-%s-touch", nonce, n.id)
}

func parseNote(name string) (note, error) {
	parts := strings.Split(name, "-")
	bad := fmt.Errorf("journal key %q: %w", name, ErrFormat)
	if len(parts) < 3 || len(parts[0]) != 16 {
		return note{}, bad
	}
	id, err := pet.ParseID(parts[1])
	n := note{id: id, add: parts[2] == "add"}
	switch {
	case err != nil:
		return note{}, bad
	case !n.add && parts[2] == "touch" && len(parts) == 3:
		return n, nil
	case !n.add || len(parts) != 5:
		return note{}, bad
	}
	weight, err1 := strconv.ParseUint(parts[3], 10, 24)
	ms, err2 := strconv.ParseInt(parts[4], 10, 64)
	if err1 != nil || err2 != nil {
		return note{}, bad
	}
	n.weight, n.date = pet.Weight(weight), time.UnixMilli(ms)
	return n, nil
}

// post writes the entry. An ADD by a single attempt: one of the SDK that lands late would be a second entry. When nobody knows
// whether it was written, a TOUCH says all that still has to be said, whether or not the ADD is there, or comes; and says it again for
// all it does.
func (x *Index) post(ctx context.Context, n note) (key string, err error) {
	if n.add {
		key = x.journalPrefix() + n.name(x.rnd.Uint64())
		if _, err = x.store.Create(ctx, key, nil, blob.Attr{Once: true}); err == nil || !blob.Lost(err) || ctx.Err() != nil {
			return key, err
		}
		n.add = false
	}
	key = x.journalPrefix() + n.name(x.rnd.Uint64())
	if _, err = x.store.Create(ctx, key, nil, blob.Attr{}); errors.Is(err, blob.ErrExists) { // its own, whose first answer was lost
		err = nil
	}
	return key, err
}

// readJournal lists entries. complete says that there were no others at that moment. When there are too many, each reading begins
// somewhere else: entries that cannot be folded now must not keep the others waiting.
func (x *Index) readJournal(ctx context.Context) (notes []note, complete bool, err error) {
	begin := ""
	if x.journalLong.Load() {
		begin = x.journalPrefix() + fmt.Sprintf("%016x", x.rnd.Uint64())
	}
	errEnough := errors.New("enough")
	collect := func(n note) error {
		if len(notes) == maxNotes {
			return errEnough
		}
		notes = append(notes, n)
		return nil
	}
	err = x.listJournal(ctx, begin, "", collect)
	if err == nil && begin != "" {
		err = x.listJournal(ctx, "", begin, collect)
	}
	long := errors.Is(err, errEnough)
	x.journalLong.Store(long)
	if long {
		err = nil
	}
	return notes, err == nil && !long, err
}

// notedIDs are the pictures that have an entry in the journal, however long it is.
func (x *Index) notedIDs(ctx context.Context) (map[pet.ID]bool, error) {
	noted := map[pet.ID]bool{}
	err := x.listJournal(ctx, "", "", func(n note) error { noted[n.id] = true; return nil })
	return noted, err
}

// listJournal calls f for the entries after a key, up to another; "" is no bound.
func (x *Index) listJournal(ctx context.Context, after, until string, f func(note) error) error {
	for o, err := range blob.All(ctx, x.store, x.journalPrefix(), after) {
		if err != nil || until != "" && o.Key > until {
			return err
		}
		n, err := parseNote(strings.TrimPrefix(o.Key, x.journalPrefix()))
		if err != nil {
			x.log.ErrorContext(ctx, "journal entry passed over", "label", x.label, "error", err)
			continue
		}
		n.key, n.landed = o.Key, o.Modified
		if err := f(n); err != nil {
			return err
		}
	}
	return nil
}

// pending says whether an entry is still to be folded.
func (x *Index) pending(ctx context.Context, key string) (bool, error) {
	_, err := x.store.Head(ctx, key)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return true, err
}
