package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var deployed = flag.String("deployed", "", "folder with the functions' binaries as they are deployed, whose zips are weighed")

// From its start to the first call of next the random function takes at most 1.3 times what a hello-world with an S3 client does. What is
// compared is the processor's time: a function of 256 MB has a seventh of one, so that it is what a cold start waits for, and it does not
// depend on what else the machine does. They take turns, all the same.
func TestStart(t *testing.T) {
	const rounds, most = 41, 1.3
	random := deploy(t).function("random")
	took, used := map[string][]time.Duration{}, map[string][]time.Duration{}
	measure := func(name string) {
		e := launch(t, binary(name), random.variables())
		d, err := e.init()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cpu, err := processorTime(e.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		took[name], used[name] = append(took[name], d), append(used[name], cpu)
		_ = e.cmd.Process.Kill()
		<-e.exited
	}
	names := []string{"hello", "hellos3", "random"}
	for range rounds {
		for _, name := range names {
			measure(name)
		}
	}
	for _, name := range names {
		slices.Sort(took[name])
		slices.Sort(used[name])
		t.Logf("%-8s processor's time: median %v, least %v; by the clock: median %v, least %v", name, used[name][rounds/2], used[name][0], took[name][rounds/2], took[name][0])
	}
	if len(random.calls) > 0 {
		t.Errorf("AWS was called before the first event: %v", random.calls)
	}
	ratio := float64(used["random"][rounds/2]) / float64(used["hellos3"][rounds/2])
	t.Logf("random / hellos3 = %.2f", ratio)
	if ratio > most {
		t.Errorf("the random function's start takes %.2f times a hello-world's with an S3 client, want at most %.1f", ratio, most)
	}
}

// processorTime is what all threads of a process have used: none of them has ended yet.
func processorTime(pid int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("threads of %d: %v, %w", pid, files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		var ns int64
		if err == nil {
			_, err = fmt.Sscan(string(b), &ns)
		}
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// The zip that is deployed has at most 4 MB: it is what Lambda fetches before it starts an environment.
func TestZip(t *testing.T) {
	if *deployed == "" {
		t.Skip("needs the functions' binaries as they are deployed: make e2e")
	}
	for _, name := range functions {
		zip, err := os.Stat(filepath.Join(*deployed, name+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-8s %d bytes", name, zip.Size())
		if name == "random" && zip.Size() > 4_000_000 {
			t.Errorf("%s: the zip has %d bytes, want at most 4 MB", name, zip.Size())
		}
	}
}
