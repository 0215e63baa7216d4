// Package truth is what the photos bucket says of the pictures of a label: a photo each, and a verdict beside it where something was decided
// after its upload (src/index/FORMAT.md, "Photos" and "Verdict"). It knows nothing of the index, which is derived from it.
package truth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/parallel"
	"petpick/src/pet"
)

// What a caller branches on, beside the errors of blob and box.
var (
	// ErrNoPicture: there is no such photo.
	ErrNoPicture = errors.New("no such picture")
	// ErrRemoved: the picture was removed; its bytes may be uploaded again, but not sooner than Rest after.
	ErrRemoved = errors.New("picture removed")
	// ErrBlocked: the picture was removed, and may not come back.
	ErrBlocked = errors.New("picture blocked")
	// ErrBusy: others were always first, until the caller's time was up.
	ErrBusy = errors.New("busy")
)

// Gone says that a picture weighs nothing, for one of these reasons.
func Gone(err error) bool {
	return errors.Is(err, ErrNoPicture) || errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked)
}

// Picture is what the photos bucket, the truth, says of a picture.
type Picture struct {
	Label         pet.Label
	ID            pet.ID
	Bytes         int64
	Width, Height int
	Weight        pet.Weight
	UploadedAt    time.Time
	// Seq counts the verdicts on this picture: with the weight it tells one state of the record from the next.
	Seq uint64
}

// Photo is a new picture as it is handed to Add.
type Photo struct {
	ID            pet.ID
	Body          []byte
	Width, Height int
	Weight        pet.Weight
}

// Truth is one label's. It is safe for concurrent use.
type Truth struct {
	label pet.Label
	store blob.Store
	now   func() time.Time
	rnd   *rand.Rand
}

// Open returns the truth of a label in the photos bucket. It makes no call.
func Open(label pet.Label, photos blob.Store, now func() time.Time, rnd *rand.Rand) *Truth {
	return &Truth{label: label, store: photos, now: now, rnd: rnd}
}

func (t *Truth) key(id pet.ID) string { return pet.Key(t.label, id) }

// pause lets others go first, for a random part of a time.
func (t *Truth) pause(ctx context.Context) error {
	if err := parallel.Pause(ctx, t.rnd, retryPause); err != nil {
		return fmt.Errorf("truth of %s: %w: %w", t.label, ErrBusy, err)
	}
	return nil
}

// Object metadata of a photo (FORMAT.md, "Photos").
const (
	metaWeight     = "weight"
	metaWidth      = "width"
	metaHeight     = "height"
	metaUploadedAt = "uploaded-at"
)

// retryPause is the most that a try waits for the next.
const retryPause = 40 * time.Millisecond

// cacheForever goes with bytes whose name is their hash: no copy of them is ever stale.
const cacheForever = "public, max-age=31536000, immutable"

// Create stores the bytes and says whether this call certainly made the object, and what the store's clock was.
func (t *Truth) Create(ctx context.Context, p Photo, at time.Time) (created bool, date time.Time, err error) {
	attr := blob.Attr{
		ContentType: p.ID.Type().MediaType(), CacheControl: cacheForever,
		Meta: map[string]string{
			metaWeight:     strconv.FormatUint(uint64(p.Weight), 10),
			metaWidth:      strconv.Itoa(p.Width),
			metaHeight:     strconv.Itoa(p.Height),
			metaUploadedAt: at.UTC().Format(time.RFC3339),
		},
	}
	for try := 0; ; try++ {
		info, err := t.store.Create(ctx, t.key(p.ID), p.Body, attr)
		switch {
		case err == nil && !info.Date.IsZero():
			return true, info.Date, nil
		case err == nil:
			return true, t.now(), nil
		case errors.Is(err, blob.ErrExists):
			return false, t.now(), nil
		case try == 2 || !errors.Is(err, blob.ErrUnclear) || ctx.Err() != nil:
			return false, time.Time{}, err
		}
		// Perhaps it is there, perhaps another upload of it was under way: the next try tells.
		if err := t.pause(ctx); err != nil {
			return false, time.Time{}, err
		}
	}
}

// HasPhoto says whether a picture's bytes are there.
func (t *Truth) HasPhoto(ctx context.Context, id pet.ID) (bool, error) {
	_, err := t.store.Head(ctx, t.key(id))
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete deletes a picture's bytes.
func (t *Truth) Delete(ctx context.Context, id pet.ID) error { return t.store.Delete(ctx, t.key(id)) }

// Look reads the truth of a picture: its photo, and its verdict beside it. Whoever changes one of them in between looks again.
// ErrNoPicture when there is no such photo, ErrRemoved or ErrBlocked when it was taken away; the picture then weighs nothing.
func (t *Truth) Look(ctx context.Context, id pet.ID) (Picture, error) {
	var head blob.Info
	var errHead error
	var v Verdict
	err := parallel.Each(2, 2, func(i int) (err error) {
		if i == 1 {
			v, _, err = t.Verdict(ctx, id)
			return err
		}
		head, errHead = t.store.Head(ctx, t.key(id))
		if errors.Is(errHead, blob.ErrNotFound) {
			return nil
		}
		return errHead
	})
	if err == nil && errHead != nil && v.State != Removed && v.State != Blocked {
		// A removal deletes the photo behind its verdict: it may have come between the two readings.
		v, _, err = t.Verdict(ctx, id)
	}
	if err == nil {
		err = t.Standing(id, v)
	}
	if err != nil {
		return Picture{Label: t.label, ID: id, Seq: v.seq}, err
	}
	if errHead != nil {
		return Picture{}, fmt.Errorf("%s/%s: %w", t.label, id, ErrNoPicture)
	}
	p, err := pictureOf(t.label, id, head)
	if err != nil {
		return Picture{}, err
	}
	return p.Under(v), nil
}

// Under is the picture as it is by a verdict that may be newer than what was looked at.
func (p Picture) Under(v Verdict) Picture {
	if p.Seq = v.seq; v.State == Live {
		p.Weight = v.Weight
	}
	return p
}

// Weigh is the truth as the index needs it: a picture that is gone weighs nothing.
func (t *Truth) Weigh(ctx context.Context, id pet.ID) (pet.Weight, error) {
	p, err := t.Look(ctx, id)
	if Gone(err) {
		return 0, nil
	}
	return p.Weight, err
}

func pictureOf(label pet.Label, id pet.ID, head blob.Info) (Picture, error) {
	meta := head.Attr.Meta
	weight, err1 := strconv.ParseUint(meta[metaWeight], 10, 24)
	width, err2 := strconv.Atoi(meta[metaWidth])
	height, err3 := strconv.Atoi(meta[metaHeight])
	at, err4 := time.Parse(time.RFC3339, meta[metaUploadedAt])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Picture{}, fmt.Errorf("%s: metadata of the photo: %w: %w", head.Key, box.ErrFormat, err)
	}
	return Picture{
		Label: label, ID: id, Bytes: head.Size, Width: width, Height: height, Weight: pet.Weight(weight), UploadedAt: at,
	}, nil
}
