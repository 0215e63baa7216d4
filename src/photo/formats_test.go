package photo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"petpick/src/photo"
)

var tools = flag.Bool("tools", false, "also test files of Debian's encoders, with Debian's decoders and readers of metadata")

// profiles of Debian's icc-profiles-free.
const profiles = "/usr/share/color/icc/"

func tool(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			out = append(out, failed.Stderr...)
		}
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// encoders make NAME from the sources, which are in the folder: rgb.ppm, alpha.png, grey.pgm of 61 x 45 pixels.
var encoders = map[string]string{
	"q50.jpg":                 "cjpeg -quality 50 rgb.ppm",
	"q100.jpg":                "cjpeg -quality 100 rgb.ppm",
	"optimized.jpg":           "cjpeg -optimize rgb.ppm",
	"progressive.jpg":         "cjpeg -progressive rgb.ppm",
	"progressive-444.jpg":     "cjpeg -progressive -quality 97 -sample 1x1 rgb.ppm",
	"grey.jpg":                "cjpeg -grayscale rgb.ppm",
	"grey-progressive.jpg":    "cjpeg -grayscale -progressive rgb.ppm",
	"444.jpg":                 "cjpeg -sample 1x1 rgb.ppm",
	"422.jpg":                 "cjpeg -sample 2x1 rgb.ppm",
	"440.jpg":                 "cjpeg -sample 1x2 rgb.ppm",
	"411.jpg":                 "cjpeg -sample 4x1 rgb.ppm",
	"410.jpg":                 "cjpeg -sample 4x2 rgb.ppm",
	"31.jpg":                  "cjpeg -sample 3x1 rgb.ppm",
	"rgb.jpg":                 "cjpeg -rgb rgb.ppm",
	"restart-rows.jpg":        "cjpeg -restart 1 rgb.ppm",
	"restart-mcus.jpg":        "cjpeg -restart 1B -sample 1x1 rgb.ppm",
	"restart-3.jpg":           "cjpeg -restart 3B rgb.ppm",
	"restart-grey.jpg":        "cjpeg -restart 5B -progressive -grayscale rgb.ppm",
	"restart-progressive.jpg": "cjpeg -progressive -restart 1 rgb.ppm",
	"restart-every.jpg":       "cjpeg -progressive -restart 1B rgb.ppm",
	"sixteen-bit-tables.jpg":  "cjpeg -quality 1 rgb.ppm",
	"one-pixel.jpg":           "cjpeg one.ppm",
	"cmyk.jpg":                "convert rgb.ppm -colorspace CMYK -sampling-factor 1x1 jpg:-",
	"cmyk-progressive.jpg":    "convert rgb.ppm -colorspace CMYK -sampling-factor 1x1 -interlace JPEG jpg:-",
	"cmyk-420.jpg":            "convert rgb.ppm -colorspace CMYK -sampling-factor 2x2 jpg:-",
	"imagemagick.jpg":         "convert rgb.ppm -comment SECRET jpg:-",

	"grey1.png":         "convert grey.pgm -threshold 50% -define png:color-type=0 -define png:bit-depth=1 png:-",
	"grey2.png":         "convert grey.pgm -posterize 4 -define png:color-type=0 -define png:bit-depth=2 png:-",
	"grey4.png":         "convert grey.pgm -posterize 16 -define png:color-type=0 -define png:bit-depth=4 png:-",
	"grey8.png":         "convert grey.pgm -define png:color-type=0 -define png:bit-depth=8 png:-",
	"grey16.png":        "convert grey.pgm -define png:color-type=0 -define png:bit-depth=16 png:-",
	"grey-alpha8.png":   "convert alpha.png -colorspace gray -define png:color-type=4 -define png:bit-depth=8 png:-",
	"grey-alpha16.png":  "convert alpha.png -colorspace gray -define png:color-type=4 -define png:bit-depth=16 png:-",
	"rgb8.png":          "pnmtopng rgb.ppm",
	"rgb16.png":         "convert rgb.ppm -define png:color-type=2 -define png:bit-depth=16 png:-",
	"rgba8.png":         "convert alpha.png -define png:color-type=6 -define png:bit-depth=8 png:-",
	"rgba16.png":        "convert alpha.png -define png:color-type=6 -define png:bit-depth=16 png:-",
	"one-colour.png":    "pnmtopng -transparent white -background white -gamma 0.45 rgb.ppm",
	"interlaced1.png":   "convert grey.pgm -threshold 50% -interlace PNG -define png:color-type=0 -define png:bit-depth=1 png:-",
	"interlaced8.png":   "convert rgb.ppm -interlace PNG -define png:color-type=2 -define png:bit-depth=8 png:-",
	"interlaced16.png":  "convert alpha.png -interlace PNG -define png:color-type=6 -define png:bit-depth=16 png:-",
	"palette1.png":      "convert rgb.ppm -colors 2 -define png:color-type=3 -define png:bit-depth=1 png:-",
	"palette2.png":      "convert rgb.ppm -colors 4 -define png:color-type=3 -define png:bit-depth=2 png:-",
	"palette4.png":      "convert rgb.ppm -colors 16 -define png:color-type=3 -define png:bit-depth=4 png:-",
	"palette-alpha.png": "convert alpha.png -channel A -threshold 50% +channel -colors 200 -define png:color-type=3 png:-",
	"pieces.png":        "convert rgb.ppm -define png:chunk-size=64 png:-",
	"pngcrush.png":      "pngcrush -q -brute alpha.png OUT",
	"optipng.png":       "optipng -quiet -o5 alpha.png -out OUT",

	"lossy.webp":          "cwebp -quiet -q 80 rgb.ppm -o -",
	"lossy-1.webp":        "cwebp -quiet -q 1 rgb.ppm -o -",
	"lossy-100.webp":      "cwebp -quiet -q 100 -m 6 -segments 4 rgb.ppm -o -",
	"limited.webp":        "cwebp -quiet -partition_limit 50 -low_memory rgb.ppm -o -",
	"partitions.webp":     "convert rgb.ppm -define webp:partitions=3 -define webp:method=1 webp:-",
	"imagemagick.webp":    "convert alpha.png -quality 60 webp:-",
	"vips.webp":           "vips copy alpha.png OUT",
	"lossless.webp":       "cwebp -quiet -lossless rgb.ppm -o -",
	"lossless-z0.webp":    "cwebp -quiet -z 0 rgb.ppm -o -",
	"lossless-z9.webp":    "cwebp -quiet -z 9 alpha.png -o -",
	"lossless-alpha.webp": "cwebp -quiet -lossless -exact alpha.png -o -",
	"near-lossless.webp":  "cwebp -quiet -near_lossless 40 alpha.png -o -",
	"palette.webp":        "cwebp -quiet -lossless palette.png -o -",
	"alpha.webp":          "cwebp -quiet -q 75 alpha.png -o -",
	"alpha-raw.webp":      "cwebp -quiet -alpha_method 0 alpha.png -o -",
	"alpha-lossy.webp":    "cwebp -quiet -alpha_q 20 -alpha_filter best alpha.png -o -",
	"one-pixel.webp":      "cwebp -quiet -lossless one.ppm -o -",
}

