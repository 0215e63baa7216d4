package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// Sizes of a segment (FORMAT.md, "Segment").
const header, record = 32, 48

// synthetic answers for segments that are not there: their bytes are computed for each call, so that an index of a billion pictures
// takes no room. All their weights are pet.DefaultWeight. Everything else goes to the store behind it.
type synthetic struct {
	blob.Store
	sizes map[string]uint32 // pictures, by key
	names map[string]uint64
}

// newSynthetic makes segments of as many pictures as are asked for, and the rows of a root that lists them.
func newSynthetic(behind blob.Store, x *Index, pictures int) (*synthetic, []segment.Row) {
	s := &synthetic{Store: behind, sizes: map[string]uint32{}, names: map[string]uint64{}}
	var rows []segment.Row
	for name := uint64(0); pictures > 0; name++ {
		r := syntheticRow(name, min(pictures, segment.Max))
		s.sizes[x.segments.Key(name)], s.names[x.segments.Key(name)] = r.N, name
		rows = append(rows, r)
		pictures -= int(r.N)
	}
	return s, rows
}

// syntheticID is picture i of a segment: in ascending order, and in no two segments.
func syntheticID(name, i uint64) pet.ID {
	var id pet.ID
	binary.BigEndian.PutUint64(id[:], i<<44|name)
	id[15] = byte(pet.JPEG)
	return id
}

func syntheticRow(name uint64, n int) segment.Row {
	return segment.Row{
		Name: name, N: uint32(n), Total: uint64(n) * uint64(pet.DefaultWeight),
		First: syntheticID(name, 0), Last: syntheticID(name, uint64(n-1)),
	}
}

// syntheticRecord: where all weights are equal each column is its own picture's up to the top.
func syntheticRecord(b []byte, name, n, i uint64) []byte {
	id := syntheticID(name, i)
	b = append(b, id[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(pet.DefaultWeight))
	b = binary.LittleEndian.AppendUint32(b, uint32(pet.DefaultWeight))
	b = append(b, id[:]...)
	return binary.LittleEndian.AppendUint64(b, n*uint64(pet.DefaultWeight)<<20|i)
}

func (s *synthetic) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	pictures, ours := s.sizes[key]
	if !ours {
		return s.Store.GetRange(ctx, key, offset, n)
	}
	from, count := (offset-header)/record, n/record
	if offset != header+from*record || n != count*record || from+count > int64(pictures) { // with its header or checksum
		o, err := s.Get(ctx, key, "")
		o.Body = o.Body[min(offset, o.Size):min(offset+n, o.Size)]
		return o, err
	}
	body := make([]byte, 0, n)
	for i := range count {
		body = syntheticRecord(body, s.names[key], uint64(pictures), uint64(from+i))
	}
	return blob.Object{Info: blob.Info{Key: key, Size: header + int64(pictures)*record + 4}, Body: body}, nil
}

func (s *synthetic) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	pictures, ours := s.sizes[key]
	if !ours {
		return s.Store.Get(ctx, key, etag)
	}
	n := uint64(pictures)
	body := box.Kind{Magic: "PPSG", Version: 2}.Begin(int(header + n*record + 4))
	body = binary.LittleEndian.AppendUint16(body, 0)
	body = binary.LittleEndian.AppendUint64(body, n)
	body = binary.LittleEndian.AppendUint64(body, n*uint64(pet.DefaultWeight))
	body = binary.LittleEndian.AppendUint64(body, 0)
	for i := range n {
		body = syntheticRecord(body, s.names[key], n, i)
	}
	body = box.Seal(body)
	return blob.Object{Info: blob.Info{Key: key, Size: int64(len(body))}, Body: body}, nil
}

