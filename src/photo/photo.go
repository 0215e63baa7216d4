// Package photo says whether bytes are a picture that can be published: its type by content, its limits, and that it decodes to
// the end. It knows nothing of HTTP, of storage, or of what clients call a file.
package photo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/webp"
	"golang.org/x/sync/semaphore"

	"petpick/src/pet"
)

// Limits of a picture.
const (
	// MaxPixels is width x height. The worst kind found so far, a progressive CMYK JPEG, takes about 24 B a pixel to decode.
	MaxPixels = 50_000_000
	// MaxSide is the longest side, the most that JPEG can express.
	MaxSide = 65_535
	// maxScans of a JPEG. Encoders write about ten; each costs a walk over all pixels, however few bytes it has, so that a small
	// file of thousands would take an hour.
	maxScans = 32
)

// Kinds of refusal, for errors.Is.
var (
	// ErrType: not a JPEG, PNG or WebP.
	ErrType = errors.New("not a JPEG, PNG or WebP picture")
	// ErrUnsound: of a type that is served, but truncated, corrupt, animated, over a limit, or a variant that cannot be checked.
	ErrUnsound = errors.New("picture cannot be accepted")
)

// Refusal is why a picture is not accepted; Detail is fit for the person who sent it.
type Refusal struct {
	Kind   error
	Detail string
}

func (r *Refusal) Error() string { return r.Detail }

// Unwrap makes errors.Is(err, ErrType) and ErrUnsound work.
func (r *Refusal) Unwrap() error { return r.Kind }

func unsound(format string, args ...any) error {
	return &Refusal{ErrUnsound, fmt.Sprintf(format, args...)}
}

// Info is what a sound picture is.
type Info struct {
	Type          pet.Type
	Width, Height int
}

// Inspector checks pictures. It decodes at most MaxPixels at a time in all, however many callers there are: a crowd of uploads takes
// turns. What a decoder leaves behind stays in memory until the next collection, which is for the process's memory limit to
// hasten (GOMEMLIMIT).
type Inspector struct{ pixels *semaphore.Weighted }

// NewInspector returns an Inspector.
func NewInspector() *Inspector { return &Inspector{semaphore.NewWeighted(MaxPixels)} }

// Inspect decodes the whole picture. The error is a *Refusal, or the context's when it ended before that.
func (in *Inspector) Inspect(ctx context.Context, data []byte) (Info, error) {
	t, err := sniff(data)
	if err != nil {
		return Info{}, err
	}
	if err := frames(t, data); err != nil {
		return Info{}, err
	}
	cfg, err := guard(func() (image.Config, error) { return codecs[t].config(bytes.NewReader(data)) })
	if err != nil {
		return Info{}, undecodable(t, err)
	}
	if cfg.Width < 1 || cfg.Height < 1 {
		return Info{}, unsound("the picture has no pixels: it claims %d x %d", cfg.Width, cfg.Height)
	}
	// Before any memory is spent on them.
	if pixels := int64(cfg.Width) * int64(cfg.Height); cfg.Width > MaxSide || cfg.Height > MaxSide || pixels > MaxPixels {
		return Info{}, unsound("the picture is %d x %d pixels; the limits are %d million pixels and %d on a side",
			cfg.Width, cfg.Height, MaxPixels/1_000_000, MaxSide)
	}
	if w, h, ok := webpFrame(t, data); ok && (w != cfg.Width || h != cfg.Height) {
		return Info{}, unsound("the WebP is corrupt: its header says %d x %d, its frame %d x %d", cfg.Width, cfg.Height, w, h)
	}
	pixels := int64(cfg.Width) * int64(cfg.Height)
	if err := in.pixels.Acquire(ctx, pixels); err != nil {
		return Info{}, fmt.Errorf("waiting to decode %d pixels: %w", pixels, err)
	}
	defer in.pixels.Release(pixels)
	img, err := guard(func() (image.Image, error) { return codecs[t].decode(&patient{ctx, bytes.NewReader(data)}) })
	if ctx.Err() != nil {
		return Info{}, fmt.Errorf("decoding %d pixels: %w", pixels, ctx.Err())
	}
	if err != nil {
		return Info{}, undecodable(t, err)
	}
	if got := img.Bounds(); got.Dx() != cfg.Width || got.Dy() != cfg.Height {
		return Info{}, unsound("the %s is corrupt: its header says %d x %d, its data %d x %d", names[t], cfg.Width, cfg.Height, got.Dx(), got.Dy())
	}
	return Info{Type: t, Width: cfg.Width, Height: cfg.Height}, nil
}

