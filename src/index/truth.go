package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"petpick/src/blob"
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

// cacheForever goes with bytes whose name is their hash: no copy of them is ever stale.
const cacheForever = "public, max-age=31536000, immutable"

// createPhoto stores the bytes and says whether this call certainly made the object.
func (x *Index) createPhoto(ctx context.Context, p Photo) (bool, error) {
	_, err := x.photos.Create(ctx, pet.Key(x.label, p.ID), p.Body, blob.Attr{
		ContentType: p.ID.Type().MediaType(), CacheControl: cacheForever,
		Meta: map[string]string{
			metaWeight:     strconv.FormatUint(uint64(p.Weight), 10),
			metaWidth:      strconv.Itoa(p.Width),
			metaHeight:     strconv.Itoa(p.Height),
			metaUploadedAt: x.now().UTC().Format(time.RFC3339),
		},
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, blob.ErrExists):
		return false, nil
	}
	return false, err
}

// Look reads the truth of a picture: its photo, then its verdict. ErrNoPicture when there is no such photo.
func (x *Index) Look(ctx context.Context, id pet.ID) (Picture, error) {
	head, err := x.photos.Head(ctx, pet.Key(x.label, id))
	if errors.Is(err, blob.ErrNotFound) {
		return Picture{}, fmt.Errorf("%s/%s: %w", x.label, id, ErrNoPicture)
	}
	if err != nil {
		return Picture{}, err
	}
	p, err := pictureOf(x.label, id, head)
	if err != nil {
		return Picture{}, err
	}
	v, _, err := x.verdict(ctx, id)
	if err != nil {
		return Picture{}, err
	}
	if v.seq > 0 {
		p.Weight, p.Seq = v.weight, v.seq
	}
	return p, nil
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
	seq    uint64
	weight pet.Weight
}

const (
	verdictMagic = "PPVD"
	verdictSize  = 36
	verdictLive  = 1
)

func (v verdict) encode(nonce uint64) []byte {
	b := make([]byte, 0, verdictSize)
	b = append(b, verdictMagic...)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = append(b, verdictLive, 0)
	b = binary.LittleEndian.AppendUint64(b, v.seq)
	b = binary.LittleEndian.AppendUint64(b, nonce)
	b = binary.LittleEndian.AppendUint32(b, uint32(v.weight))
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeVerdict(b []byte) (verdict, error) {
	if err := checkBox(b, verdictMagic, verdictSize); err != nil {
		return verdict{}, fmt.Errorf("verdict: %w", err)
	}
	v := verdict{seq: binary.LittleEndian.Uint64(b[8:]), weight: pet.Weight(binary.LittleEndian.Uint32(b[24:]))}
	if len(b) != verdictSize || b[6] != verdictLive || v.seq == 0 || v.weight > pet.MaxWeight {
		return verdict{}, fmt.Errorf("verdict: %w: %d bytes, state %d, sequence %d, weight %d", ErrFormat, len(b), b[6], v.seq, v.weight)
	}
	return v, nil
}

func (x *Index) verdictKey(id pet.ID) string {
	return "verdicts/" + string(x.label) + "/" + id.String()
}

func (x *Index) verdict(ctx context.Context, id pet.ID) (verdict, string, error) {
	o, err := x.photos.Get(ctx, x.verdictKey(id), "")
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

// decide moves the verdict to weight by compare-and-swap. After an unclear outcome it reads again: the verdict may be its own.
func (x *Index) decide(ctx context.Context, id pet.ID, weight pet.Weight) error {
	ctx, cancel := context.WithTimeout(ctx, foldBudget)
	defer cancel()
	for {
		old, etag, err := x.verdict(ctx, id)
		if err != nil {
			return err
		}
		// The nonce keeps two verdicts with equal fields from sharing an ETag.
		body := verdict{seq: old.seq + 1, weight: weight}.encode(x.nonce())
		if etag == "" {
			_, err = x.photos.Create(ctx, x.verdictKey(id), body, blob.Attr{Once: true})
		} else {
			_, err = x.photos.Swap(ctx, x.verdictKey(id), etag, body, blob.Attr{Once: true})
		}
		if err == nil {
			return nil
		}
		lost := errors.Is(err, blob.ErrExists) || errors.Is(err, blob.ErrChanged) || errors.Is(err, blob.ErrUnclear)
		if !lost || ctx.Err() != nil {
			return err
		}
		if err := x.pause(ctx); err != nil {
			return err
		}
	}
}
