package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/blob"
	"petpick/src/index/journal"
	"petpick/src/index/root"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// A crowd is any number of processes that upload to one label through a store as slow as S3 is, in virtual time: what a minute of a
// great crowd comes to is known after seconds, and is the same each time but for calls that meet in the same nanosecond.
type crowd struct {
	load          load
	photos, store *blob.Memory

	mu       sync.Mutex // guards the rest
	rnd      *rand.Rand
	idle     []*Index // the one that was busy last is taken first, as Lambda does
	started  int      // processes
	sent     map[pet.ID]time.Time
	noted    map[pet.ID]time.Time // when the journal got its entry
	visible  map[pet.ID]time.Time // when a root first had it
	segments map[uint64]bool      // of which the pictures are in visible
	acked    []time.Duration
	failed   []Photo // were not acknowledged
	errs     []error
	calls    map[kind]int
	lost     int // swaps of the root
	wrong    []string
}

// load is what a crowd does.
type load struct {
	rate     float64 // uploads a second: a Poisson process
	lasts    time.Duration
	slowDown float64 // how many calls the store refuses
	// before comes the trickle of a label that is hardly used.
	trickle float64
	before  time.Duration
}

// kind of call, as they are counted and as slow as each is.
type kind string

const (
	gets  kind = "GET"
	puts  kind = "PUT"
	lists kind = "LIST"
	swaps kind = "swap"
)

// pace is a log-normal distribution: what network services take looks like one.
type pace struct{ median, p99 time.Duration }

var paces = map[kind]pace{
	gets:  {22 * time.Millisecond, 90 * time.Millisecond},
	puts:  {45 * time.Millisecond, 160 * time.Millisecond},
	lists: {45 * time.Millisecond, 180 * time.Millisecond},
	swaps: {55 * time.Millisecond, 180 * time.Millisecond},
}

func (p pace) draw(rnd *rand.Rand) time.Duration {
	const z99 = 2.3263 // standard deviations to the 99th percentile
	sigma := math.Log(float64(p.p99)/float64(p.median)) / z99
	return time.Duration(float64(p.median) * math.Exp(sigma*rnd.NormFloat64()))
}

// slowStore is a bucket as one process meets it.
type slowStore struct {
	*blob.Memory
	crowd *crowd
	rnd   *rand.Rand
}

// call takes its time, half of it before the fact and half after; a refused call never comes to its fact. What may be repeated is, up to
// three times, as the SDK does.
func (s *slowStore) call(ctx context.Context, k kind, key string, once bool, fact func() error) error {
	failed := func(why error) error {
		if k == gets || k == lists {
			return fmt.Errorf("%s %s: %w: %w", k, key, blob.ErrUnavailable, why)
		}
		return fmt.Errorf("%s %s: %w: %w: %w", k, key, blob.ErrUnclear, blob.ErrUnavailable, why)
	}
	for try := 1; ; try++ {
		s.crowd.count(k)
		took := paces[k].draw(s.rnd)
		if err := sleep(ctx, took/2); err != nil {
			return failed(err)
		}
		refused := s.rnd.Float64() < s.crowd.load.slowDown
		var err error
		if !refused {
			err = fact()
		}
		if errSleep := sleep(ctx, took-took/2); errSleep != nil {
			return failed(errSleep)
		}
		if !refused {
			return err
		}
		if once || try == 3 {
			return failed(errSlowDown)
		}
		if err := sleep(ctx, time.Duration(50+s.rnd.IntN(50))*time.Millisecond); err != nil {
			return failed(err)
		}
	}
}

var errSlowDown = errors.New("SlowDown")

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowStore) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (info blob.Info, err error) {
	return s.put(ctx, key, body, attr, func() (blob.Info, error) { return s.Memory.Create(ctx, key, body, attr) })
}

func (s *slowStore) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (info blob.Info, err error) {
	return s.put(ctx, key, body, attr, func() (blob.Info, error) { return s.Memory.Swap(ctx, key, etag, body, attr) })
}

func (s *slowStore) put(ctx context.Context, key string, body []byte, attr blob.Attr, fact func() (blob.Info, error)) (info blob.Info, err error) {
	k := puts
	if strings.HasSuffix(key, "/root") {
		k = swaps
	}
	err = s.call(ctx, k, key, attr.Once, func() error {
		info, err = fact()
		s.crowd.wrote(key, body, err)
		return err
	})
	return info, err
}

