package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"petpick/bench/rig"
	"petpick/src/gateway"
)

// upload is one kind of them.
type upload struct {
	ext    string
	size   int
	encode func(dir string, img image.Image) ([]byte, error)
}

var uploads = []upload{
	{"jpg", 100_000, encodeJPEG}, {"jpg", 1_000_000, encodeJPEG}, {"jpg", 4_000_000, encodeJPEG},
	{"png", 1_000_000, encodePNG}, {"png", 4_000_000, encodePNG}, {"webp", 1_000_000, encodeWebP}, {"webp", 4_000_000, encodeWebP},
}

func encodeJPEG(_ string, img image.Image) ([]byte, error) {
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 85})
	return b.Bytes(), err
}

func encodePNG(_ string, img image.Image) ([]byte, error) {
	var b bytes.Buffer
	err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, img)
	return b.Bytes(), err
}

func encodeWebP(dir string, img image.Image) ([]byte, error) {
	lossless, err := encodePNG(dir, img)
	if err != nil {
		return nil, err
	}
	source := filepath.Join(dir, "source.png")
	if err := os.WriteFile(source, lossless, 0o600); err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd := exec.Command("cwebp", "-quiet", "-m", "0", "-q", "90", source, "-o", "-")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cwebp: %w: apt-get install webp\n%s", err, stderr.String())
	}
	return out, nil
}

// photograph is like one to an encoder: soft shapes, with the noise of a camera.
func photograph(seed uint64, w, h int) image.Image {
	rnd := rand.New(rand.NewPCG(seed, 2))
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		sy := 60 * math.Sin(4*math.Pi*float64(y)/float64(h))
		for x := range w {
			v := 128 + sy + 50*math.Sin(5*math.Pi*float64(x)/float64(w))
			n := rnd.Uint64()
			grain := func(shift uint) uint8 { return uint8(v + float64(n>>shift&15) - 7.5) }
			img.SetRGBA(x, y, color.RGBA{grain(0), grain(8), grain(16), 255})
		}
	}
	return img
}

// sized makes n pictures of about as many bytes: 4 by 3, as large as their encoding makes of that.
func sized(dir string, size, n int, seed uint64, encode func(string, image.Image) ([]byte, error)) ([][]byte, error) {
	w := 1000
	for range 8 { // what a pixel takes depends a little on their number
		b, err := encode(dir, photograph(seed, w, w*3/4))
		if err != nil {
			return nil, err
		}
		if math.Abs(float64(len(b))-float64(size)) < 0.05*float64(size) {
			break
		}
		w = int(float64(w) * math.Pow(float64(size)/float64(len(b)), 0.4))
	}
	out := make([][]byte, n)
	for i := range out {
		var err error
		if out[i], err = encode(dir, photograph(seed+uint64(i), w, w*3/4)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// upload measures each kind in an environment of its own, so that the peak is its own too.
func (b *bench) upload(ctx context.Context, all []Work, what []upload) ([]Work, error) {
	for _, u := range what {
		pictures, err := sized(b.dir, u.size, b.cfg.uploads+1, uint64(len(all)*100_000_000+u.size), u.encode)
		if err != nil {
			return nil, err
		}
		w, err := b.uploadKind(ctx, u.ext, pictures)
		if err != nil {
			return nil, fmt.Errorf("%d bytes of %s: %w", u.size, u.ext, err)
		}
		all = append(all, w)
	}
	return all, nil
}

func (b *bench) uploadKind(ctx context.Context, ext string, pictures [][]byte) (w Work, err error) {
	l, err := b.start(ctx, "upload", "UploadFunction")
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := b.send(ctx, l, pictures[0]); err != nil { // connections, and the index for the first time
		return w, err
	}
	rest := pictures[1:]
	return b.measure(l, ext, len(rest[0]), "UploadFunction", len(rest), func(i int) (time.Duration, error) { return b.send(ctx, l, rest[i]) })
}

func (b *bench) send(ctx context.Context, l *rig.Lambda, picture []byte) (time.Duration, error) {
	a, took, err := invoke(ctx, l, gateway.APIEvent(gateway.Request{
		Method: http.MethodPost, Host: "abc.execute-api.us-east-1.amazonaws.com", IP: "203.0.113.9", Path: "/upload", RawPath: "/upload", Query: "label=dog",
		Header: http.Header{"Authorization": {"Bearer " + b.token}, "Content-Type": {"application/octet-stream"}}, Body: picture,
		Trace: gateway.Trace{RequestID: "00000000", Route: "POST /upload"},
	}))
	if err == nil && a.StatusCode != http.StatusCreated {
		err = fmt.Errorf("status %d: %s", a.StatusCode, a.Body)
	}
	return took, err
}
