package view

import (
	"context"
	"errors"
	"fmt"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/index/segment"
)

// ErrEmpty: no picture of the label has a weight above 0, as of a reading that began after the call.
var ErrEmpty = errors.New("no drawable picture")

// maxTries of one draw, each of which succeeds with a probability of at least 3/4.
const maxTries = 100

// Draw returns a picture with probability weight / sum of weights. Within a second of the last refresh, and with the segment in
// memory, it makes no call; with a segment that is not, one ranged GET. While the store fails it goes on with the last view it
// has. ErrEmpty is only said after a reading that began after the call.
func (x *Reader) Draw(ctx context.Context, rnd segment.Source) (segment.Entry, error) {
	// Aim first, and ask then whether the view is fresh: a clock is read in order, after all loads before it have ended, so that the
	// record that a draw waits for would be asked for only after that. Should there be a newer view, another aim is taken.
	var at aim
	aimed := x.view.Load()
	if aimed != nil && aimed.total > 0 {
		at = aimed.aim(rnd)
	}
	sure := aimed == nil // that the view was read after the call
	v, err := x.latest(ctx, sure)
	for try := 0; err == nil; try++ {
		if v.total == 0 {
			if sure {
				return segment.Entry{}, fmt.Errorf("index of %s: %w", x.label, ErrEmpty)
			}
			v, err = x.Newer(ctx)
			sure = true
			continue
		}
		if v != aimed || try > 0 {
			at = v.aim(rnd)
		}
		pick, next, errTry := x.drawFrom(ctx, v, at)
		switch {
		case errTry == nil && next == nil:
			return *pick, nil
		case try == maxTries: // at most a quarter of each segment is superseded: 4^-100
			err = errors.Join(errTry, fmt.Errorf("%d draws in a row were superseded: %w", try, box.ErrFormat))
		case errors.Is(errTry, blob.ErrNotFound): // a merge has replaced the segment
			old := v.Version
			if v, err = x.Newer(ctx); err == nil && v.Version == old {
				err = fmt.Errorf("a segment that the root lists is gone: %w: %w", box.ErrFormat, errTry)
			}
		default:
			v, err = next, errTry
		}
	}
	return segment.Entry{}, fmt.Errorf("index of %s: %w", x.label, err)
}

// latest is Newer where that is asked for, and else Fresh.
func (x *Reader) latest(ctx context.Context, newer bool) (*View, error) {
	if newer {
		return x.Newer(ctx)
	}
	return x.Fresh(ctx)
}

// Stats is a label in numbers.
type Stats struct {
	// Pictures counts those with a weight above 0; one that is in two segments by mistake counts twice until upkeep has absorbed what
	// heals it, although draws heal at once.
	Pictures int
	// Total is the sum of their weights, in thousandths.
	Total uint64
	// Version grows with every change of the index.
	Version uint64
	// FailingSince is when the store first failed to answer a refresh, if it has not answered one since; else zero.
	FailingSince time.Time
}

// Stats reports on the label, at most about a second behind while the store answers. Unlike a draw it waits for a slow store rather
// than telling what was true before an idle time.
func (x *Reader) Stats(ctx context.Context) (Stats, error) {
	v, err := x.Fresh(ctx)
	if err != nil {
		return Stats{}, err
	}
	if x.failingSince().IsZero() && !x.isFresh(v, x.now()) {
		if newer, err := x.Newer(ctx); err == nil {
			v = newer
		}
	}
	pictures, total := v.Counts()
	return Stats{Pictures: pictures, Total: total, Version: v.Version, FailingSince: x.failingSince()}, nil
}
