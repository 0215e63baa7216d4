package segment

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"petpick/src/parallel"
)

// maxLoad bounds the reading of a segment that several callers wait for, whoever of them goes away.
const maxLoad = 10 * time.Second

// memory is the segments that are in memory.
type memory struct {
	loads    parallel.Shared[*Table]
	mu       sync.Mutex
	tables   map[uint64]*Table
	left     int64            // of the budget, in bytes
	damaged  map[uint64]error // why a segment could not be read as a whole: drawing single records of it would not notice
	loading  bool             // behind the draws
	notUntil time.Time
}

func (r Row) inMemory() int64 { return int64(r.N) * Bytes }

// Table is a segment that is in memory; nil when it is not.
func (s *Store) Table(name uint64) *Table {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.memory.tables[name]
}

// Keep drops from memory all but the segments of a root.
func (s *Store) Keep(rows []Row) {
	m := &s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.tables)+len(m.damaged) == 0 {
		return
	}
	listed := make(map[uint64]bool, len(rows))
	for _, r := range rows {
		listed[r.Name] = true
	}
	for name, t := range m.tables {
		if !listed[name] {
			delete(m.tables, name)
			m.left += int64(len(t.recs)) * Bytes
		}
	}
	maps.DeleteFunc(m.damaged, func(name uint64, _ error) bool { return !listed[name] })
}

// Load reads a whole segment into memory. A crowd reads it once.
func (s *Store) Load(ctx context.Context, r Row) error {
	_, err := s.memory.loads.Do(ctx, strconv.FormatUint(r.Name, 16), maxLoad, func(ctx context.Context) (*Table, error) {
		if t := s.Table(r.Name); t != nil {
			return t, nil
		}
		o, err := s.cfg.Store.Get(ctx, s.Key(r.Name), "")
		if err != nil {
			return nil, Advise(err)
		}
		t, err := Decode(o.Body, r)
		s.memory.put(r, t, Advise(err))
		return t, Advise(err)
	})
	return err
}

// loadSoon brings a segment into memory behind the draws.
func (s *Store) loadSoon(r Row) {
	if !s.memory.begin(r, s.cfg.Now()) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var notUntil time.Time
		if err := s.Load(ctx, r); err != nil {
			s.cfg.Log.WarnContext(ctx, "segment not loaded: draws go on by ranged reads", "label", s.cfg.Label, "error", err)
			notUntil = s.cfg.Now().Add(10 * time.Second)
		}
		s.memory.end(notUntil)
		s.cfg.Loaded()
	}()
}

// put keeps what came of reading a segment.
func (m *memory) put(r Row, t *Table, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.damaged[r.Name] = err
	} else if m.tables[r.Name] == nil {
		m.tables[r.Name] = t
		m.left -= r.inMemory()
	}
}

func (m *memory) damage(name uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.damaged[name]
}

// begin says whether to read a segment behind the draws: one at a time, as long as the budget lasts.
func (m *memory) begin(r Row, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left < r.inMemory() || m.tables[r.Name] != nil || m.loading || now.Before(m.notUntil) {
		return false
	}
	m.loading = true
	return true
}

func (m *memory) end(notUntil time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loading, m.notUntil = false, notUntil
}
