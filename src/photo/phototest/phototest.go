// Package phototest has pictures for tests: a few made by other encoders (libjpeg, libpng and libwebp through ImageMagick,
// cjpeg and cwebp; dirty.* by exiftool, which has the word SECRET in whatever it wrote), as many others as a test wants, and the dirt
// to put into them.
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

// Sound are the names of the files that are fit to publish: the JPEGs and WebPs of 40 x 30 pixels, the PNGs of 20 x 15.
func Sound() []string { return append(Clean(), Dirty()...) }

// Clean are those that nothing can be taken from.
func Clean() []string {
	return []string{
		"baseline.jpg", "progressive.jpg", "progressive-grey.jpg", "cmyk.jpg", "grey.jpg", "restart.jpg", "separate.jpg",
		"bilevel.png", "grey4.png", "rgba.png", "lossy.webp", "lossless.webp", "lossless-alpha.webp", "alpha.webp",
		"alpha-raw.webp", "partitions.webp",
	}
}

// Unknown are clean, too, but Go's decoder does not know what they are: colours sampled 3x1, and a progressive picture with restart
// markers.
func Unknown() []string { return []string{"progressive-restart.jpg", "three.jpg", "cmyk-420.jpg"} }

// Dirty are those with metadata, and Turned those of them that are shown turned to the right by a quarter.
func Dirty() []string { return append(Turned(), "interlaced.png", "deep.png", "palette.png") }

// Turned is said at Dirty.
func Turned() []string {
	return []string{"exif.jpg", "extended.webp", "dirty.jpg", "dirty.png", "dirty.webp"}
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
