// Package journal is the queue of changes that are still to be folded into a label's index (src/index/FORMAT.md, "Journal"): an empty object each.
package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/pet"
)

// MaxNotes is what one fold reads: more wait for the next.
const MaxNotes = 5000

// maxCount bounds the counting of a long journal.
const maxCount = 100_000

// Note is a journal entry (FORMAT.md, "Journal"). The key carries everything; the object is empty. An ADD brings a new picture with
// its weight; a TOUCH says only "look at this picture again".
type Note struct {
	Key    string
	ID     pet.ID
	Add    bool
	Weight pet.Weight // of an ADD
	Date   time.Time  // of an ADD: the store's clock when its photo was written
	Landed time.Time  // when the entry appeared, by the store's clock; to the second
}

// name has the nonce first: keys that begin at random let S3 split the prefix under load.
func (n Note) name(nonce uint64) string {
	if n.Add {
		return fmt.Sprintf("%016x-%s-add-%d-%d", nonce, n.ID, n.Weight, n.Date.UnixMilli())
	}
	return fmt.Sprintf("%016x-%s-touch", nonce, n.ID)
}

// Parse reads a key after the prefix.
func Parse(name string) (Note, error) {
	parts := strings.Split(name, "-")
	bad := fmt.Errorf("journal key %q: %w", name, box.ErrFormat)
	if len(parts) < 3 || len(parts[0]) != 16 {
		return Note{}, bad
	}
	id, err := pet.ParseID(parts[1])
	n := Note{ID: id, Add: parts[2] == "add"}
	switch {
	case err != nil:
		return Note{}, bad
	case !n.Add && parts[2] == "touch" && len(parts) == 3:
		return n, nil
	case !n.Add || len(parts) != 5:
		return Note{}, bad
	}
	weight, err1 := strconv.ParseUint(parts[3], 10, 24)
	ms, err2 := strconv.ParseInt(parts[4], 10, 64)
	if err1 != nil || err2 != nil {
		return Note{}, bad
	}
	n.Weight, n.Date = pet.Weight(weight), time.UnixMilli(ms)
	return n, nil
}

// Journal is one label's. It is safe for concurrent use.
type Journal struct {
	store  blob.Store
	label  pet.Label
	prefix string
	rnd    *rand.Rand
	log    *slog.Logger
	// long: the last reading did not reach the end.
	long atomic.Bool
}

// OpenJournal returns the journal of a label. It makes no call.
func Open(label pet.Label, store blob.Store, rnd *rand.Rand, log *slog.Logger) *Journal {
	return &Journal{store: store, label: label, prefix: "journal/" + string(label) + "/", rnd: rnd, log: log}
}

// Post writes the entry. An ADD by a single attempt: one of the SDK that lands late would be a second entry. When nobody knows
// whether it was written, a TOUCH says all that still has to be said, whether or not the ADD is there, or comes; and says it again for
// all it does.
func (j *Journal) Post(ctx context.Context, n Note) (key string, err error) {
	if n.Add {
		key = j.prefix + n.name(j.rnd.Uint64())
		if _, err = j.store.Create(ctx, key, nil, blob.Attr{Once: true}); err == nil || !blob.Lost(err) || ctx.Err() != nil {
			return key, err
		}
		n.Add = false
	}
	key = j.prefix + n.name(j.rnd.Uint64())
	return key, blob.Place(ctx, j.store, key, nil)
}

// Read lists entries. complete says that there were no others at that moment. When there are too many, each reading begins
// somewhere else: entries that cannot be folded now must not keep the others waiting.
func (j *Journal) Read(ctx context.Context) (notes []Note, complete bool, err error) {
	spans := [][2]string{{"", ""}}
	if j.long.Load() {
		begin := j.prefix + fmt.Sprintf("%016x", j.rnd.Uint64())
		spans = [][2]string{{begin, ""}, {"", begin}}
	}
	for _, span := range spans {
		for n, err := range j.entries(ctx, span[0], span[1]) {
			if err != nil {
				return nil, false, err
			}
			if len(notes) == MaxNotes {
				j.long.Store(true)
				return notes, false, nil
			}
			notes = append(notes, n)
		}
	}
	j.long.Store(false)
	return notes, true, nil
}

// CountIfLong is how many entries there are when the last reading did not see them all, and else 0: each thousand costs a LIST, and it stops
// at maxCount.
func (j *Journal) CountIfLong(ctx context.Context) (int, error) {
	if !j.long.Load() {
		return 0, nil
	}
	n := 0
	for _, err := range blob.All(ctx, j.store, j.prefix, "") {
		if err != nil {
			return 0, err
		}
		if n++; n == maxCount {
			break
		}
	}
	return n, nil
}

// IDs are the pictures that have an entry, however long the journal is.
func (j *Journal) IDs(ctx context.Context) (map[pet.ID]bool, error) {
	noted := map[pet.ID]bool{}
	for n, err := range j.entries(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		noted[n.ID] = true
	}
	return noted, nil
}

// entries yields the entries after a key, up to another; "" is no bound.
func (j *Journal) entries(ctx context.Context, after, until string) iter.Seq2[Note, error] {
	return func(yield func(Note, error) bool) {
		for o, err := range blob.All(ctx, j.store, j.prefix, after) {
			if err != nil {
				yield(Note{}, err)
				return
			}
			if until != "" && o.Key > until {
				return
			}
			n, err := Parse(strings.TrimPrefix(o.Key, j.prefix))
			if err != nil {
				j.log.ErrorContext(ctx, "journal entry passed over", "label", j.label, "error", err)
				continue
			}
			n.Key, n.Landed = o.Key, o.Modified
			if !yield(n, nil) {
				return
			}
		}
	}
}

// Pending says whether an entry is still to be folded.
func (j *Journal) Pending(ctx context.Context, key string) (bool, error) {
	_, err := j.store.Head(ctx, key)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return true, err
}
