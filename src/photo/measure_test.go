package photo_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

var (
	measure = flag.String("measure", "", "write what pictures of 50 million pixels take, made by Debian's encoders, to this file")
	child   = flag.String("measure-child", "", "publish this file, say what it took, and end")
)

// BenchmarkPublish against BenchmarkDecode is what it costs to check and to write anew.
func BenchmarkPublish(b *testing.B) {
	each(b, func(data []byte) error {
		_, err := photo.NewInspector().Publish(context.Background(), data)
		return err
	})
}

func BenchmarkDecode(b *testing.B) {
	each(b, func(data []byte) error {
		_, err := decoded(data)
		return err
	})
}

func each(b *testing.B, do func([]byte) error) {
	for name, data := range map[string][]byte{
		"baseline.jpg": phototest.JPEG(1, 1000, 750), "truecolour.png": phototest.PNG(1, 1000, 750),
		"small.jpg": phototest.File("dirty.jpg"), "small.png": phototest.File("dirty.png"), "small.webp": phototest.File("dirty.webp"),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := do(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// large are pictures of 50 million pixels, or as many as WebP can have on its sides.
var large = []struct{ name, command string }{
	{"baseline 4:2:0.jpg", "cjpeg -quality 90 large.ppm"},
	{"baseline 4:4:4.jpg", "cjpeg -quality 90 -sample 1x1 large.ppm"},
	{"progressive 4:2:0.jpg", "cjpeg -quality 90 -progressive large.ppm"},
	{"progressive 4:4:4.jpg", "cjpeg -quality 90 -progressive -sample 1x1 large.ppm"},
	{"progressive CMYK.jpg", "convert large.ppm -colorspace CMYK -sampling-factor 1x1 -interlace JPEG jpg:-"},
	{"RGB, 8 bit.png", "convert large.ppm -define png:color-type=2 -define png:compression-level=1 png:-"},
	{"RGBA, 16 bit.png", "convert large.ppm -alpha set -define png:color-type=6 -define png:bit-depth=16 -define png:compression-level=1 png:-"},
	{"RGBA, 16 bit, interlaced.png", "convert large.ppm -alpha set -interlace PNG -define png:color-type=6 -define png:bit-depth=16 -define png:compression-level=1 png:-"},
	{"lossy.webp", "cwebp -quiet -m 0 -q 80 wide.ppm -o -"},
	{"lossy with alpha.webp", "cwebp -quiet -m 0 -q 80 wide.png -o -"},
	{"lossless.webp", "cwebp -quiet -m 0 -q 0 -lossless wide.ppm -o -"},
}

// usual are pictures of 12 million, with the noise of a camera.
var usual = []struct{ name, command string }{
	{"baseline.jpg", "cjpeg -quality 90 usual.ppm"},
	{"progressive.jpg", "cjpeg -quality 90 -progressive usual.ppm"},
	{"RGB.png", "convert usual.ppm -define png:compression-level=3 png:-"},
	{"lossy.webp", "cwebp -quiet -m 0 -q 90 usual.ppm -o -"},
	{"lossless.webp", "cwebp -quiet -m 0 -q 0 -lossless usual.ppm -o -"},
}

// TestMeasure writes tables, each picture in a process of its own, with the memory limit that infra/template.yaml sets.
func TestMeasure(t *testing.T) {
	if *child != "" {
		t.Skip("this is the child")
	}
	if *measure == "" {
		t.Skip("takes minutes and Debian's tools: make bench-photo")
	}
	dir := t.TempDir()
	make1(t, dir, "large.ppm", "convert -size 10000x5000 gradient:red-blue -depth 8 ppm:-")
	make1(t, dir, "wide.ppm", "convert -size 16383x3050 gradient:red-blue -depth 8 ppm:-")
	make1(t, dir, "wide.png", "convert -size 16383x3050 gradient:#f008-#00f4 -depth 8 -define png:compression-level=1 png:-")
	make1(t, dir, "usual.ppm", "convert -size 4000x3000 -seed 1 plasma:red-blue -attenuate 0.2 +noise Gaussian -depth 8 ppm:-")
	var out strings.Builder
	fmt.Fprintf(&out, "# Publishing a picture, %s\n\n`make bench-photo` wrote this. %d virtual cores of %s, Linux, %s, GOMEMLIMIT=%s. Seconds are of CPU, the least of three runs.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.Version(), os.Getenv("GOMEMLIMIT"))
	fmt.Fprint(&out, "\n## 50 million pixels\n\nPeak memory of a process (VmHWM) that publishes one, and two one after the other.\n\n",
		"| picture | MB | s to decode | s to publish | peak MB | peak MB, two |\n|---|---:|---:|---:|---:|---:|\n")
	for _, c := range large {
		path := make1(t, dir, c.name, c.command)
		one, two := inChild(t, path, 1), inChild(t, path, 2)
		fmt.Fprintf(&out, "| %s | %.1f | %.2f | %.2f | %d | %d |\n", c.name, megabytes(t, path), one.decode.Seconds(), one.publish.Seconds(), one.peak>>20, two.peak>>20)
		t.Log(c.name, one, two)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(&out, "\n## 12 million pixels\n\n| picture | MB | MB/s decoded | MB/s published | publishing costs |\n|---|---:|---:|---:|---:|\n")
	for _, c := range usual {
		path := make1(t, dir, c.name, c.command)
		r, mb := inChild(t, path, 3), megabytes(t, path)
		fmt.Fprintf(&out, "| %s | %.1f | %.1f | %.1f | %+.1f %% |\n", c.name, mb, mb/r.decode.Seconds(), mb/r.publish.Seconds(), 100*(r.publish.Seconds()/r.decode.Seconds()-1))
		t.Log(c.name, r)
	}
	if err := os.WriteFile(*measure, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func megabytes(t *testing.T, path string) float64 {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}

func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	_, rest, _ := strings.Cut(string(info), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

type taken struct {
	decode, publish time.Duration // of CPU
	peak            int           // bytes
}

// inChild publishes a file some times, then decodes it as often: what publishing took is not hidden by what decoding left behind.
func inChild(t *testing.T, path string, times int) taken {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMeasureChild$", "-measure-child="+path, "-test.count="+strconv.Itoa(times))
	cmd.Dir = filepath.Dir(path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, out)
	}
	r := taken{decode: time.Hour, publish: time.Hour}
	for line := range strings.Lines(string(out)) {
		var decode, publish time.Duration
		var peak int
		if n, err := fmt.Sscanf(line, "took %d %d %d", &decode, &publish, &peak); n == 3 && err == nil {
			r.decode, r.publish = min(r.decode, decode), min(r.publish, publish)
			if peak > r.peak {
				r.peak = peak
			}
		}
	}
	if r.peak == 0 {
		t.Fatalf("%s: %s", path, out)
	}
	return r
}

// TestMeasureChild is run by TestMeasure.
func TestMeasureChild(t *testing.T) {
	if *child == "" {
		t.Skip("is run by TestMeasure")
	}
	data := read(t, *child)
	start := cpu(t)
	p, err := photo.NewInspector().Publish(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	publish := cpu(t) - start
	status := string(read(t, "/proc/self/status"))
	_, rest, _ := strings.Cut(status, "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	start = cpu(t)
	if _, err := decoded(p.Body); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("took %d %d %d\n", cpu(t)-start, publish, kb<<10)
}

func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
