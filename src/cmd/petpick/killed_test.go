package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/s3blob"
	"petpick/src/index"
	"petpick/src/pet"
	"petpick/src/photo/phototest"
)

// fleet is a number of processes on one S3 server, each of which may be killed and replaced at any moment.
type fleet struct {
	host     *server // has the S3 server, and is not killed
	endpoint string
	members  []chan *server // the present process of each place
}

func startFleet(t *testing.T, size int) *fleet {
	t.Helper()
	f := &fleet{host: start(t, t.TempDir())}
	m := regexp.MustCompile(`AWS_ACCESS_KEY_ID=(\S+) AWS_SECRET_ACCESS_KEY=(\S+)[\s\S]*--endpoint-url (\S+) `).FindStringSubmatch(f.host.banner)
	t.Setenv("AWS_ACCESS_KEY_ID", m[1])
	t.Setenv("AWS_SECRET_ACCESS_KEY", m[2])
	f.endpoint = m[3]
	for range size {
		member := make(chan *server, 1)
		member <- start(t, t.TempDir(), "--s3-endpoint", f.endpoint)
		f.members = append(f.members, member)
	}
	return f
}

// kill ends the process of a place, as kill -9 does, and starts another.
func (f *fleet) kill(t *testing.T, place int) {
	t.Helper()
	s := <-f.members[place]
	s.kill()
	f.members[place] <- start(t, t.TempDir(), "--s3-endpoint", f.endpoint)
}

// upload sends the pictures of seeds below n, wide at a time. What is not acknowledged is sent again, to another process. Each is
// passed to acked once.
func (f *fleet) upload(n uint64, wide int, acked func(record)) {
	seeds := make(chan uint64, n)
	for seed := range n {
		seeds <- seed
	}
	var left, workers sync.WaitGroup
	left.Add(int(n))
	for i := range wide {
		workers.Go(func() {
			place := i
			for seed := range seeds {
				member := f.members[place%len(f.members)]
				s := <-member
				member <- s
				r, err := s.uploadForm("label", "dog", "image", string(phototest.PNG(seed, 6, 6)))
				var rec record
				if err == nil && (r.status == http.StatusCreated || r.status == http.StatusOK) && json.Unmarshal(r.body, &rec) == nil {
					acked(rec)
					left.Done()
					continue
				}
				place++
				seeds <- seed
			}
		})
	}
	left.Wait()
	close(seeds)
	workers.Wait()
}

// tendUntil does the upkeep again and again, by processes of its own, and returns how often.
func (f *fleet) tendUntil(t *testing.T, done <-chan struct{}) (runs int) {
	for {
		select {
		case <-done:
			return runs
		default:
		}
		if out, err := program("tend", "--s3-endpoint", f.endpoint).CombinedOutput(); err != nil {
			t.Errorf("tend: %v: %s", err, out)
			return runs
		}
		runs++
	}
}

// curator is a process that changes weights and removes pictures, which no route of the program does yet.
type curator struct {
	in      io.WriteCloser
	done    chan struct{}
	answers []string
	asked   []string
}

func (f *fleet) curator(t *testing.T) *curator {
	t.Helper()
	cmd := program()
	cmd.Env = append(os.Environ(), "PETPICK_TEST_AS_CURATOR="+f.endpoint)
	cmd.Stderr = os.Stderr
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	c := &curator{in: in, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.answers = append(c.answers, lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("curator: %v", err)
		}
	}()
	return c
}

func (c *curator) ask(t *testing.T, order string) {
	c.asked = append(c.asked, order)
	if _, err := fmt.Fprintln(c.in, order); err != nil {
		t.Errorf("curator: %v", err)
	}
}

// finish waits until all that was asked is acknowledged.
func (c *curator) finish(t *testing.T) {
	t.Helper()
	_ = c.in.Close()
	<-c.done
	if got, want := strings.Join(c.answers, "\n"), strings.Join(c.asked, "\n"); got != want {
		t.Errorf("the curator did %d of %d changes", len(c.answers), len(c.asked))
	}
}

// curate is the curator's process: a line of input is an order, and its echo says that it was acknowledged. Like any client it asks
// again when it is told to.
func curate(endpoint string) int {
	ctx := context.Background()
	cfg := serveConfig{s3Endpoint: endpoint, region: "us-east-1", photosBucket: "petpick-photos", indexBucket: "petpick-index"}
	st, err := openStore(ctx, cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	x := index.Open(index.Config{Label: "dog", Photos: s3blob.New(st.client, cfg.photosBucket), Index: s3blob.New(st.client, cfg.indexBucket)})
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		verb, name, _ := strings.Cut(lines.Text(), " ")
		id, err := pet.ParseID(name)
		for try := 0; err == nil && try < 20; try++ {
			if verb == "remove" {
				_, err = x.Remove(ctx, id, false)
			} else {
				_, err = x.Set(ctx, id, 2*pet.DefaultWeight)
			}
			if !errors.Is(err, index.ErrBusy) && !errors.Is(err, blob.ErrUnavailable) && !errors.Is(err, blob.ErrUnclear) {
				break
			}
			err = nil
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, lines.Text(), err)
			return 1
		}
		fmt.Println(lines.Text())
	}
	return 0
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// 16 processes upload 2,000 pictures through one S3 server, another changes and removes some of them, upkeep runs in a loop, and each second
// a process is killed: all that was acknowledged is as it was acknowledged, and nothing is left to mend.
func TestKilledWritersBesideUpkeep(t *testing.T) {
	processes, pictures := 16, 2000
	if raceDetector() { // in every process: each takes ten times as long
		processes, pictures = 6, 400
	}
	f := startFleet(t, processes)
	curator := f.curator(t)
	drawable, weight := map[string]bool{}, 0
	var mu sync.Mutex
	n := 0
	acked := func(rec record) {
		mu.Lock()
		defer mu.Unlock()
		switch n++; {
		case n%20 == 0:
			curator.ask(t, "remove "+rec.ID)
		case n%20 == 10:
			curator.ask(t, "double "+rec.ID)
			weight++
			fallthrough
		default:
			drawable[rec.ID] = true
			weight++
		}
	}
	done, tended := make(chan struct{}), make(chan int, 1)
	go func() { f.upload(uint64(pictures), 2*processes, acked); close(done) }()
	go func() { tended <- f.tendUntil(t, done) }()
	began, kills := time.Now(), 0
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		case <-pace.C:
			f.kill(t, kills%processes)
			kills++
		}
	}
	runs := <-tended
	t.Logf("%d pictures in %v, %d kills, %d runs of tend", n, time.Since(began).Round(time.Second), kills, runs)
	curator.finish(t)
	if kills < 3 || runs < 2 || n != pictures || len(drawable) != pictures-pictures/20 {
		t.Errorf("%d kills, %d runs of tend, %d pictures acknowledged, %d of them drawable: the test tests nothing", kills, runs, n, len(drawable))
	}
	if out, err := program("fsck", "--s3-endpoint", f.endpoint).CombinedOutput(); err != nil {
		t.Errorf("fsck: %v: %s", err, out)
	}
	// Counted by a reader that is new, and drawn one by one.
	reader := start(t, t.TempDir(), "--s3-endpoint", f.endpoint)
	if got := decode[stats](t, reader.get(t, "/stats").body).Labels["dog"]; got.Pictures != len(drawable) || got.Weight != float64(weight) {
		t.Errorf("stats: %d pictures of weight %v, want %d of %d", got.Pictures, got.Weight, len(drawable), weight)
	}
	reader.wantDrawable(t, drawable)
}