// What benchmarks draw from by ranged reads is what the format says.
func TestSyntheticSegments(t *testing.T) {
	x := Open(Config{Label: "cat", Index: blob.NewMemory(nil)})
	plain := Open(Config{Label: "cat", Index: blob.NewMemory(nil)})
	store, rows := newSynthetic(x.store, x, segment.Max+1000)
	x.use(store, defaultMemory)
	r := rows[1]
	o, err := store.Get(t.Context(), x.segments.Key(r.Name), "")
	if err != nil || len(rows) != 2 || r.N != 1000 {
		t.Fatal(rows, err)
	}
	s, err := segment.Decode(o.Body, r)
	if err != nil {
		t.Fatal(err)
	}
	row := stored(t, plain, slices.Collect(s.All()))
	if real, err := plain.store.Get(t.Context(), plain.segments.Key(row.Name), ""); err != nil || string(o.Body) != string(real.Body) {
		t.Errorf("the table is not the one that the index builds: %v", err)
	}
	part, err := store.GetRange(t.Context(), x.segments.Key(r.Name), header+7*record, 3*record)
	if err != nil || string(part.Body) != string(o.Body[header+7*record:][:3*record]) {
		t.Errorf("a range differs from the whole, %v", err)
	}
}

// metered counts the reads of a store, and the bytes that they bring.
type metered struct {
	blob.Store
	calls, bytes atomic.Int64
}

func (m *metered) count(o blob.Object, err error) (blob.Object, error) {
	m.calls.Add(1)
	m.bytes.Add(int64(len(o.Body)))
	return o, err
}

func (m *metered) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	return m.count(m.Store.Get(ctx, key, etag))
}

func (m *metered) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	return m.count(m.Store.GetRange(ctx, key, offset, n))
}

// files is a store whose objects are files, so that what a merge reads and writes does not count as its memory. It is for one process
// at a time, and has only what upkeep needs.
type files struct {
	blob.Store // nil: anything else panics
	dir        string
}

func (f files) path(key string) string { return filepath.Join(f.dir, filepath.FromSlash(key)) }

func (f files) Create(_ context.Context, key string, body []byte, _ blob.Attr) (blob.Info, error) {
	if _, err := os.Stat(f.path(key)); err == nil {
		return blob.Info{}, blob.ErrExists
	}
	return f.put(key, body)
}

func (f files) put(key string, body []byte) (blob.Info, error) {
	if err := os.MkdirAll(filepath.Dir(f.path(key)), 0o700); err != nil {
		return blob.Info{}, err
	}
	if err := os.WriteFile(f.path(key), body, 0o600); err != nil {
		return blob.Info{}, err
	}
	return f.Head(context.Background(), key)
}

func (f files) Swap(ctx context.Context, key, etag string, body []byte, _ blob.Attr) (blob.Info, error) {
	if info, err := f.Head(ctx, key); err != nil || info.ETag != etag {
		return blob.Info{}, errors.Join(blob.ErrChanged, err)
	}
	return f.put(key, body)
}

func (f files) Get(ctx context.Context, key, _ string) (blob.Object, error) {
	return f.GetRange(ctx, key, 0, 1<<62)
}

func (f files) GetRange(_ context.Context, key string, offset, n int64) (blob.Object, error) {
	file, err := os.Open(f.path(key))
	if err != nil {
		return blob.Object{}, notFound(err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return blob.Object{}, err
	}
	body := make([]byte, min(n, stat.Size()-offset))
	if _, err := io.ReadFull(io.NewSectionReader(file, offset, n), body); err != nil {
		return blob.Object{}, err
	}
	return blob.Object{Info: infoOf(key, stat), Body: body}, nil
}

func (f files) Head(_ context.Context, key string) (blob.Info, error) {
	stat, err := os.Stat(f.path(key))
	if err != nil {
		return blob.Info{}, notFound(err)
	}
	return infoOf(key, stat), nil
}

func (f files) List(_ context.Context, prefix, after string, _ int) (blob.Page, error) {
	entries, err := os.ReadDir(f.path(prefix))
	var page blob.Page
	for _, e := range entries {
		stat, err := e.Info()
		if err != nil {
			return blob.Page{}, err
		}
		if key := prefix + e.Name(); key > after {
			page.Objects = append(page.Objects, infoOf(key, stat))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return page, err
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", blob.ErrNotFound, err)
	}
	return err
}

func infoOf(key string, stat fs.FileInfo) blob.Info {
	return blob.Info{Key: key, ETag: fmt.Sprintf(`"%d-%d"`, stat.ModTime().UnixNano(), stat.Size()), Size: stat.Size(), Modified: stat.ModTime()}
}