// patient lets a decoder read only while somebody waits for it.
type patient struct {
	ctx context.Context
	r   io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

var names = map[pet.Type]string{pet.JPEG: "JPEG", pet.PNG: "PNG", pet.WebP: "WebP"}

var codecs = map[pet.Type]struct {
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}{
	pet.JPEG: {jpeg.DecodeConfig, jpeg.Decode},
	pet.PNG:  {png.DecodeConfig, png.Decode},
	pet.WebP: {webp.DecodeConfig, webp.Decode},
}

// sniff tells the type by the first bytes; the client's word for it counts nothing.
func sniff(data []byte) (pet.Type, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xFF\xD8\xFF")):
		return pet.JPEG, nil
	case bytes.HasPrefix(data, []byte(pngSignature)):
		return pet.PNG, nil
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return pet.WebP, nil
	}
	return 0, &Refusal{ErrType, "the file is not a JPEG, PNG or WebP picture: its content decides, not its name"}
}

const pngSignature = "\x89PNG\r\n\x1a\n"

// frames refuses animations, a JPEG of too many scans, and a WebP whose container ends early, which its decoder may not notice.
func frames(t pet.Type, data []byte) error {
	switch t {
	case pet.JPEG:
		// In coded data FF is followed by 00 or by a restart marker: FF DA is a start of scan there, and elsewhere at most a chance
		// pair inside a segment, which is skipped by its length.
		scans := 0
		for at := 2; at+4 <= len(data); {
			next := bytes.IndexByte(data[at:], 0xFF)
			if next < 0 || at+next+4 > len(data) {
				return nil
			}
			at += next
			switch marker := data[at+1]; {
			case marker == 0xFF: // padding
				at++
				continue
			case marker == 0x00 || marker == 0x01 || marker >= 0xD0 && marker <= 0xD8: // no length follows
				at += 2
				continue
			case marker == 0xD9: // the end
				return nil
			case marker == 0xDA:
				if scans++; scans > maxScans {
					return unsound("the JPEG has more than %d scans", maxScans)
				}
			}
			at += 2 + int(binary.BigEndian.Uint16(data[at+2:]))
		}
	case pet.PNG:
		for at := len(pngSignature); at+8 <= len(data); {
			n := int64(binary.BigEndian.Uint32(data[at:]))
			switch string(data[at+4 : at+8]) {
			case "acTL": // the animation control chunk of APNG comes before the image data
				return unsound("the PNG is animated: only still pictures are accepted")
			case "IDAT":
				return nil
			}
			next := int64(at) + 12 + n
			if next > int64(len(data)) {
				return nil // the decoder says how it is truncated
			}
			at = int(next)
		}
	case pet.WebP:
		if size := int64(binary.LittleEndian.Uint32(data[4:])) + 8; size > int64(len(data)) {
			return unsound("the WebP is truncated: %d of %d bytes are there", len(data), size)
		}
		const animation = 0x02 // in the flags of VP8X
		if len(data) > 20 && string(data[12:16]) == "VP8X" && data[20]&animation != 0 {
			return unsound("the WebP is animated: only still pictures are accepted")
		}
	}
	return nil
}

// webpFrame reads the size that a WebP's first frame claims for itself. The extended header, which is all that DecodeConfig reads,
// can claim less: memory would then be spent on pixels that no limit was held against.
func webpFrame(t pet.Type, data []byte) (w, h int, ok bool) {
	if t != pet.WebP {
		return 0, 0, false
	}
	for at := int64(12); at+18 <= int64(len(data)); {
		chunk := data[at:]
		switch string(chunk[:4]) {
		case "VP8 ": // a tag of 3 bytes, a start code of 3, then 14 bits each
			return int(binary.LittleEndian.Uint16(chunk[14:])) & 0x3FFF, int(binary.LittleEndian.Uint16(chunk[16:])) & 0x3FFF, true
		case "VP8L": // a signature byte, then 14 bits each, less one
			bits := binary.LittleEndian.Uint32(chunk[9:])
			return int(bits&0x3FFF) + 1, int(bits>>14&0x3FFF) + 1, true
		}
		n := int64(binary.LittleEndian.Uint32(chunk[4:]))
		at += 8 + n + n&1
	}
	return 0, 0, false
}

// guard turns a panic of a decoder into an error: the bytes come from strangers.
func guard[T any](decode func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder panicked: %v", p)
		}
	}()
	return decode()
}

func undecodable(t pet.Type, err error) error {
	// image/jpeg's own word for an end in the middle of the coded data.
	const shortJPEG = jpeg.FormatError("short Huffman data")
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, shortJPEG) {
		return unsound("the %s is truncated: its data ends early", names[t])
	}
	return unsound("the %s is corrupt or of a variant that cannot be checked: %v", names[t], err)
}
