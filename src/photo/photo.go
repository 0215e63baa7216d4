// Package photo makes of untrusted bytes a picture that is safe to publish: it tells the type by content, holds the limits, decodes
// it whole, and writes the container anew with nothing in it but what the picture needs to look as it does. It knows nothing of
// HTTP, of storage, or of what clients call a file.
//
// # What stays
//
// The coded pixels, bit for bit: nothing is encoded again. What says how to show them: the size, palettes and transparency, colour
// spaces (an ICC profile without its names, serial numbers and private tags), pixel density in a JPEG's JFIF segment, and the
// orientation, in an EXIF block that holds nothing else. All else goes: EXIF with its position and serial numbers, XMP, IPTC, comments,
// texts, thumbnails, second pictures, unknown segments and chunks, unused tables, bytes between and behind. The same pixels with other
// metadata give the same bytes, and publishing those again changes none of them.
//
// # What that does not promise
//
// The pixels may show anything: a street sign, or bits that somebody hid in them; their coding can be chosen so that the file's bytes
// spell a text. What is behind the last coded bit goes or refuses the picture, but for up to three bytes at each partition of a lossy
// WebP, where encoders leave some, and the one byte that a decoder may look at behind lossless data. A profile's lookup tables are
// numbers that nobody checks.
//
// A PNG and a WebP are decoded to pixels, a JPEG to its coefficients, with each of its codes checked: what makes pixels of coefficients is
// arithmetic that nothing can make fail. Go's decoder, which makes pixels, takes several times as long; fuzzing holds the two together.
package photo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"

	"golang.org/x/sync/semaphore"

	"petpick/src/pet"
)

