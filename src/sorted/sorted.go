// Package sorted walks sequences that are in one order beside each other, in memory that does not grow with their length.
package sorted

import "iter"

// Groups yields what is equal in all the sequences, group after group, each in the order of the sequences. The slice is only good until the
// next one.
func Groups[T any](compare func(a, b T) int, sequences ...iter.Seq2[T, error]) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		var open []*head[T]
		for _, s := range sequences {
			next, stop := iter.Pull2(s)
			defer stop()
			h := &head[T]{next: next}
			if more, err := h.advance(); err != nil {
				yield(nil, err)
				return
			} else if more {
				open = append(open, h)
			}
		}
		for group := []T(nil); len(open) > 0; {
			lowest := open[0].value
			for _, h := range open[1:] {
				if compare(h.value, lowest) < 0 {
					lowest = h.value
				}
			}
			group = group[:0]
			for i := 0; i < len(open); {
				if compare(open[i].value, lowest) != 0 {
					i++
					continue
				}
				group = append(group, open[i].value)
				more, err := open[i].advance()
				if err != nil {
					yield(nil, err)
					return
				}
				if !more {
					open = append(open[:i], open[i+1:]...)
				}
			}
			if !yield(group, nil) {
				return
			}
		}
	}
}

// head is the first of a sequence that was not yielded yet.
type head[T any] struct {
	value T
	next  func() (T, error, bool)
}

func (h *head[T]) advance() (more bool, err error) {
	h.value, err, more = h.next()
	return more, err
}
