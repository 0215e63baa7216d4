// Package segment is the segments of a label's index (src/index/FORMAT.md, "Segment"): their layout, exact alias tables over them, those of
// them that are in memory, and reading parts of those that are not. It does not know which of them an index lists.
package segment

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/pet"
)

// Store is the segments of one label. It is safe for concurrent use.
type Store struct {
	cfg    Config
	prefix string
	memory memory
}

// Config says where segments are, and how many.
type Config struct {
	Label pet.Label
	Store blob.Store
	Now   func() time.Time
	// Rand chooses names.
	Rand *rand.Rand
	Log  *slog.Logger
	// Memory is how many bytes of them are kept in memory, 32 a picture.
	Memory int64
	// Loaded is called when one has come into memory behind the draws.
	Loaded func()
}

// Open returns the segments of a label. It makes no call.
func Open(cfg Config) *Store {
	return &Store{
		cfg: cfg, prefix: "index/" + string(cfg.Label) + "/segments/",
		memory: memory{tables: map[uint64]*Table{}, damaged: map[uint64]error{}, left: cfg.Memory},
	}
}

// Key is the key of a segment.
func (s *Store) Key(name uint64) string { return s.prefix + fmt.Sprintf("%016x", name) }

// Advise says what to do about an object of the index that cannot be read or is missing.
func Advise(err error) error {
	if errors.Is(err, box.ErrFormat) && !errors.Is(err, box.ErrNewer) || errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("%w: run petpick reindex", err)
	}
	return err
}

// put stores a segment, under a new name.
func (s *Store) put(ctx context.Context, b body) (Row, error) {
	b, r := b.finish(s.cfg.Rand.Uint64())
	err := blob.Place(ctx, s.cfg.Store, s.Key(r.Name), b)
	for try := 0; try < 2 && errors.Is(err, blob.ErrUnclear) && ctx.Err() == nil; try++ {
		err = blob.Place(ctx, s.cfg.Store, s.Key(r.Name), b)
	}
	return r, err
}

// Exists fails when a segment is gone.
func (s *Store) Exists(ctx context.Context, r Row) error {
	_, err := s.cfg.Store.Head(ctx, s.Key(r.Name))
	return err
}

// Delete deletes segments that no root has listed, nor will.
func (s *Store) Delete(ctx context.Context, rows []Row) error {
	keys := make([]string, len(rows))
	for i, r := range rows {
		keys[i] = s.Key(r.Name)
	}
	return s.cfg.Store.DeleteMany(ctx, keys)
}

// Others are the keys of segments that are not among the rows, and older than an age.
func (s *Store) Others(ctx context.Context, rows []Row, age time.Duration) (keys []string, err error) {
	named := make(map[uint64]bool, len(rows))
	for _, r := range rows {
		named[r.Name] = true
	}
	for o, err := range blob.All(ctx, s.cfg.Store, s.prefix, "") {
		if err != nil {
			return nil, err
		}
		name, err := strconv.ParseUint(strings.TrimPrefix(o.Key, s.prefix), 16, 64)
		if err == nil && !named[name] && s.cfg.Now().Sub(o.Modified) > age {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// records reads n records of a segment that is not in memory, by one ranged GET.
func (s *Store) records(ctx context.Context, r Row, from, n uint64) ([]byte, error) {
	return s.bytes(ctx, r, segmentHeader+from*recordSize, n*recordSize)
}

// bytes reads n bytes of a segment, which has the size that the root says.
func (s *Store) bytes(ctx context.Context, r Row, from, n uint64) ([]byte, error) {
	o, err := s.cfg.Store.GetRange(ctx, s.Key(r.Name), int64(from), int64(n))
	if errors.Is(err, blob.ErrRange) { // it is shorter
		err = fmt.Errorf("segment %016x: %w: %w", r.Name, box.ErrFormat, err)
	}
	if err == nil && (uint64(len(o.Body)) != n || o.Size != r.size()) {
		err = r.fault("%d bytes in all, %d of %d read", o.Size, len(o.Body), n)
	}
	return o.Body, Advise(err)
}

// At is a table's At for a segment that is not in memory, by one ranged GET; the whole follows behind the draws, where there is room.
func (s *Store) At(ctx context.Context, r Row, column, height uint64) (*Entry, error) {
	if err := s.memory.damage(r.Name); err != nil {
		return nil, err
	}
	raw, err := s.records(ctx, r, column, 1)
	if err != nil {
		return nil, err
	}
	threshold, pick := le.Uint64(raw[40:])>>slotBits, EntryAt(raw)
	if height >= threshold {
		pick = Entry{pet.ID(raw[24:40]), pet.Weight(le.Uint32(raw[20:]))}
	}
	if threshold > r.Total || pick.Weight == 0 || pick.Weight > pet.MaxWeight || !r.Covers(pick.ID) { // a part has no checksum
		return nil, Advise(r.fault("a record of %s", pick.ID))
	}
	s.loadSoon(r)
	return &pick, nil
}

// Lookup finds a picture's weight in a segment, 0 when it is not there. Ids are hashes, so that a picture's place can be guessed: one ranged
// GET around the guess nearly always holds it (4 standard deviations of the place), and tells when it does not.
func (s *Store) Lookup(ctx context.Context, r Row, id pet.ID) (pet.Weight, error) {
	if !r.Covers(id) {
		return 0, nil
	}
	if t := s.Table(r.Name); t != nil {
		return t.Weight(id), nil
	}
	n := uint64(r.N)
	from, to := around(r, id)
	for width := to - from; ; width *= 8 {
		recs, err := s.records(ctx, r, from, to-from)
		if err != nil {
			return 0, err
		}
		count := int(to - from)
		at := func(i int) Entry { return EntryAt(recs[i*recordSize:]) }
		i := sort.Search(count, func(i int) bool { return pet.Compare(at(i).ID, id) >= 0 })
		switch {
		case i < count && at(i).ID == id:
			return at(i).Weight, nil
		case (i > 0 || from == 0) && (i < count || to == n): // between two that are there
			return 0, nil
		}
		from, to = from-min(from, width), min(n, to+width)
	}
}

// around guesses where in a segment a picture is, or would be.
func around(r Row, id pet.ID) (from, to uint64) {
	n := uint64(r.N)
	guess, width := uint64(place(r.First, r.Last, id)*float64(n-1)), max(32, uint64(2*math.Sqrt(float64(n))))
	return guess - min(guess, width), min(n, guess+width+1)
}

// place is where id lies between first and last, from 0 to 1.
func place(first, last, id pet.ID) float64 {
	num := func(id pet.ID) float64 { return float64(binary.BigEndian.Uint64(id[:])) }
	if num(last) <= num(first) {
		return 0
	}
	return min(1, max(0, (num(id)-num(first))/(num(last)-num(first))))
}
