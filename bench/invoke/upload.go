package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"petpick/src/access"
	"petpick/src/gateway"
)

// kinds of uploads, and how they are encoded.
var kinds = []struct {
	ext    string
	encode func(dir string, img image.Image) ([]byte, error)
}{
	{"jpg", func(_ string, img image.Image) ([]byte, error) {
		var b bytes.Buffer
		err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 85})
		return b.Bytes(), err
	}},
	{"png", encodePNG},
	{"webp", encodeWebP},
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
		w = int(float64(w) * math.Sqrt(float64(size)/float64(len(b))))
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
func (b *bench) upload(ctx context.Context) (all []Work, err error) {
	for i, k := range kinds {
		for _, size := range []int{1_000_000, 4_000_000} {
			pictures, err := sized(b.dir, size, b.cfg.uploads+1, uint64(i*100_000+size), k.encode)
			if err != nil {
				return nil, err
			}
			w, err := b.uploadKind(ctx, k.ext, pictures)
			if err != nil {
				return nil, fmt.Errorf("%d bytes of %s: %w", size, k.ext, err)
			}
			all = append(all, w)
		}
	}
	return all, nil
}

func (b *bench) uploadKind(ctx context.Context, ext string, pictures [][]byte) (w Work, err error) {
	l, err := b.start(ctx, "upload", "UploadFunction")
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := send(ctx, l, pictures[0]); err != nil { // connections, and the index for the first time
		return w, err
	}
	rest := pictures[1:]
	return b.measure(l, ext, len(rest[0]), "UploadFunction", len(rest), func(i int) (time.Duration, error) { return send(ctx, l, rest[i]) })
}

func send(ctx context.Context, l *rig.Lambda, picture []byte) (time.Duration, error) {
	answer, took, err := l.Invoke(ctx, gateway.APIEvent(gateway.Request{
		Method: http.MethodPost, Host: "abc.execute-api.us-east-1.amazonaws.com", IP: "203.0.113.9", Path: "/upload", RawPath: "/upload", Query: "label=dog",
		Header: http.Header{"Authorization": {"Bearer " + access.DevToken}, "Content-Type": {"application/octet-stream"}}, Body: picture,
		Trace: gateway.Trace{RequestID: "00000000", Route: "POST /upload"},
	}))
	if err != nil {
		return 0, err
	}
	var r struct {
		StatusCode int    `json:"statusCode"`
		Body       string `json:"body"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return 0, err
	}
	if r.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("status %d: %s", r.StatusCode, r.Body)
	}
	return took, nil
}
