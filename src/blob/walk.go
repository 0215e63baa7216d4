package blob

import (
	"context"
	"errors"
	"iter"
)

// All yields the keys under a prefix that sort after a key. The next page is read while one is worked on.
func All(ctx context.Context, store Store, prefix, after string) iter.Seq2[Info, error] {
	type answer struct {
		page Page
		err  error
	}
	read := func(after string) <-chan answer {
		c := make(chan answer, 1)
		go func() {
			page, err := store.List(ctx, prefix, after, 1000)
			c <- answer{page, err}
		}()
		return c
	}
	return func(yield func(Info, error) bool) {
		for next := read(after); next != nil; {
			a := <-next
			next = nil
			if a.err != nil {
				yield(Info{}, a.err)
				return
			}
			if n := len(a.page.Objects); a.page.More {
				next = read(a.page.Objects[n-1].Key)
			}
			for _, o := range a.page.Objects {
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// Put replaces the object that has the ETag, or makes one where there was none. One attempt: a body says who wrote it, and reading
// it tells what became of an unclear one.
func Put(ctx context.Context, s Store, key, etag string, body []byte) (Info, error) {
	if etag == "" {
		return s.Create(ctx, key, body, Attr{Once: true})
	}
	return s.Swap(ctx, key, etag, body, Attr{Once: true})
}

// Lost says that a conditional write did not take place, or that nobody knows: read again, and decide from what is there.
func Lost(err error) bool {
	return errors.Is(err, ErrExists) || errors.Is(err, ErrChanged) || errors.Is(err, ErrUnclear)
}

// Place creates an object under a name that nobody else has: one that exists is this call's own, whose first answer was lost.
func Place(ctx context.Context, s Store, key string, body []byte) error {
	_, err := s.Create(ctx, key, body, Attr{})
	if errors.Is(err, ErrExists) {
		return nil
	}
	return err
}