func (s *slowStore) Get(ctx context.Context, key, etag string) (o blob.Object, err error) {
	err = s.call(ctx, gets, key, false, func() error { o, err = s.Memory.Get(ctx, key, etag); return err })
	return o, err
}

func (s *slowStore) GetRange(ctx context.Context, key string, offset, n int64) (o blob.Object, err error) {
	err = s.call(ctx, gets, key, false, func() error { o, err = s.Memory.GetRange(ctx, key, offset, n); return err })
	return o, err
}

func (s *slowStore) Head(ctx context.Context, key string) (info blob.Info, err error) {
	err = s.call(ctx, gets, key, false, func() error { info, err = s.Memory.Head(ctx, key); return err })
	return info, err
}

func (s *slowStore) List(ctx context.Context, prefix, after string, limit int) (page blob.Page, err error) {
	err = s.call(ctx, lists, prefix, false, func() error { page, err = s.Memory.List(ctx, prefix, after, limit); return err })
	return page, err
}

func (s *slowStore) Delete(ctx context.Context, key string) error {
	return s.DeleteMany(ctx, []string{key})
}

// DeleteMany is a request for each 1,000 keys.
func (s *slowStore) DeleteMany(ctx context.Context, keys []string) error {
	for batch := range slices.Chunk(keys, 1000) {
		if err := s.call(ctx, puts, batch[0], false, func() error { return s.Memory.DeleteMany(ctx, batch) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *crowd) count(k kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[k]++
}

// wrote sees every write at the moment when it takes effect.
func (c *crowd) wrote(key string, body []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.HasSuffix(key, "/root"):
		if err != nil {
			c.lost++
			return
		}
		if err := c.sawRoot(body); err != nil {
			c.wrong = append(c.wrong, err.Error())
		}
	case err == nil && strings.HasPrefix(key, "journal/"):
		n, err := journal.Parse(key[strings.LastIndexByte(key, '/')+1:])
		if err != nil {
			c.wrong = append(c.wrong, err.Error())
			return
		}
		if _, again := c.noted[n.ID]; !again {
			c.noted[n.ID] = time.Now()
		}
	}
}

// sawRoot notes which pictures a root brings. Nothing is ever taken away here, so that its count is that of all pictures that were
// seen so far; one that is in it twice, or not any more, would make the difference.
func (c *crowd) sawRoot(body []byte) error {
	r, err := root.Decode(body)
	if err != nil {
		return err
	}
	saw := func(id pet.ID) {
		if _, before := c.visible[id]; !before {
			c.visible[id] = time.Now()
		}
	}
	for _, w := range r.Tail {
		saw(w.ID)
	}
	for _, o := range r.Overrides {
		if o.Weight > 0 {
			saw(o.ID)
		}
	}
	for _, row := range r.Rows {
		if c.segments[row.Name] {
			continue
		}
		c.segments[row.Name] = true
		o, err := c.store.Get(context.Background(), fmt.Sprintf("index/cat/segments/%016x", row.Name), "")
		if err != nil {
			return fmt.Errorf("root version %d lists a segment that is not there: %w", r.Version, err)
		}
		s, err := segment.Decode(o.Body, row)
		if err != nil {
			return err
		}
		for p := range s.All() {
			saw(p.ID)
		}
	}
	if n, _ := r.Counts(); n != len(c.visible) {
		return fmt.Errorf("root version %d has %d pictures, %d were seen so far", r.Version, n, len(c.visible))
	}
	return nil
}

func newCrowd(l load) *crowd {
	return &crowd{
		load: l, photos: blob.NewMemory(nil), store: blob.NewMemory(nil), rnd: rand.New(rand.NewPCG(1, 0)),
		sent: map[pet.ID]time.Time{}, noted: map[pet.ID]time.Time{}, visible: map[pet.ID]time.Time{}, segments: map[uint64]bool{},
		calls: map[kind]int{},
	}
}

// process is a new one: it knows nothing yet.
func (c *crowd) process() *Index {
	c.started++
	src := &lockedSource{src: rand.NewPCG(uint64(c.started), 1)}
	through := func(m *blob.Memory) blob.Store { return &slowStore{m, c, rand.New(src)} }
	return Open(Config{Label: "cat", Photos: through(c.photos), Index: through(c.store), Rand: src})
}

// take finds a process that is idle, or starts one: a process serves one request at a time.
func (c *crowd) take() *Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		x := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return x
	}
	return c.process()
}

