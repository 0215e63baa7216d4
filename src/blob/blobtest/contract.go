// Package blobtest holds the contract of blob.Store as a test suite: every implementation passes the same one.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"

	"petpick/src/blob"
)

// Contract runs the suite. fresh returns a store, or a corner of one, that holds no object.
func Contract(t *testing.T, fresh func(t *testing.T) blob.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, blob.Store)
	}{
		{"create", create},
		{"create keeps attributes and bytes", attributes},
		{"swap", swap},
		{"get with an ETag", conditionalGet},
		{"ranges", ranges},
		{"list in pages", list},
		{"delete", remove},
		{"racing creators: one wins", racingCreators},
		{"racing swappers: none lost", racingSwappers},
		{"a prefix comes and goes", comingAndGoing},
		{"cancelled", cancelled},
		{"bodies are the caller's own", aliasing},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		return v
	}
}

func create(t *testing.T, s blob.Store) {
	ctx := t.Context()
	_, err := s.Get(ctx, "a/b", "")
	wantErr(t, err, blob.ErrNotFound)
	_, err = s.Head(ctx, "a/b")
	wantErr(t, err, blob.ErrNotFound)
	info := must[blob.Info](t)(s.Create(ctx, "a/b", []byte("one"), blob.Attr{}))
	if info.ETag == "" {
		t.Error("Create returned no ETag")
	}
	for _, once := range []bool{false, true} {
		_, err = s.Create(ctx, "a/b", []byte("two"), blob.Attr{Once: once})
		wantErr(t, err, blob.ErrExists)
	}
	got := must[blob.Object](t)(s.Get(ctx, "a/b", ""))
	if string(got.Body) != "one" || got.ETag != info.ETag || got.Size != 3 {
		t.Errorf("got %q, ETag %s, size %d; want %q, %s, 3", got.Body, got.ETag, got.Size, "one", info.ETag)
	}
	must[blob.Info](t)(s.Create(ctx, "empty", nil, blob.Attr{}))
	if got := must[blob.Object](t)(s.Get(ctx, "empty", "")); len(got.Body) != 0 || got.Size != 0 {
		t.Errorf("empty object: got %q, size %d", got.Body, got.Size)
	}
}

func attributes(t *testing.T, s blob.Store) {
	ctx := t.Context()
	body := make([]byte, 1<<16)
	for i := range body {
		body[i] = byte(i * 7)
	}
	attr := blob.Attr{
		ContentType: "image/webp", CacheControl: "public, max-age=31536000, immutable",
		Meta: map[string]string{"weight": "1500", "uploaded-at": "2026-01-02T03:04:05Z"},
	}
	made := must[blob.Info](t)(s.Create(ctx, "x.webp", body, attr))
	got := must[blob.Object](t)(s.Get(ctx, "x.webp", ""))
	if !bytes.Equal(got.Body, body) {
		t.Error("bytes changed on the way")
	}
	head := must[blob.Info](t)(s.Head(ctx, "x.webp"))
	part := must[blob.Object](t)(s.GetRange(ctx, "x.webp", 5, 10))
	for name, info := range map[string]blob.Info{"Get": got.Info, "Head": head, "GetRange": part.Info} {
		a := info.Attr
		if a.ContentType != attr.ContentType || a.CacheControl != attr.CacheControl ||
			a.Meta["weight"] != "1500" || a.Meta["uploaded-at"] != "2026-01-02T03:04:05Z" {
			t.Errorf("%s: got attributes %+v, want %+v", name, a, attr)
		}
		if info.ETag != made.ETag || info.Size != int64(len(body)) || info.Modified.IsZero() || info.Date.IsZero() {
			t.Errorf("%s: got %+v, want ETag %s, size %d, times set", name, info, made.ETag, len(body))
		}
	}
}

