package main

import (
	"context"
	"crypto/sha256"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/blob"
	"petpick/src/index"
	"petpick/src/pet"
)

// counted counts a store's calls by the method that they have on S3.
type counted struct {
	blob.Store
	calls map[string]float64
}

func (c counted) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	c.calls["PUT"]++
	return c.Store.Create(ctx, key, body, attr)
}

func (c counted) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	c.calls["PUT"]++
	return c.Store.Swap(ctx, key, etag, body, attr)
}

func (c counted) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	c.calls["GET"]++
	return c.Store.Get(ctx, key, etag)
}

func (c counted) Head(ctx context.Context, key string) (blob.Info, error) {
	c.calls["HEAD"]++
	return c.Store.Head(ctx, key)
}

func (c counted) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	c.calls["LIST"]++
	return c.Store.List(ctx, prefix, after, limit)
}

func (c counted) DeleteMany(ctx context.Context, keys []string) error {
	c.calls["POST"]++
	return c.Store.DeleteMany(ctx, keys)
}

// TestIndexPartOfAnUpload: the part of an upload's calls that other ways to build it would save is that which the index makes of uploads one
// after the other, as they are measured.
func TestIndexPartOfAnUpload(t *testing.T) {
	m := loaded(t)
	synctest.Test(t, func(t *testing.T) {
		inIndex := counted{blob.NewMemory(nil), map[string]float64{}}
		x := index.Open(index.Config{Label: "cat", Photos: blob.NewMemory(nil), Index: inIndex})
		for i := range byte(3) {
			time.Sleep(100 * time.Millisecond)
			clear(inIndex.calls)
			if _, err := x.Add(t.Context(), index.Photo{ID: pet.NewID(sha256.Sum256([]byte{i}), pet.JPEG), Body: []byte{i}, Width: 1, Height: 1, Weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if !maps.Equal(inIndex.calls, m.work.IndexCallsOfAnUpload) {
			t.Errorf("the index makes %v, workload.json says %v", inIndex.calls, m.work.IndexCallsOfAnUpload)
		}
	})
	for method, n := range m.work.IndexCallsOfAnUpload {
		if all := m.upload(m.work.PictureBytes).Calls[method]; all < n {
			t.Errorf("%v %s of an upload were measured, and the index alone makes %v", all, method, n)
		}
	}
}
