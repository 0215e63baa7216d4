package truth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/parallel"
	"petpick/src/pet"
)

// Verdict is a decision about a picture after its upload (FORMAT.md, "Verdict"). The zero value stands for "none".
type Verdict struct {
	State  State
	Weight pet.Weight // when live
	When   time.Time  // of a removal
	seq    uint64
	nonce  uint64 // makes every verdict's bytes, and so its ETag, its own
}

// State is what was decided.
type State byte

// The states there are.
const (
	Undecided State = iota
	Live
	Removed
	Blocked
)

const (
	verdictSize = 40
	// decideBudget is how long a change tries to be the next.
	decideBudget = 5 * time.Second
	// Rest: after a removal, uploads of the same picture wait until no DELETE of its photo can still land: 30 s of a handler and 15
	// minutes of a signature.
	Rest = 16 * time.Minute
)

var verdictBox = box.Kind{Magic: "PPVD", Version: 2}

var le = binary.LittleEndian

func (v Verdict) encode() []byte {
	b := append(verdictBox.Begin(verdictSize), byte(v.State), 0)
	b = le.AppendUint64(b, v.seq)
	b = le.AppendUint64(b, v.nonce)
	b = le.AppendUint32(b, uint32(v.Weight))
	var when uint64
	if v.State != Live {
		when = uint64(v.When.UnixMilli())
	}
	return box.Seal(le.AppendUint64(b, when))
}

func decodeVerdict(b []byte) (Verdict, error) {
	if err := verdictBox.Unseal(b, verdictSize); err != nil {
		return Verdict{}, fmt.Errorf("verdict: %w", err)
	}
	v := Verdict{State: State(b[6]), seq: le.Uint64(b[8:]), nonce: le.Uint64(b[16:]), Weight: pet.Weight(le.Uint32(b[24:]))}
	when := le.Uint64(b[28:])
	if v.State != Live {
		v.When = time.UnixMilli(int64(when))
	}
	if len(b) != verdictSize || v.State < Live || v.State > Blocked || v.seq == 0 || v.Weight > pet.MaxWeight || (v.State == Live) != (when == 0) {
		return Verdict{}, fmt.Errorf("verdict: %w: %d bytes, state %d, sequence %d, weight %d", box.ErrFormat, len(b), v.State, v.seq, v.Weight)
	}
	return v, nil
}

func verdictsPrefix(l pet.Label) string { return "verdicts/" + string(l) + "/" }

func verdictKey(l pet.Label, id pet.ID) string { return verdictsPrefix(l) + id.String() }

// Verdict returns the verdict on a picture, and its ETag.
func (t *Truth) Verdict(ctx context.Context, id pet.ID) (Verdict, string, error) {
	return t.verdictAs(ctx, t.label, id)
}

func (t *Truth) verdictAs(ctx context.Context, l pet.Label, id pet.ID) (Verdict, string, error) {
	o, err := t.store.Get(ctx, verdictKey(l, id), "")
	if errors.Is(err, blob.ErrNotFound) {
		return Verdict{}, "", nil
	}
	if err != nil {
		return Verdict{}, "", err
	}
	v, err := decodeVerdict(o.Body)
	if err != nil {
		return Verdict{}, "", fmt.Errorf("%s: %w", o.Key, err)
	}
	return v, o.ETag, nil
}

// Decide moves the verdict by compare-and-swap to what next makes of the present one; an error of next ends it. After an unclear
// outcome it reads again: the verdict may be its own, of any try, for one that was given up can land behind the next.
func (t *Truth) Decide(ctx context.Context, id pet.ID, next func(Verdict) (Verdict, error)) error {
	ctx, cancel := context.WithTimeout(ctx, decideBudget)
	defer cancel()
	var mine []uint64
	for {
		old, etag, err := t.Verdict(ctx, id)
		if err != nil || old.State != Undecided && slices.Contains(mine, old.nonce) {
			return err
		}
		v, err := next(old)
		if err != nil {
			return err
		}
		v.seq, v.nonce = old.seq+1, t.rnd.Uint64()
		mine = append(mine, v.nonce)
		if _, err = blob.Put(ctx, t.store, verdictKey(t.label, id), etag, v.encode()); err == nil || !blob.Lost(err) || ctx.Err() != nil {
			return err
		}
		if err := t.pause(ctx); err != nil {
			return err
		}
	}
}

// Standing is the error that a verdict stands for, if any.
func (t *Truth) Standing(id pet.ID, v Verdict) error {
	switch v.State {
	case Removed:
		return fmt.Errorf("%s/%s: %w", t.label, id, ErrRemoved)
	case Blocked:
		return fmt.Errorf("%s/%s: %w", t.label, id, ErrBlocked)
	}
	return nil
}

// Admit reads the verdicts before an upload. A block is on the picture, under whatever label it is sent.
func (t *Truth) Admit(ctx context.Context, id pet.ID) error {
	return parallel.Each(len(pet.Labels), len(pet.Labels), func(i int) error {
		v, _, err := t.verdictAs(ctx, pet.Labels[i], id)
		switch {
		case err != nil:
			return err
		case pet.Labels[i] == t.label:
			return t.MayAdd(id, v)
		case v.State == Blocked:
			return t.Standing(id, v)
		}
		return nil
	})
}

// MayAdd says whether a verdict lets a picture in.
func (t *Truth) MayAdd(id pet.ID, v Verdict) error {
	if v.State == Removed && t.now().Sub(v.When) >= Rest {
		return nil
	}
	return t.Standing(id, v)
}
