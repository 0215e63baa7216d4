package photo_test

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
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
	times   = flag.Int("measure-times", 1, "so often")
	collect = flag.Bool("measure-collect", false, "and collect garbage before each")
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
	{"lossy with alpha.webp", "cwebp -quiet -m 0 -q 80 wide.pam -o -"},
	{"lossless.webp", "cwebp -quiet -m 0 -q 0 -lossless wide.ppm -o -"},
	// The same with about as many bytes as POST /uploads takes.
	{"noisy, baseline 4:4:4.jpg", "cjpeg -quality 95 -sample 1x1 noisy.ppm"},
	{"noisy, progressive CMYK.jpg", "convert noisy.ppm -colorspace CMYK -sampling-factor 1x1 -interlace JPEG -quality 85 jpg:-"},
	{"noisy, RGBA, 16 bit, interlaced.png", "convert speckled.ppm -alpha set -interlace PNG -define png:color-type=6 -define png:bit-depth=16 -define png:compression-level=1 png:-"},
	{"noisy, lossy with alpha.webp", "cwebp -quiet -m 0 -q 80 -partition_limit 100 noisy.pam -o -"},
	{"noisy, lossless.webp", "cwebp -quiet -m 0 -q 0 -lossless speckled-wide.ppm -o -"},
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
	scene(t, dir+"/large.ppm", 10_000, 5_000, 0, 1, false)
	scene(t, dir+"/wide.ppm", 16_383, 3_050, 0, 1, false)
	scene(t, dir+"/wide.pam", 16_383, 3_050, 0, 1, true)
	scene(t, dir+"/noisy.ppm", 10_000, 5_000, 12, 1, false)
	scene(t, dir+"/noisy.pam", 16_383, 3_050, 12, 1, true)
	scene(t, dir+"/speckled.ppm", 10_000, 5_000, 1, 16, false)
	scene(t, dir+"/speckled-wide.ppm", 16_383, 3_050, 1, 2, false)
	scene(t, dir+"/usual.ppm", 4_000, 3_000, 12, 1, false)
	var out strings.Builder
	fmt.Fprintf(&out, "# Publishing a picture, %s\n\n`make bench-photo` wrote this. %d virtual cores of %s, Linux, %s, GOMEMLIMIT=%s. Seconds are of CPU.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.Version(), os.Getenv("GOMEMLIMIT"))
	fmt.Fprint(&out, "\n## 50 million pixels\n\nPeak memory of a process (VmHWM) that publishes one, and two one after the other.\n\n",
		"| picture | MB | s | peak MB | peak MB, two |\n|---|---:|---:|---:|---:|\n")
	for _, c := range large {
		path := make1(t, dir, c.name, c.command)
		one, two := inChild(t, path, 1), inChild(t, path, 2)
		fmt.Fprintf(&out, "| %s | %.1f | %.2f | %d | %d |\n", c.name, megabytes(t, path), one.all.Seconds(), one.peak/1e6, two.peak/1e6)
		t.Log(c.name, one, two)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(&out, "\n## 12 million pixels\n\nThe least of seven runs in a process, without the kernel's time and with memory that was used before: fresh memory costs more than\nanything else here, and hits whoever comes first.\n\n| picture | MB | MB/s decoded | MB/s published | publishing costs |\n|---|---:|---:|---:|---:|\n")
	for _, c := range usual {
		path := make1(t, dir, c.name, c.command)
		r, mb := inChild(t, path, 7, "-measure-collect"), megabytes(t, path)
		fmt.Fprintf(&out, "| %s | %.1f | %.1f | %.1f | %+.1f %% |\n", c.name, mb, mb/r.decode.Seconds(), mb/r.publish.Seconds(), 100*(r.publish.Seconds()/r.decode.Seconds()-1))
		t.Log(c.name, r)
	}
	if err := os.WriteFile(*measure, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// scene writes waves of colour with as much noise in one of so many pixels, in the simple format of Netpbm.
func scene(t *testing.T, path string, w, h int, noise uint32, every int, alpha bool) {
	t.Helper()
	head := fmt.Sprintf("P6\n%d %d\n255\n", w, h)
	if alpha {
		head = fmt.Sprintf("P7\nWIDTH %d\nHEIGHT %d\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n", w, h)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	b := append(make([]byte, 0, len(head)+4*w*h), head...)
	for y := range h {
		for x := range w {
			v := 100 + 60*math.Sin(float64(x)/97) + 60*math.Sin(float64(y)/61)
			for c := range 3 {
				dirt := 0.0
				if x%every == 0 {
					dirt = float64(rnd.Uint32N(2*noise+1)) - float64(noise)
				}
				b = append(b, byte(v+float64(10*c)+dirt))
			}
			if alpha {
				b = append(b, byte(x/64))
			}
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
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
	decode, publish time.Duration // of CPU, without the kernel's
	all             time.Duration // of CPU, to publish
	peak            int           // bytes
}

// inChild publishes a file some times, then decodes it as often: what publishing took is not hidden by what decoding left behind.
func inChild(t *testing.T, path string, n int, args ...string) taken {
	t.Helper()
	args = append(args, "-test.run=^TestMeasureChild$", "-measure-child="+path, "-measure-times="+strconv.Itoa(n))
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Dir = filepath.Dir(path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, out)
	}
	var r taken
	for line := range strings.Lines(string(out)) {
		_, _ = fmt.Sscanf(line, "took %d %d %d %d", &r.decode, &r.publish, &r.all, &r.peak)
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
	data, inspector := read(t, *child), photo.NewInspector()
	var p photo.Published
	publish, all := least(t, func() (err error) { p, err = inspector.Publish(t.Context(), data); return err })
	_, rest, _ := strings.Cut(string(read(t, "/proc/self/status")), "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	decode, _ := least(t, func() error { _, err := decoded(p.Body); return err })
	fmt.Printf("took %d %d %d %d\n", decode, publish, all, kb<<10)
}

// least is the least CPU that a call took, without and with the kernel's.
func least(t *testing.T, f func() error) (user, all time.Duration) {
	t.Helper()
	user, all = time.Hour, time.Hour
	for range *times {
		if *collect {
			runtime.GC()
		}
		userBefore, allBefore := cpu(t)
		if err := f(); err != nil {
			t.Fatal(err)
		}
		userAfter, allAfter := cpu(t)
		user, all = min(user, userAfter-userBefore), min(all, allAfter-allBefore)
	}
	return user, all
}

func cpu(t *testing.T) (user, all time.Duration) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
