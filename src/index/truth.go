package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"petpick/src/blob"
	"petpick/src/box"
	"petpick/src/parallel"
	"petpick/src/pet"
)

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

// createPhoto stores the bytes and says whether this call certainly made the object, and what the store's clock was.
func (x *Index) createPhoto(ctx context.Context, p Photo, at time.Time) (created bool, date time.Time, err error) {
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
		info, err := x.photos.Create(ctx, pet.Key(x.label, p.ID), p.Body, attr)
		switch {
		case err == nil && !info.Date.IsZero():
			return true, info.Date, nil
		case err == nil:
			return true, x.now(), nil
		case errors.Is(err, blob.ErrExists):
			return false, x.now(), nil
		case try == 2 || !errors.Is(err, blob.ErrUnclear) || ctx.Err() != nil:
			return false, time.Time{}, err
		}
		// Perhaps it is there, perhaps another upload of it was under way: the next try tells.
		if err := x.pause(ctx, retryPause); err != nil {
			return false, time.Time{}, err
		}
	}
}

// Look reads the truth of a picture: its photo, and its verdict beside it. Whoever changes one of them in between looks again. ErrNoPicture when there is no such photo, ErrRemoved or ErrBlocked
// when it was taken away; the picture then weighs nothing.
func (x *Index) Look(ctx context.Context, id pet.ID) (Picture, error) {
	var head blob.Info
	var errHead error
	var v verdict
	err := parallel.Each(2, 2, func(i int) (err error) {
		if i == 1 {
			v, _, err = x.verdict(ctx, id)
			return err
		}
		head, errHead = x.photos.Head(ctx, pet.Key(x.label, id))
		if errors.Is(errHead, blob.ErrNotFound) {
			return nil
		}
		return errHead
	})
	if err == nil {
		err = x.standing(id, v)
	}
	if err != nil {
		return Picture{Label: x.label, ID: id, Seq: v.seq}, err
	}
	if errHead != nil {
		return Picture{}, fmt.Errorf("%s/%s: %w", x.label, id, ErrNoPicture)
	}
	p, err := pictureOf(x.label, id, head)
	if err != nil {
		return Picture{}, err
	}
	if v.state == live {
		p.Weight, p.Seq = v.weight, v.seq
	}
	return p, nil
}

// standing is the error that a verdict stands for, if any.
func (x *Index) standing(id pet.ID, v verdict) error {
	switch v.state {
	case removed:
		return fmt.Errorf("%s/%s: %w", x.label, id, ErrRemoved)
	case blocked:
		return fmt.Errorf("%s/%s: %w", x.label, id, ErrBlocked)
	}
	return nil
}

// weigh is the truth as the index needs it: a picture that is gone weighs nothing.
func (x *Index) weigh(ctx context.Context, id pet.ID) (pet.Weight, error) {
	p, err := x.Look(ctx, id)
	if gone(err) {
		return 0, nil
	}
	return p.Weight, err
}

func gone(err error) bool {
	return errors.Is(err, ErrNoPicture) || errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked)
}

func pictureOf(label pet.Label, id pet.ID, head blob.Info) (Picture, error) {
	meta := head.Attr.Meta
	weight, err1 := strconv.ParseUint(meta[metaWeight], 10, 24)
	width, err2 := strconv.Atoi(meta[metaWidth])
	height, err3 := strconv.Atoi(meta[metaHeight])
	at, err4 := time.Parse(time.RFC3339, meta[metaUploadedAt])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Picture{}, fmt.Errorf("%s: metadata of the photo: %w: %w", head.Key, ErrFormat, err)
	}
	return Picture{
		Label: label, ID: id, Bytes: head.Size, Width: width, Height: height, Weight: pet.Weight(weight), UploadedAt: at,
	}, nil
}

// verdict is a decision about a picture after its upload (FORMAT.md, "Verdicts"). The zero value stands for "none".
type verdict struct {
	state  state
	seq    uint64
	weight pet.Weight // when live
	when   time.Time  // of a removal
	nonce  uint64     // makes every verdict's bytes, and so its ETag, its own
}

type state byte

const (
	undecided state = iota
	live
	removed
	blocked
)

const verdictSize = 40

var verdictBox = box.Kind{Magic: "PPVD", Version: 2}

func (v verdict) encode() []byte {
	b := append(verdictBox.Begin(verdictSize), byte(v.state), 0)
	b = le.AppendUint64(b, v.seq)
	b = le.AppendUint64(b, v.nonce)
	b = le.AppendUint32(b, uint32(v.weight))
	var when uint64
	if v.state != live {
		when = uint64(v.when.UnixMilli())
	}
	return box.Seal(le.AppendUint64(b, when))
}

func decodeVerdict(b []byte) (verdict, error) {
	if err := verdictBox.Unseal(b, verdictSize); err != nil {
		return verdict{}, fmt.Errorf("verdict: %w", err)
	}
	v := verdict{state: state(b[6]), seq: le.Uint64(b[8:]), nonce: le.Uint64(b[16:]), weight: pet.Weight(le.Uint32(b[24:]))}
	when := le.Uint64(b[28:])
	if v.state != live {
		v.when = time.UnixMilli(int64(when))
	}
	if len(b) != verdictSize || v.state < live || v.state > blocked || v.seq == 0 || v.weight > pet.MaxWeight || (v.state == live) != (when == 0) {
		return verdict{}, fmt.Errorf("verdict: %w: %d bytes, state %d, sequence %d, weight %d", ErrFormat, len(b), v.state, v.seq, v.weight)
	}
	return v, nil
}

func verdictKey(l pet.Label, id pet.ID) string { return "verdicts/" + string(l) + "/" + id.String() }

func (x *Index) verdict(ctx context.Context, id pet.ID) (verdict, string, error) {
	return x.verdictAs(ctx, x.label, id)
}

func (x *Index) verdictAs(ctx context.Context, l pet.Label, id pet.ID) (verdict, string, error) {
	o, err := x.photos.Get(ctx, verdictKey(l, id), "")
	if errors.Is(err, blob.ErrNotFound) {
		return verdict{}, "", nil
	}
	if err != nil {
		return verdict{}, "", err
	}
	v, err := decodeVerdict(o.Body)
	if err != nil {
		return verdict{}, "", fmt.Errorf("%s: %w", o.Key, err)
	}
	return v, o.ETag, nil
}

// decide moves the verdict by compare-and-swap to what next makes of the present one; an error of next ends it. After an unclear
// outcome it reads again: the verdict may be its own.
func (x *Index) decide(ctx context.Context, id pet.ID, next func(verdict) (verdict, error)) error {
	ctx, cancel := context.WithTimeout(ctx, waitBudget)
	defer cancel()
	mine := uint64(0)
	for {
		old, etag, err := x.verdict(ctx, id)
		if err != nil || mine != 0 && old.nonce == mine {
			return err
		}
		v, err := next(old)
		if err != nil {
			return err
		}
		v.seq, v.nonce = old.seq+1, x.rnd.Uint64()
		mine = v.nonce
		if _, err = blob.Put(ctx, x.photos, verdictKey(x.label, id), etag, v.encode()); err == nil || !blob.Lost(err) || ctx.Err() != nil {
			return err
		}
		if err := x.pause(ctx, retryPause); err != nil {
			return err
		}
	}
}