// Limits of a picture.
const (
	// MaxBytes of a file.
	MaxBytes = 50_000_000
	// MaxPixels is width x height. The worst kind found, an interlaced PNG of 16 bits a colour, takes about 17 B a pixel to decode.
	MaxPixels = 50_000_000
	// MaxSide is the longest side, the most that JPEG can express.
	MaxSide = 65_535
	// MaxMetadata is how many bytes of segments or chunks may go. What is behind a picture's end is not read and does not count.
	MaxMetadata = 8 << 20
	// MaxProfile is the bytes of an ICC profile. Screens have one of some kB, presses up to 3 MB.
	MaxProfile = 4 << 20
	// maxParts is how many segments or chunks a file may have. libpng writes chunks of 8 kB: a PNG of MaxBytes has 6,104 of them.
	maxParts = 16_384
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

func truncated(t pet.Type) error {
	return unsound("the %s is truncated: its data ends early", names[t])
}

func corrupt(t pet.Type, what string) error { return unsound("the %s is corrupt: %s", names[t], what) }

func animated(t pet.Type) error {
	return unsound("the %s is animated: only still pictures are accepted", names[t])
}

// Published is a picture as it may be published.
type Published struct {
	Type pet.Type
	// Width and Height are as displayed: swapped against the coded ones when the orientation turns the picture by a quarter.
	Width, Height int
	Body          []byte
}

// outline is what a file's container says before any memory is spent on its pixels.
type outline struct {
	width, height int // as coded
	orientation   int // 1 to 8, as in EXIF
	// rewrite gives the container anew, and has decoded what it gives.
	rewrite func(context.Context) ([]byte, error)
}

// Inspector checks pictures. It decodes at most MaxPixels at a time in all, however many callers there are: a crowd of uploads takes
// turns. What a decoder leaves behind stays in memory until the next collection, which is for the process's memory limit to
// hasten (GOMEMLIMIT).
type Inspector struct{ pixels *semaphore.Weighted }

// NewInspector returns an Inspector.
func NewInspector() *Inspector { return &Inspector{semaphore.NewWeighted(MaxPixels)} }

// Publish gives what may be published of data. It decodes the whole of what it gives. The error is a *Refusal, or the context's when
// it ended before that. data is not changed, and nothing of it is kept.
func (in *Inspector) Publish(ctx context.Context, data []byte) (Published, error) {
	t, err := sniff(data)
	if err != nil {
		return Published{}, err
	}
	if len(data) > MaxBytes {
		return Published{}, unsound("the file has %d bytes; the limit is %d (%d MB)", len(data), MaxBytes, MaxBytes/1_000_000)
	}
	o, err := guard(t, func() (outline, error) { return parsers[t](data) })
	if err != nil {
		return Published{}, err
	}
	if err := o.limits(); err != nil {
		return Published{}, err
	}
	pixels := int64(o.width) * int64(o.height)
	if err := in.pixels.Acquire(ctx, pixels); err != nil {
		return Published{}, fmt.Errorf("waiting to decode %d pixels: %w", pixels, err)
	}
	defer in.pixels.Release(pixels)
	body, err := guard(t, func() ([]byte, error) { return o.rewrite(ctx) })
	if ctx.Err() != nil {
		return Published{}, fmt.Errorf("decoding %d pixels: %w", pixels, ctx.Err())
	}
	if err != nil {
		return Published{}, err
	}
	w, h := o.width, o.height
	if o.orientation >= 5 {
		w, h = h, w
	}
	return Published{Type: t, Width: w, Height: h, Body: body}, nil
}

func (o *outline) limits() error {
	if o.width < 1 || o.height < 1 {
		return unsound("the picture has no pixels: it claims %d x %d", o.width, o.height)
	}
	if o.width > MaxSide || o.height > MaxSide || int64(o.width)*int64(o.height) > MaxPixels {
		return unsound("the picture is %d x %d pixels; the limits are %d million pixels and %d on a side",
			o.width, o.height, MaxPixels/1_000_000, MaxSide)
	}
	return nil
}

// decodes has a decoder read the whole of r, and holds what it finds to the outline.
func (o *outline) decodes(t pet.Type, decode func(io.Reader) (image.Image, error), r io.Reader) error {
	img, err := decode(r)
	if err != nil {
		return undecodable(t, err)
	}
	if got := img.Bounds(); got.Dx() != o.width || got.Dy() != o.height {
		return corrupt(t, fmt.Sprintf("its header says %d x %d, its data %d x %d", o.width, o.height, got.Dx(), got.Dy()))
	}
	return nil
}

// feed lets a decoder read only while somebody waits for it, and the bytes from last on only when it asks for them by a further read:
// what it does not ask for is not the picture's. A decoder that reads byte by byte is known to have looked at those before at.
type feed struct {
	ctx      context.Context
	data     []byte
	at, last int
}

func (f *feed) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	end := len(f.data)
	if f.at < f.last {
		end = f.last
	}
	n := copy(b, f.data[f.at:end])
	f.at += n
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *feed) ReadByte() (byte, error) {
	if f.at == len(f.data) {
		return 0, io.EOF
	}
	if f.at%4096 == 0 && f.ctx.Err() != nil {
		return 0, f.ctx.Err()
	}
	f.at++
	return f.data[f.at-1], nil
}

var names = map[pet.Type]string{pet.JPEG: "JPEG", pet.PNG: "PNG", pet.WebP: "WebP"}

var parsers = map[pet.Type]func([]byte) (outline, error){pet.JPEG: parseJPEG, pet.PNG: parsePNG, pet.WebP: parseWebP}

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

// parts counts what a container is made of, so that endless little things end.
type parts struct {
	t               pet.Type
	number, dropped int
}

func (p *parts) count() error {
	if p.number++; p.number > maxParts {
		return unsound("the %s has more than %d segments or chunks", names[p.t], maxParts)
	}
	return nil
}

func (p *parts) drop(n int) error {
	if p.dropped += n; p.dropped > MaxMetadata {
		return unsound("the %s has more than %d bytes (%d MiB) of metadata", names[p.t], MaxMetadata, MaxMetadata>>20)
	}
	return nil
}

// guard turns a panic into a refusal: the bytes come from strangers.
func guard[T any](t pet.Type, do func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = unsound("the %s is corrupt or of a variant that cannot be checked: %v", names[t], p)
		}
	}()
	return do()
}

func undecodable(t pet.Type, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return truncated(t)
	}
	return unsound("the %s is corrupt or of a variant that cannot be checked: %v", names[t], err)
}