func swap(t *testing.T, s blob.Store) {
	ctx := t.Context()
	_, err := s.Swap(ctx, "k", `"d41d8cd98f00b204e9800998ecf8427e"`, []byte("x"), blob.Attr{})
	wantErr(t, err, blob.ErrChanged)
	_, err = s.Get(ctx, "k", "")
	wantErr(t, err, blob.ErrNotFound)
	one := must[blob.Info](t)(s.Create(ctx, "k", []byte("one"), blob.Attr{}))
	two := must[blob.Info](t)(s.Swap(ctx, "k", one.ETag, []byte("two"), blob.Attr{ContentType: "text/plain"}))
	if two.ETag == one.ETag || two.ETag == "" {
		t.Errorf("ETag after swap is %s, before %s", two.ETag, one.ETag)
	}
	for _, once := range []bool{false, true} {
		_, err = s.Swap(ctx, "k", one.ETag, []byte("late"), blob.Attr{Once: once})
		wantErr(t, err, blob.ErrChanged)
	}
	if got := must[blob.Object](t)(s.Get(ctx, "k", "")); string(got.Body) != "two" || got.ETag != two.ETag {
		t.Errorf("got %q %s, want %q %s", got.Body, got.ETag, "two", two.ETag)
	}
}

func conditionalGet(t *testing.T, s blob.Store) {
	ctx := t.Context()
	one := must[blob.Info](t)(s.Create(ctx, "k", []byte("one"), blob.Attr{}))
	_, err := s.Get(ctx, "k", one.ETag)
	wantErr(t, err, blob.ErrNotModified)
	two := must[blob.Info](t)(s.Swap(ctx, "k", one.ETag, []byte("two"), blob.Attr{}))
	got := must[blob.Object](t)(s.Get(ctx, "k", one.ETag))
	if string(got.Body) != "two" || got.ETag != two.ETag {
		t.Errorf("got %q %s, want %q %s", got.Body, got.ETag, "two", two.ETag)
	}
}

func ranges(t *testing.T, s blob.Store) {
	ctx := t.Context()
	must[blob.Info](t)(s.Create(ctx, "k", []byte("0123456789"), blob.Attr{}))
	for _, c := range []struct {
		offset, n int64
		want      string
	}{{0, 1, "0"}, {0, 10, "0123456789"}, {0, 99, "0123456789"}, {3, 4, "3456"}, {9, 5, "9"}, {5, math.MaxInt64, "56789"}} {
		got := must[blob.Object](t)(s.GetRange(ctx, "k", c.offset, c.n))
		if string(got.Body) != c.want || got.Size != 10 {
			t.Errorf("range %d+%d: got %q of %d, want %q of 10", c.offset, c.n, got.Body, got.Size, c.want)
		}
	}
	_, err := s.GetRange(ctx, "k", 10, 1)
	wantErr(t, err, blob.ErrRange)
	_, err = s.GetRange(ctx, "nothing", 0, 1)
	wantErr(t, err, blob.ErrNotFound)
}

func list(t *testing.T, s blob.Store) {
	ctx := t.Context()
	var want []string
	for i := range 25 {
		key := fmt.Sprintf("list/%02d", i)
		want = append(want, key)
		must[blob.Info](t)(s.Create(ctx, key, []byte(key), blob.Attr{}))
	}
	must[blob.Info](t)(s.Create(ctx, "lisp", nil, blob.Attr{}))
	must[blob.Info](t)(s.Create(ctx, "lisu", nil, blob.Attr{}))
	for _, limit := range []int{1, 7, 24, 25, 26, 1000} {
		var got []string
		after, pages := "", 0
		for {
			page := must[blob.Page](t)(s.List(ctx, "list/", after, limit))
			pages++
			for _, o := range page.Objects {
				if o.Size != int64(len(o.Key)) || o.ETag == "" || o.Modified.IsZero() {
					t.Errorf("limit %d: entry %+v lacks size, ETag or time", limit, o)
				}
				got = append(got, o.Key)
			}
			if !page.More {
				break
			}
			if len(page.Objects) != limit {
				t.Fatalf("limit %d: a page that is not the last has %d entries", limit, len(page.Objects))
			}
			after = got[len(got)-1]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("limit %d: got %v, want %v", limit, got, want)
		}
		if wantPages := max(1, (25+limit-1)/limit); pages != wantPages {
			t.Errorf("limit %d: %d pages, want %d", limit, pages, wantPages)
		}
	}
	if page := must[blob.Page](t)(s.List(ctx, "nothing/", "", 10)); len(page.Objects) != 0 || page.More {
		t.Errorf("empty prefix: got %+v", page)
	}
}

