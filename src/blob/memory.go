package blob

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Memory is a Store in memory. Like S3 it derives an object's ETag from its content alone, so code that compares ETags where
// contents can repeat fails here too.
type Memory struct {
	mu      sync.RWMutex
	objects map[string]Object
	keys    []string // sorted: List is a walk, not a sort
	now     func() time.Time
}

// NewMemory returns an empty store whose clock is now; nil means time.Now.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{objects: map[string]Object{}, now: now}
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, key string, body []byte, attr Attr) (Info, error) {
	return m.put(ctx, key, body, attr, func(_ Object, there bool) error {
		if there {
			return ErrExists
		}
		return nil
	})
}

// Swap implements Store.
func (m *Memory) Swap(ctx context.Context, key, etag string, body []byte, attr Attr) (Info, error) {
	return m.put(ctx, key, body, attr, func(old Object, there bool) error {
		if !there || old.ETag != etag {
			return ErrChanged
		}
		return nil
	})
}

func (m *Memory) put(ctx context.Context, key string, body []byte, attr Attr, allow func(Object, bool) error) (Info, error) {
	if err := ctx.Err(); err != nil { // over a network nobody would know whether it was sent
		return Info{}, fmt.Errorf("put %s: %w: %w: %w", key, ErrUnclear, ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, there := m.objects[key]
	if err := allow(old, there); err != nil {
		return Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	if !there {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	attr.Meta = maps.Clone(attr.Meta)
	attr.Once = false
	now := m.now()
	info := Info{
		Key: key, ETag: fmt.Sprintf(`"%x"`, md5.Sum(body)), Size: int64(len(body)),
		Modified: now.UTC().Truncate(time.Second), Date: now, Attr: attr,
	}
	m.objects[key] = Object{Info: info, Body: bytes.Clone(body)}
	return info, nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key, etag string) (Object, error) {
	o, err := m.read(ctx, key)
	if err == nil && etag != "" && o.ETag == etag {
		return Object{}, fmt.Errorf("get %s: %w", key, ErrNotModified)
	}
	o.Body = bytes.Clone(o.Body)
	return o, err
}

// GetRange implements Store.
func (m *Memory) GetRange(ctx context.Context, key string, offset, n int64) (Object, error) {
	o, err := m.read(ctx, key)
	if err != nil {
		return Object{}, err
	}
	if offset < 0 || n <= 0 || offset >= o.Size {
		return Object{}, fmt.Errorf("get %s from byte %d: %w", key, offset, ErrRange)
	}
	o.Body = bytes.Clone(o.Body[offset : offset+min(n, o.Size-offset)])
	return o, nil
}

// Head implements Store.
func (m *Memory) Head(ctx context.Context, key string) (Info, error) {
	o, err := m.read(ctx, key)
	return o.Info, err
}

func (m *Memory) read(ctx context.Context, key string) (Object, error) {
	if err := ctx.Err(); err != nil {
		return Object{}, fmt.Errorf("get %s: %w: %w", key, ErrUnavailable, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, there := m.objects[key]
	if !there {
		return Object{}, fmt.Errorf("get %s: %w", key, ErrNotFound)
	}
	o.Date = m.now()
	o.Attr.Meta = maps.Clone(o.Attr.Meta)
	return o, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix, after string, limit int) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, fmt.Errorf("list %s: %w", prefix, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	limit = max(1, min(limit, 1000))
	var page Page
	from := sort.Search(len(m.keys), func(i int) bool { return m.keys[i] >= prefix && m.keys[i] > after })
	for _, key := range m.keys[from:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		if len(page.Objects) >= limit {
			page.More = true
			break
		}
		o := m.objects[key]
		page.Objects = append(page.Objects, Info{Key: key, ETag: o.ETag, Size: o.Size, Modified: o.Modified})
	}
	return page, nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, key string) error {
	return m.DeleteMany(ctx, []string{key})
}

// DeleteMany implements Store.
func (m *Memory) DeleteMany(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		if _, there := m.objects[key]; there {
			delete(m.objects, key)
			i, _ := slices.BinarySearch(m.keys, key)
			m.keys = slices.Delete(m.keys, i, i+1)
		}
	}
	return nil
}
