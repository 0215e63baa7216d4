// Package phototest has pictures for tests: a few made by other encoders (libjpeg, libpng and libwebp through ImageMagick and
// cwebp), and as many others as a test wants.
package phototest

import (
	"bytes"
	"embed"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
)

//go:embed files
var files embed.FS

// File returns one of the files by its name.
func File(name string) []byte {
	b, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(err) // a wrong name in a test
	}
	return b
}

// Sound are the names of the files that are fit to publish.
func Sound() []string {
	return []string{
		"baseline.jpg", "progressive.jpg", "cmyk.jpg", "grey.jpg", "exif.jpg",
		"interlaced.png", "deep.png", "palette.png", "lossy.webp", "lossless.webp", "alpha.webp", "extended.webp",
	}
}

func noise(seed uint64, w, h int) image.Image {
	rnd := rand.New(rand.NewPCG(seed, 1))
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			v := rnd.Uint32()
			img.SetRGBA(x, y, color.RGBA{byte(v), byte(v >> 8), byte(v >> 16), 255})
		}
	}
	return img
}

// JPEG makes a picture of noise, another for each seed.
func JPEG(seed uint64, w, h int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, noise(seed, w, h), nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// PNG makes a picture of noise, another for each seed: about 3 bytes a pixel.
func PNG(seed uint64, w, h int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, noise(seed, w, h)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// PNGClaiming makes a short PNG whose header claims w x h pixels.
func PNGClaiming(w, h uint32) []byte {
	b := PNG(1, 1, 1)
	ihdr := b[12:29] // type and data of the first chunk
	binary.BigEndian.PutUint32(ihdr[4:], w)
	binary.BigEndian.PutUint32(ihdr[8:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(ihdr))
	return b
}
