package index

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// chore is an index on disk that is due for a merge.
type chore struct {
	Dir string
	// Real pictures are in Segments segments that are on disk; as many overrides of them are old enough to be absorbed.
	Real, Segments, Overrides int
	// Synthetic pictures are in full segments beside them, which a merge does not touch.
	Synthetic int
}

func (c chore) files() files { return files{dir: c.Dir} }

// prepare writes the segments, and the root that undo restores.
func (c chore) prepare(tb testing.TB) {
	layout := Open(Config{Label: "cat", Index: c.files()})
	_, rows := newSynthetic(nil, layout, c.Synthetic)
	r := &root.Root{Version: 1, Rows: rows}
	each := c.Real / c.Segments
	for s := range c.Segments {
		pictures := make([]segment.Entry, each)
		for i := range pictures {
			pictures[i] = segment.Entry{ID: idAt(i*c.Segments+s, c.Real), Weight: pet.Weight(1 + i%1000)}
		}
		r.Rows = append(r.Rows, stored(tb, layout, pictures))
	}
	for i := range c.Overrides { // pictures of the first segment: every other one is paused
		at := i * (each / c.Overrides)
		r.Overrides = append(r.Overrides, root.Override{
			Entry: segment.Entry{ID: idAt(at*c.Segments, c.Real), Weight: pet.Weight(i % 2 * 2000)}, Held: root.Held{Old: uint32(1 + at%1000), In: r.Rows[len(rows)].Name}, At: 1,
		})
	}
	if err := os.WriteFile(c.Dir+"/before", r.Encode(1), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// undo puts the index back to where it was before its upkeep.
func (c chore) undo(tb testing.TB) {
	body, err := os.ReadFile(c.Dir + "/before")
	if err != nil {
		tb.Fatal(err)
	}
	r, err := root.Decode(body)
	if err != nil {
		tb.Fatal(err)
	}
	x := Open(Config{Label: "cat"})
	listed := map[string]bool{}
	for _, row := range r.Rows {
		listed[x.segments.Key(row.Name)] = true
	}
	page, err := c.files().List(tb.Context(), "index/cat/segments/", "", 0)
	if err != nil {
		tb.Fatal(err)
	}
	for _, o := range page.Objects {
		if !listed[o.Key] {
			if err := os.Remove(c.files().path(o.Key)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if _, err := c.files().put(x.rootKey, body); err != nil {
		tb.Fatal(err)
	}
}

// do is the upkeep, from a process that knows nothing yet.
func (c chore) do(tb testing.TB) {
	x := Open(Config{Label: "cat", Photos: blob.NewMemory(nil)})
	store, _ := newSynthetic(c.files(), x, c.Synthetic)
	x.use(store, defaultMemory)
	if err := x.Tend(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// check that what was measured is a merge that leaves every picture where it was.
func (c chore) check(tb testing.TB) {
	o, err := c.files().Get(tb.Context(), "index/cat/root", "")
	if err != nil {
		tb.Fatal(err)
	}
	r, err := root.Decode(o.Body)
	if err != nil {
		tb.Fatal(err)
	}
	want := c.Real/c.Segments*c.Segments + c.Synthetic - c.Overrides/2
	if n, _ := r.Counts(); n != want || len(r.Overrides) > 0 {
		tb.Fatalf("%d pictures and %d overrides, want %d and none", n, len(r.Overrides), want)
	}
}

// benchmark measures the upkeep: what it takes of the processor, in all threads, and the most memory that a process which does nothing
// else takes for it.
func (c chore) benchmark(b *testing.B) {
	c.Dir = b.TempDir()
	c.prepare(b)
	cpu := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		c.undo(b)
		before := cpuTime(b)
		b.StartTimer()
		c.do(b)
		cpu += cpuTime(b) - before
	}
	c.check(b)
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
	c.undo(b)
	b.ReportMetric(c.peak(b)/1e6, "MB-peak")
}

func cpuTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const choreVariable = "PETPICK_CHORE"

// peak does the upkeep in a process of its own, and returns the most bytes that it had in memory.
func (c chore) peak(tb testing.TB) float64 {
	arg, err := json.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), os.Args[0], "-test.run", "^TestChore$", "-test.v")
	for _, v := range os.Environ() { // the default limits
		if !strings.HasPrefix(v, "GOMEMLIMIT=") && !strings.HasPrefix(v, "GOGC=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, choreVariable+"="+string(arg))
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	c.check(tb)
	_, after, found := strings.Cut(string(out), "VmHWM: ")
	kilobytes, _, _ := strings.Cut(after, " kB")
	n, err := strconv.ParseFloat(strings.TrimSpace(kilobytes), 64)
	if !found || err != nil {
		tb.Fatalf("no peak in %q", out)
	}
	return n * 1024
}

// TestChore is the process of its own: upkeep, and then what Linux says of its memory.
func TestChore(t *testing.T) {
	arg := os.Getenv(choreVariable)
	if arg == "" {
		t.Skip("a part of the benchmarks of upkeep")
	}
	var c chore
	if err := json.Unmarshal([]byte(arg), &c); err != nil {
		t.Fatal(err)
	}
	c.do(t)
	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "VmHWM:") {
			fmt.Println(strings.Join(strings.Fields(lines.Text()), " "))
		}
	}
}

// The benchmarks' upkeep is a real one.
func TestUpkeepOnDisk(t *testing.T) {
	for _, c := range []chore{
		{Real: 4000, Segments: 4, Synthetic: 3 * segment.Max},
		{Real: 4000, Segments: 1, Overrides: 400},
	} {
		c.Dir = t.TempDir()
		c.prepare(t)
		for range 2 {
			c.undo(t)
			c.do(t)
			c.check(t)
		}
	}
}

// BenchmarkMerge makes a segment of a million pictures: of four, and of one that has as many overrides as there may be.
func BenchmarkMerge(b *testing.B) {
	b.Run("segments=4/pictures=1000000/overrides=0", func(b *testing.B) {
		chore{Real: 1_000_000, Segments: 4}.benchmark(b)
	})
	b.Run(fmt.Sprintf("segments=1/pictures=%d/overrides=%d", segment.Max, root.MaxOverrides), func(b *testing.B) {
		chore{Real: segment.Max, Segments: 1, Overrides: root.MaxOverrides}.benchmark(b)
	})
}

// BenchmarkUpkeep is the merge that an index of so many pictures does: of all that there is, while that fits one segment; and else of the
// small segments, up to one large.
func BenchmarkUpkeep(b *testing.B) {
	for _, n := range growingSizes {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			merged := min(n, segment.Max)
			chore{Real: merged, Segments: 4, Synthetic: n - merged}.benchmark(b)
		})
	}
}