// unsoundFiles are what must be refused, and the word that says why.
var unsoundFiles = []struct{ name, command, detail string }{
	{"arithmetic.jpg", "cjpeg -arithmetic rgb.ppm", "arithmetic-coded"},
	{"animated.webp", "img2webp -lossless -d 100 alpha.png -d 100 palette.png -o OUT", "animated"},
	{"animated-lossy.webp", "img2webp -lossy -d 100 alpha.png -d 100 palette.png -o OUT", "animated"},
}

func make1(t *testing.T, dir, name, command string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	args := strings.Fields(command)
	for i, a := range args {
		if a == "OUT" {
			args[i] = path
		}
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, stderr.String())
	}
	if len(out) > 0 {
		if err := os.WriteFile(path, out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestFormats publishes what real encoders make, soiled by real tools, and reads it with others than ours.
func TestFormats(t *testing.T) {
	if !*tools {
		t.Skip("needs Debian's tools: make test-formats")
	}
	dir := t.TempDir()
	make1(t, dir, "rgb.ppm", "convert -size 61x45 -seed 1 plasma:red-blue -attenuate 0.5 +noise Gaussian -depth 8 ppm:-")
	make1(t, dir, "grey.pgm", "convert rgb.ppm -depth 16 -colorspace gray pgm:-")
	make1(t, dir, "one.ppm", "convert -size 1x1 xc:red -depth 8 ppm:-")
	make1(t, dir, "alpha.png", "convert rgb.ppm -alpha set -channel A -fx i/w +channel png:-")
	make1(t, dir, "palette.png", "convert rgb.ppm -colors 100 png:-")
	for _, c := range unsoundFiles {
		t.Run(c.name, func(t *testing.T) {
			data := read(t, make1(t, dir, c.name, c.command))
			if _, err := photo.NewInspector().Publish(t.Context(), data); !errors.Is(err, photo.ErrUnsound) || !strings.Contains(err.Error(), c.detail) {
				t.Errorf("got %v, want %q", err, c.detail)
			}
		})
	}
	for name, command := range encoders {
		make1(t, dir, name, command)
	}
	for name := range encoders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, name)
			plain := publish(t, read(t, path))
			compare(t, path, plain, 1)
			testSoiled(t, path, plain, len(name)%8+1)
		})
	}
	for _, name := range []string{"q50.jpg", "rgba8.png", "lossy.webp"} {
		for o := range 8 {
			t.Run(fmt.Sprintf("%s, orientation %d", name, o+1), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(dir, name)
				testSoiled(t, path, publish(t, read(t, path)), o+1)
			})
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// testSoiled puts metadata and a profile into the file and wants all of the one and the colours of the other out of it.
func testSoiled(t *testing.T, path string, plain photo.Published, orientation int) {
	ext, name := filepath.Ext(path), filepath.Base(path)
	soiled := filepath.Join(t.TempDir(), "soiled"+ext)
	if err := os.WriteFile(soiled, read(t, path), 0o600); err != nil {
		t.Fatal(err)
	}
	if soil(t, path, soiled, orientation); orientation == 1 && !bytes.Equal(publish(t, read(t, soiled)).Body, plain.Body) {
		t.Error("a copy that differs in metadata alone is another picture")
	}
	profile := profiles + "compatibleWithAdobeRGB1998.icc"
	if strings.Contains(name, "grey") {
		profile = profiles + "Gray.icc"
	}
	if ext == ".webp" { // exiftool cannot
		tool(t, "webpmux", "-set", "icc", profile, path, "-o", soiled)
		soil(t, path, soiled, orientation)
	} else {
		tool(t, "exiftool", "-q", "-q", "-m", "-overwrite_original", "-ICC_Profile<="+profile, soiled)
	}
	p := publish(t, read(t, soiled))
	compare(t, soiled, p, orientation)
	if !bytes.Contains(p.Body, []byte("acsp")) {
		t.Error("the profile did not stay")
	}
	if strings.Contains(name, "cmyk") {
		return // the profile is not of its colours
	}
	if before, after := inSRGB(t, soiled), inSRGB(t, save(t, p, ext)); !bytes.Equal(before, after) {
		t.Error("the colours are not the same")
	}
}

func soil(t *testing.T, path, soiled string, orientation int) {
	args := []string{"-q", "-q", "-m", "-overwrite_original", fmt.Sprintf("-IFD0:Orientation#=%d", orientation), "-Make=SECRET", "-Model=SECRET", "-EXIF:SerialNumber=SECRET4711",
		"-LensSerialNumber=SECRET4712", "-OwnerName=SECRET", "-Artist=SECRET", "-GPSLatitude=47.1234", "-GPSLatitudeRef=N", "-GPSLongitude=8.5678", "-GPSLongitudeRef=E",
		"-DateTimeOriginal=2026:11:01 10:11:12", "-XMP-dc:Creator=SECRET", "-XMP-exif:GPSLatitude=47.1234", "-XMP-aux:SerialNumber=SECRET4713"}
	switch filepath.Ext(path) {
	case ".jpg":
		args = append(args, "-Comment=SECRET", "-IPTC:City=SECRET", "-Photoshop:CopyrightFlag=1", "-ThumbnailImage<="+filepath.Join(filepath.Dir(path), "one-pixel.jpg"))
	case ".png":
		args = append(args, "-PNG:Comment=SECRET", "-PNG:Title=SECRET", "-PNG:ModifyDate=now")
	}
	tool(t, "exiftool", append(args, soiled)...)
	if data := read(t, soiled); !bytes.Contains(data, []byte("SECRET4711")) || !bytes.Contains(data, []byte("SECRET4713")) {
		t.Fatal("exiftool did not write what is to be taken out")
	}
}

func inSRGB(t *testing.T, path string) []byte {
	return tool(t, "convert", path, "-profile", profiles+"sRGB.icc", "-depth", "8", "rgba:-")
}

func save(t *testing.T, p photo.Published, ext string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "published"+ext)
	if err := os.WriteFile(path, p.Body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// compare has a file and what is published of it read by decoders and readers that are not ours.
func compare(t *testing.T, from string, p photo.Published, orientation int) {
	t.Helper()
	wantPublished(t, read(t, from), p)
	ext := filepath.Ext(from)
	path := save(t, p, ext)
	if !bytes.Equal(raw(t, from), raw(t, path)) {
		t.Error("another decoder finds other pixels")
	}
	before, after := upright(t, from), upright(t, path)
	if !samePixels(before, after) || after.Bounds().Dx() != p.Width || after.Bounds().Dy() != p.Height {
		t.Errorf("turned upright it was %v and is %v; got %d x %d", before.Bounds(), after.Bounds(), p.Width, p.Height)
	}
	for _, word := range []string{"SECRET", "Adobe Photoshop", "http://ns.adobe.com", "8BIM", "2026"} {
		if bytes.Contains(p.Body, []byte(word)) {
			t.Errorf("%q is in what is published", word)
		}
	}
	found := 1
	for line := range strings.Lines(string(tool(t, "exiftool", "-a", "-u", "-U", "-n", "-G1", "-s", path))) {
		group, rest, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
		tag := strings.Fields(rest)[0]
		switch group {
		case "ExifTool", "System", "File", "JFIF", "PNG", "PNG-cICP", "RIFF", "Composite", "Adobe", "APP14", "ICC_Profile", "ICC-header":
			if !strings.Contains(tag, "GPS") && tag != "Comment" && tag != "Warning" && tag != "Error" {
				continue
			}
		case "IFD0":
			if n, err := fmt.Sscanf(rest, " Orientation : %d", &found); n == 1 && err == nil {
				continue
			}
		}
		t.Errorf("exiftool finds %s", strings.TrimSpace(line))
	}
	if found != orientation {
		t.Errorf("exiftool finds orientation %d, want %d", found, orientation)
	}
	switch ext {
	case ".png":
		tool(t, "pngcheck", "-q", path)
	case ".webp":
		if out := tool(t, "webpinfo", "-quiet", path); bytes.Contains(out, []byte("rror")) {
			t.Errorf("webpinfo: %s", out)
		}
	}
}

// upright is a picture as vips turns it.
func upright(t *testing.T, path string) image.Image {
	out := filepath.Join(t.TempDir(), "upright.png")
	tool(t, "vips", "autorot", path, out+"[strip]")
	return decode(t, read(t, out))
}

// raw is what a decoder of the format's own library gives.
func raw(t *testing.T, path string) []byte {
	switch filepath.Ext(path) {
	case ".png":
		return tool(t, "pngtopam", "-alphapam", path)
	case ".webp":
		return tool(t, "dwebp", "-quiet", path, "-pam", "-o", "-")
	}
	if bytes.Contains(read(t, path), []byte("\xFF\xC0\x00\x14")) || bytes.Contains(read(t, path), []byte("\xFF\xC2\x00\x14")) { // four colours
		return tool(t, "convert", path, "+profile", "*", "cmyk:-")
	}
	return tool(t, "djpeg", path)
}

// browserPage draws each picture as it came and as it is published, and posts how the browser shows them.
const browserPage = `<script>
const draw = async name => {
  const img = new Image(); img.src = name; await img.decode();
  const c = document.createElement("canvas"); c.width = img.naturalWidth; c.height = img.naturalHeight;
  const ctx = c.getContext("2d"); ctx.drawImage(img, 0, 0);
  return {size: c.width + "x" + c.height, pixels: ctx.getImageData(0, 0, c.width, c.height).data.join()};
};
(async () => {
  const found = {};
  for (const name of await (await fetch("/names")).json()) {
    try {
      const before = await draw("/before/" + name), after = await draw("/after/" + name);
      found[name] = {size: after.size, same: before.size === after.size && before.pixels === after.pixels, pixels: after.pixels};
    } catch (e) { found[name] = {size: String(e)}; }
  }
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>`

type shown struct {
	Size, Pixels string
	Same         bool
}

// inBrowser has a browser show pictures and what is published of them.
func inBrowser(t *testing.T, before, after map[string][]byte) map[string]shown {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	found := make(chan map[string]shown, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, browserPage) })
	mux.HandleFunc("GET /names", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(slices.Sorted(maps.Keys(before)))
	})
	mux.HandleFunc("GET /before/{name}", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(before[r.PathValue("name")]) })
	mux.HandleFunc("GET /after/{name}", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(after[r.PathValue("name")]) })
	mux.HandleFunc("POST /found", func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]shown
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		found <- m
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	// Its own sandbox needs what a container may not have; the pictures are ours.
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), server.URL)
	cmd.WaitDelay = 5 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	ended := make(chan error, 1)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- cmd.Wait() }()
	select {
	case m := <-found:
		cancel()
		<-ended
		return m
	case err := <-ended:
		t.Fatalf("chromium: %v\n%s", err, stderr.String())
	}
	return nil
}