func remove(t *testing.T, s blob.Store) {
	ctx := t.Context()
	if err := s.Delete(ctx, "nothing"); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
	var keys []string
	for i := range 1003 { // one DeleteObjects call takes 1,000
		keys = append(keys, fmt.Sprintf("many/%04d", i))
	}
	for _, i := range []int{0, 1, 500, 999, 1000, 1002} {
		must[blob.Info](t)(s.Create(ctx, keys[i], []byte("x"), blob.Attr{}))
	}
	must[blob.Info](t)(s.Create(ctx, "many/kept", []byte("x"), blob.Attr{}))
	if err := s.Delete(ctx, keys[500]); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMany(ctx, keys); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMany(ctx, nil); err != nil {
		t.Fatal(err)
	}
	page := must[blob.Page](t)(s.List(ctx, "many/", "", 1000))
	if len(page.Objects) != 1 || page.Objects[0].Key != "many/kept" {
		t.Errorf("left: %+v, want many/kept", page.Objects)
	}
	must[blob.Info](t)(s.Create(ctx, keys[0], []byte("again"), blob.Attr{}))
}

func racingCreators(t *testing.T, s blob.Store) {
	ctx := t.Context()
	won := make([]bool, 16)
	var wg sync.WaitGroup
	for i := range won {
		wg.Go(func() {
			_, err := s.Create(ctx, "race", []byte(strconv.Itoa(i)), blob.Attr{Once: true})
			if err == nil {
				won[i] = true
			} else if !errors.Is(err, blob.ErrExists) && !errors.Is(err, blob.ErrUnclear) {
				t.Errorf("creator %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got := string(must[blob.Object](t)(s.Get(ctx, "race", "")).Body)
	winners := 0
	for i, w := range won {
		if w {
			winners++
			if got != strconv.Itoa(i) {
				t.Errorf("creator %d was told that it won; the object is %q", i, got)
			}
		}
	}
	if winners > 1 {
		t.Errorf("%d creators were told that they won", winners)
	}
}

func racingSwappers(t *testing.T, s blob.Store) {
	ctx := t.Context()
	must[blob.Info](t)(s.Create(ctx, "n", []byte("0"), blob.Attr{}))
	const swappers, rounds = 8, 12
	var wg sync.WaitGroup
	for range swappers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				o, err := s.Get(ctx, "n", "")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(o.Body))
				_, err = s.Swap(ctx, "n", o.ETag, []byte(strconv.Itoa(n+1)), blob.Attr{Once: true})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, blob.ErrChanged):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := string(must[blob.Object](t)(s.Get(ctx, "n", "")).Body); got != strconv.Itoa(swappers*rounds) {
		t.Errorf("got %s, want %d: increments were lost", got, swappers*rounds)
	}
}

// comingAndGoing makes and deletes what is often the only object of its prefix: a store over folders must not fail a writer for that.
func comingAndGoing(t *testing.T, s blob.Store) {
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := range 150 {
				key := fmt.Sprintf("come/and/go/%d-%d", w, i)
				if _, err := s.Create(ctx, key, []byte("x"), blob.Attr{Once: true}); err != nil {
					t.Errorf("create %s: %v", key, err)
				}
				if _, err := s.List(ctx, "come/", "", 10); err != nil {
					t.Errorf("list: %v", err)
				}
				if err := s.Delete(ctx, key); err != nil {
					t.Errorf("delete %s: %v", key, err)
				}
			}
		})
	}
	wg.Wait()
	if page := must[blob.Page](t)(s.List(ctx, "", "", 10)); len(page.Objects) != 0 {
		t.Errorf("left: %+v, want nothing", page.Objects)
	}
}

func cancelled(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, "k", "")
	wantErr(t, err, context.Canceled)
	wantErr(t, err, blob.ErrUnavailable)
	_, err = s.Create(ctx, "k", []byte("x"), blob.Attr{})
	wantErr(t, err, context.Canceled)
	wantErr(t, err, blob.ErrUnclear)
}

func aliasing(t *testing.T, s blob.Store) {
	ctx := t.Context()
	body := []byte("mine")
	must[blob.Info](t)(s.Create(ctx, "k", body, blob.Attr{}))
	copy(body, "XXXX")
	got := must[blob.Object](t)(s.Get(ctx, "k", ""))
	copy(got.Body, "YYYY")
	if again := must[blob.Object](t)(s.Get(ctx, "k", "")); string(again.Body) != "mine" {
		t.Errorf("got %q, want %q: the store shares memory with its caller", again.Body, "mine")
	}
}