func (c *crowd) upload(x *Index, i int) {
	id, body := picture(i)
	p := Photo{ID: id, Body: body, Width: 1, Height: 1, Weight: pet.Weight(1 + i%1000)}
	ctx, cancel := context.WithTimeout(context.Background(), 29*time.Second) // an API's time
	defer cancel()
	begin := time.Now()
	c.mu.Lock()
	c.sent[id] = begin
	c.mu.Unlock()
	_, err := x.Add(ctx, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, x)
	if err == nil {
		c.acked = append(c.acked, time.Since(begin))
		if _, seen := c.visible[id]; !seen {
			c.wrong = append(c.wrong, fmt.Sprintf("%s was acknowledged and is in no root", id))
		}
		return
	}
	c.failed = append(c.failed, p)
	c.errs = append(c.errs, err)
}

// run sends the load, beside upkeep, and waits until all of it is answered. It returns the time that it took to send.
func (c *crowd) run() {
	stop := make(chan struct{})
	var tending, sending sync.WaitGroup
	x := c.process()
	tending.Go(func() {
		for {
			select {
			case <-time.After(3 * time.Second):
			case <-stop:
				return
			}
			if err := x.Tend(context.Background()); err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, blob.ErrUnavailable) {
				c.mu.Lock()
				c.wrong = append(c.wrong, "tend: "+err.Error())
				c.mu.Unlock()
			}
		}
	})
	n := 0
	send := func(rate float64, lasts time.Duration) {
		for end := time.Now().Add(lasts); ; n++ {
			time.Sleep(time.Duration(c.rnd.ExpFloat64() / rate * float64(time.Second)))
			if time.Now().After(end) {
				return
			}
			x, i := c.take(), n
			sending.Go(func() { c.upload(x, i) })
		}
	}
	if c.load.before > 0 {
		send(c.load.trickle, c.load.before)
	}
	send(c.load.rate, c.load.lasts)
	sending.Wait()
	close(stop)
	tending.Wait()
}

// settle sends again what was not acknowledged, as clients do, and finds everything in the index, once.
func (c *crowd) settle(t *testing.T) {
	t.Helper()
	for _, what := range c.wrong[:min(len(c.wrong), 10)] {
		t.Error(what)
	}
	x := Open(Config{Label: "cat", Photos: c.photos, Index: c.store})
	for _, p := range c.failed {
		if _, err := x.Add(t.Context(), p); err != nil {
			t.Errorf("again: %v", err)
		}
	}
	if err := x.Tend(t.Context()); err != nil {
		t.Errorf("tend: %v", err)
	}
	weight := uint64(0)
	for i := range len(c.sent) {
		weight += uint64(1 + i%1000)
	}
	s, err := Open(Config{Label: "cat", Photos: c.photos, Index: c.store}).Stats(t.Context())
	if err != nil || s.Pictures != len(c.sent) || s.Total != weight {
		t.Errorf("%d pictures of weight %d, %v; uploaded were %d of %d", s.Pictures, s.Total, err, len(c.sent), weight)
	}
	if err := x.Check(t.Context(), false, func(f Fault) { t.Errorf("%s: %s", f.ID, f.What) }, func(int) {}); err != nil {
		t.Errorf("check: %v", err)
	}
}

// figures are what a crowd comes to.
type figures struct {
	uploads, processes, errs       int
	visible, fromNote, acked       spread
	swaps, lost, lists, gets, puts float64 // an upload
}

type spread struct{ median, p99, max time.Duration }

func (s spread) String() string {
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("%v/%v/%v", ms(s.median), ms(s.p99), ms(s.max))
}

func spreadOf(d []time.Duration) spread {
	if len(d) == 0 {
		return spread{}
	}
	slices.Sort(d)
	return spread{d[len(d)/2], d[len(d)*99/100], d[len(d)-1]}
}