// A browser shows what is published as it shows what came, whatever the orientation.
func TestFormatsInBrowser(t *testing.T) {
	if !*tools {
		t.Skip("needs Debian's tools: make test-formats")
	}
	dir := t.TempDir()
	make1(t, dir, "rgb.ppm", "convert -size 61x45 -seed 1 plasma:red-blue -depth 8 ppm:-")
	make1(t, dir, "one-pixel.jpg", "convert -size 1x1 xc:red jpg:-")
	before, after := map[string][]byte{}, map[string][]byte{}
	for name, command := range map[string]string{
		"x.jpg": "cjpeg -sample 1x1 rgb.ppm", "progressive.jpg": "cjpeg -progressive -restart 1 rgb.ppm", "x.png": "pnmtopng rgb.ppm", "lossy.webp": "cwebp -quiet rgb.ppm -o -",
		"lossless.webp": "cwebp -quiet -lossless rgb.ppm -o -",
	} {
		path := make1(t, dir, name, command)
		for o := 1; o <= 8; o++ {
			soiled := filepath.Join(dir, fmt.Sprintf("%d-%s", o, name))
			if err := os.WriteFile(soiled, read(t, path), 0o600); err != nil {
				t.Fatal(err)
			}
			soil(t, filepath.Join(dir, name), soiled, o)
			before[filepath.Base(soiled)] = read(t, soiled)
			after[filepath.Base(soiled)] = publish(t, read(t, soiled)).Body
		}
	}
	found := inBrowser(t, before, after)
	for name := range before {
		got, p := found[name], publish(t, before[name])
		if !got.Same {
			t.Errorf("%s: not shown as before, but %s", name, got.Size)
		}
		if filepath.Ext(name) == ".webp" {
			continue // Chromium does not turn a WebP, whatever is in it; vips does, in TestFormats
		}
		if want := fmt.Sprintf("%dx%d", p.Width, p.Height); got.Size != want {
			t.Errorf("%s: shown %s, want %s", name, got.Size, want)
		}
		if base := found["1"+name[1:]]; name[0] != '1' && got.Pixels == base.Pixels {
			t.Errorf("%s is not turned", name)
		}
	}
}