func (c *crowd) figures() figures {
	var visible, fromNote []time.Duration
	for id, at := range c.visible {
		visible = append(visible, at.Sub(c.sent[id]))
		fromNote = append(fromNote, at.Sub(c.noted[id]))
	}
	n := float64(len(c.sent))
	each := func(k kind) float64 { return float64(c.calls[k]) / n }
	return figures{
		uploads: len(c.sent), processes: c.started, errs: len(c.failed),
		visible: spreadOf(visible), fromNote: spreadOf(fromNote), acked: spreadOf(c.acked),
		swaps: each(swaps), lost: float64(c.lost) / n, lists: each(lists), gets: each(gets), puts: each(puts),
	}
}

func (f figures) String() string {
	return fmt.Sprintf("%d uploads by %d processes, %d not acknowledged; visible %v, since the journal entry %v, acknowledged %v (median/p99/most); an upload: %.3f swaps (%.3f lost), %.3f LISTs, %.1f GETs, %.2f PUTs",
		f.uploads, f.processes, f.errs, f.visible, f.fromNote, f.acked, f.swaps, f.lost, f.lists, f.gets, f.puts)
}

// simulate runs a load to its end.
func simulate(t *testing.T, l load) (f figures) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(l)
		c.run()
		f = c.figures()
		t.Log(f)
		for _, err := range c.errs[:min(len(c.errs), 10)] {
			t.Log("not acknowledged: ", err)
		}
		c.settle(t)
	})
	return f
}

// bars are what a crowd must not exceed.
type bars struct {
	visible      time.Duration // p99
	swaps, lists float64       // an upload
	errs         float64       // uploads that a client must send again
}

var crowds = []struct {
	name string
	load load
	bars bars
}{
	{"1 a second", load{rate: 1, lasts: 2 * time.Minute}, bars{800 * time.Millisecond, 1.6, 2, 0}},
	{"30 a second", load{rate: 30, lasts: 20 * time.Second}, bars{800 * time.Millisecond, 1, 1, 0}},
	{"300 a second", load{rate: 300, lasts: 10 * time.Second}, bars{800 * time.Millisecond, 0.2, 0.2, 0}},
	{"3,000 a second", load{rate: 3000, lasts: 10 * time.Second}, bars{800 * time.Millisecond, 0.05, 0.05, 0}},
	{"3,000 a second, 1% of calls refused", load{rate: 3000, lasts: 10 * time.Second, slowDown: 0.01}, bars{800 * time.Millisecond, 0.05, 0.05, 0.001}},
	{"3,000 a second out of nothing", load{rate: 3000, lasts: 2 * time.Second, trickle: 1, before: 10 * time.Second}, bars{time.Second, 0.1, 0.1, 0}},
}

// A crowd's pictures are visible soon, at a price that is far below a swap for each, and none is lost or there twice.
func TestCrowd(t *testing.T) {
	for _, c := range crowds {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.load.rate > 1000 { // the beginning alone, when nobody knows of a crowd yet, costs more an upload
				c.load.lasts, c.bars.swaps, c.bars.lists = 2*time.Second, 0.1, 0.15
			}
			f := simulate(t, c.load)
			if f.visible.p99 > c.bars.visible || f.swaps > c.bars.swaps || f.lists > c.bars.lists || float64(f.errs) > c.bars.errs*float64(f.uploads) {
				t.Errorf("visible p99 %v, %.3f swaps, %.3f LISTs, %d of %d not acknowledged; want at most %+v", f.visible.p99, f.swaps, f.lists, f.errs, f.uploads, c.bars)
			}
		})
	}
}

// BenchmarkCrowd is not about the time that it takes: its figures are of the crowd's own time, and of its calls.
func BenchmarkCrowd(b *testing.B) {
	for _, c := range crowds {
		b.Run(c.name, func(b *testing.B) {
			var f figures
			for b.Loop() {
				f = figures{}
				// Virtual time is for tests only.
				ok := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: b.Name(), F: func(t *testing.T) {
					if f.uploads == 0 { // -count would repeat it
						f = simulate(t, c.load)
					}
				}}})
				if !ok {
					b.Fatal("see above")
				}
			}
			b.ReportMetric(float64(f.visible.p99.Milliseconds()), "p99-visible-ms")
			b.ReportMetric(f.swaps, "swaps/upload")
			b.ReportMetric(f.lists, "LISTs/upload")
			b.ReportMetric(f.gets, "GETs/upload")
			b.ReportMetric(0, "ns/op")
		})
	}
}
