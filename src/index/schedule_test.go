package index

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index/segment"
	"petpick/src/pet"
)

// A run is the real code over a store that a controller holds: every call waits until the controller has chosen what becomes of it. So a run is
// a pure function of a scenario and a sequence of choices; it happens in a bubble of testing/synctest, where a moment in which every
// process waits can be recognised, and where pauses take no time.

// op is a step of a process.
type op struct {
	do     string
	pic    int
	weight pet.Weight
	rest   time.Duration // the clock moves on, beside nobody's change: no handler lives that long
	dies   string        // before the call that is described so; only in what happens before the run
}

// verbs say how many operands each has.
var verbs = map[string]int{"add": 2, "set": 2, "first": 2, "remove": 1, "block": 1, "sweep": 0, "merge": 0, "collect": 0, "tend": 0, "draw": 0, "peek": 0, "fsck": 0, "reindex": 0, "rest": 1}

func (o op) changes() bool {
	return o.do == "add" || o.do == "set" || o.do == "first" || o.do == "remove" || o.do == "block"
}

// brief ops are done by handlers, who live for 30 s: the clock does not rest while one is under way, unless it is frozen.
func (o op) brief() bool { return o.changes() || o.do == "fsck" }

func (o op) draws() bool { return o.do == "draw" || o.do == "peek" }

func (o op) String() string {
	s := o.do
	switch {
	case o.do == "rest":
		s += " " + o.rest.String()
	case verbs[o.do] == 2:
		s += fmt.Sprintf(" %d %d", o.pic, o.weight)
	case verbs[o.do] == 1:
		s += fmt.Sprintf(" %d", o.pic)
	}
	if o.dies != "" {
		s += " !" + o.dies
	}
	return s
}

// parse reads programs, one for each client: "add 1 5, rest 17m | set 1 7". An op that ends in "!swap root" dies before that call.
func parse(text string) (programs [][]op) {
	for _, part := range strings.Split(text, "|") {
		var ops []op
		for _, s := range strings.Split(part, ",") {
			s, dies, _ := strings.Cut(strings.TrimSpace(s), "!")
			f := strings.Fields(s)
			if len(f) == 0 {
				continue
			}
			o := op{do: f[0], dies: dies}
			if n, known := verbs[o.do]; !known || len(f) != n+1 {
				panic("no op: " + s)
			}
			var err1, err2 error
			switch {
			case o.do == "rest":
				o.rest, err1 = time.ParseDuration(f[1])
			case len(f) > 1:
				o.pic, err1 = strconv.Atoi(f[1])
			}
			if len(f) > 2 {
				var w int
				w, err2 = strconv.Atoi(f[2])
				o.weight = pet.Weight(w)
			}
			if err := errors.Join(err1, err2); err != nil {
				panic(err)
			}
			ops = append(ops, o)
		}
		programs = append(programs, ops)
	}
	return programs
}

func format(programs [][]op) string {
	var parts []string
	for _, ops := range programs {
		var s []string
		for _, o := range ops {
			s = append(s, o.String())
		}
		parts = append(parts, strings.Join(s, ", "))
	}
	return strings.Join(parts, " | ")
}

// bounds limit what may go wrong in a run: calls that fail, processes that die, and how often the controller turns from a process that
// could go on; -1 is no limit.
type bounds struct{ faults, crashes, switches int }

// scenario is a small world and what happens in it.
type scenario struct {
	name   string
	limits limits
	before string // done one after the other, in peace
	// programs run beside each other, each in a process of its own, but for the first few, which are handlers of one process.
	programs string
	together int
	bounds   bounds // of every test
	more     [2]int // faults and crashes of a long one
	seed     uint64
	// moving: the clock moves with every choice, and processes' clocks differ. Else it stands still between rests, so that schedules that
	// come to the same are recognised.
	moving bool
	// freezes: the clock also rests while handlers wait for an answer.
	freezes bool
	// absorbs: in the end upkeep leaves no overrides.
	absorbs bool
	// page is how many keys a LIST answers at a time; 0 is 1,000.
	page int
	// fails names the promise that is known to be broken here.
	fails string
	// lax: the store swaps whatever the ETag, so that the tests can be tested.
	lax bool
}

// host is a process. Its clock is 2 s ahead for each op that it has done, so that nothing that it remembers of one keeps it from another.
type host struct {
	r      *run
	n      int
	x      *Index
	rnd    segment.Source
	aims   segment.Source // of draws
	ctx    context.Context
	cancel context.CancelFunc
	dead   bool
	skew   time.Duration
	calls  int
	heard  uint64 // digest of all answers
	faults int
	dies   string
}

func (h *host) clock() time.Time {
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	return h.r.w.clock().Add(h.skew)
}

// actor is a client of a process: it does the ops of a program.
type actor struct {
	n       int
	h       *host
	program []op
	next    int // ops begun
	running bool
	begin   chan op
	ended   bool
	err     error
	pick    Pick

	mark    int  // the place in the truths of the op's picture that its own writes have reached
	blocked bool // the op's picture was blocked when it began
	roots   int  // published when it began
	faults  int  // of its host when it began
}

func (a *actor) op() op { return a.program[a.next-1] }

type actorKey struct{}

// call waits for the controller.
type call struct {
	h       *host
	a       *actor // nil: a reading of the root that many may wait for
	n       int    // of its host's
	ctx     context.Context
	mem     *blob.Memory
	op      blobtest.Op
	keys    []string
	once    bool
	blocked bool // its picture was, when its op began
	step    int  // the ops that its client had begun
	of      op   // the last of them
	signed  time.Time
	effect  func() error // makes the call, for nobody to hear
	answer  func()       // makes the call, for its caller
	err     error
	digest  string
	done    chan struct{}
}

// who waits for it: a client, or those of a process who wait for a reading of the root.
func (c *call) who() int {
	if c.a != nil {
		return 1 + c.a.n
	}
	return -1 - c.h.n
}

func (c *call) writes() bool {
	return c.op == blobtest.Create || c.op == blobtest.Swap || c.op == blobtest.Delete
}

func (c *call) String() string {
	var s []string
	for _, k := range c.keys {
		s = append(s, c.h.r.nameOf(k))
	}
	return string(c.op) + " " + strings.Join(s, ", ")
}

// port is a bucket as a process sees it.
type port struct {
	h   *host
	mem *blob.Memory
}

func ask[T any](p port, ctx context.Context, op blobtest.Op, keys []string, once bool, digest func(T) string, do func(context.Context) (T, error)) (T, error) {
	var got T
	c := &call{h: p.h, ctx: ctx, mem: p.mem, op: op, keys: keys, once: once, done: make(chan struct{})}
	c.a, _ = ctx.Value(actorKey{}).(*actor)
	c.effect = func() error { _, err := do(context.Background()); return err }
	c.answer = func() { got, c.err = do(context.Background()); c.digest = digest(got) }
	p.h.r.arrive(c)
	<-c.done
	return got, c.err
}

func infoDigest(i blob.Info) string { return i.ETag }

func objectDigest(o blob.Object) string { return o.ETag + o.Modified.String() }

func pageDigest(p blob.Page) string {
	var b strings.Builder
	for _, o := range p.Objects {
		b.WriteString(o.Key)
		b.WriteString(o.Modified.String())
	}
	return b.String()
}

func (p port) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	return ask(p, ctx, blobtest.Create, []string{key}, attr.Once, infoDigest, func(ctx context.Context) (blob.Info, error) { return p.mem.Create(ctx, key, body, attr) })
}

func (p port) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	return ask(p, ctx, blobtest.Swap, []string{key}, attr.Once, infoDigest, func(ctx context.Context) (blob.Info, error) {
		if now, err := p.mem.Head(ctx, key); err == nil && p.h.r.sc.lax {
			etag = now.ETag
		}
		return p.mem.Swap(ctx, key, etag, body, attr)
	})
}

func (p port) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	return ask(p, ctx, blobtest.Get, []string{key}, false, objectDigest, func(ctx context.Context) (blob.Object, error) { return p.mem.Get(ctx, key, etag) })
}

func (p port) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	return ask(p, ctx, blobtest.GetRange, []string{key}, false, objectDigest, func(ctx context.Context) (blob.Object, error) { return p.mem.GetRange(ctx, key, offset, n) })
}

func (p port) Head(ctx context.Context, key string) (blob.Info, error) {
	return ask(p, ctx, blobtest.Head, []string{key}, false, infoDigest, func(ctx context.Context) (blob.Info, error) { return p.mem.Head(ctx, key) })
}

func (p port) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	if n := p.h.r.sc.page; n > 0 {
		limit = n
	}
	return ask(p, ctx, blobtest.List, []string{prefix}, false, pageDigest, func(ctx context.Context) (blob.Page, error) { return p.mem.List(ctx, prefix, after, limit) })
}

func (p port) Delete(ctx context.Context, key string) error { return p.DeleteMany(ctx, []string{key}) }

func (p port) DeleteMany(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return ctx.Err()
	}
	_, err := ask(p, ctx, blobtest.Delete, slices.Clone(keys), false, func(struct{}) string { return "" }, func(ctx context.Context) (struct{}, error) { return struct{}{}, p.mem.DeleteMany(ctx, keys) })
	return err
}

// run is one schedule of a scenario.
type run struct {
	sc     *scenario
	bounds bounds // what is left of them
	w      *buckets
	ledger // what must be true

	mu      sync.Mutex // guards the next three, and the hosts' dead
	arrived []*call
	calm    bool // calls are made as they come
	failure error

	waiting []*call // in the order of hosts, and of their calls
	late    []*call // writes that were reported unclear, and land later
	hosts   []*host
	actors  []*actor
	last    int // whose call was answered last
	choices []int
	faulty  bool // something went wrong
	trace   []string
	verbose bool
}

func (r *run) fail(format string, args ...any) {
	if r.failure == nil {
		r.failure = fmt.Errorf(format, args...)
		r.note("FAILS: %v", r.failure)
	}
}

func (r *run) note(format string, args ...any) {
	if r.verbose {
		r.trace = append(r.trace, fmt.Sprintf(format, args...))
	}
}

func newRun(sc *scenario, b bounds, w *buckets, l ledger) *run {
	r := &run{sc: sc, bounds: b, w: w, ledger: l}
	r.eye = w.process()
	return r
}

// host opens a process on the run's buckets.
func (r *run) host() *host {
	h := &host{r: r, n: len(r.hosts)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if r.sc.moving { // clocks are a few seconds apart
		h.skew = time.Duration((r.sc.seed>>h.n)%7) * time.Second
	}
	h.rnd = &lockedSource{src: rand.NewPCG(r.sc.seed, uint64(h.n))}
	h.aims = h.rnd
	if !r.sc.moving {
		h.rnd = &counter{n: uint64(h.n)<<53 | r.version<<32, step: 1} // other names than in what came before
		h.aims = &counter{step: 0x9e3779b97f4a7c15}                   // the golden section: draws come to all parts of the index
	}
	h.x = h.open()
	r.hosts = append(r.hosts, h)
	return h
}

func (h *host) open() *Index {
	x := Open(Config{Label: "cat", Photos: port{h, h.r.w.photos}, Index: port{h, h.r.w.store}, Now: h.clock, Rand: h.rnd})
	x.limits = h.r.sc.limits
	return x
}

// counter is a source that has no luck: names differ, pauses are short, and nobody leaves a fold to others. Which of two handlers that
// wake at the same moment asks first makes no difference then.
type counter struct{ n, step uint64 }

func (c *counter) Uint64() uint64 { return atomic.AddUint64(&c.n, c.step) }

type lockedSource struct {
	mu  sync.Mutex
	src *rand.PCG
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Uint64()
}

func (r *run) start(programs [][]op) {
	var h *host
	for i, p := range programs {
		if i == 0 || i >= r.sc.together {
			h = r.host()
		}
		a := &actor{n: i, h: h, program: p, begin: make(chan op)}
		r.actors = append(r.actors, a)
		go func() {
			ctx := context.WithValue(a.h.ctx, actorKey{}, a)
			for o := range a.begin {
				pick, err := a.h.do(ctx, o)
				r.mu.Lock()
				a.pick, a.err, a.ended = pick, err, true
				r.mu.Unlock()
			}
		}()
	}
}

func (h *host) do(ctx context.Context, o op) (pick Pick, err error) {
	id, _ := picture(o.pic)
	switch o.do {
	case "add":
		_, err = h.x.Add(ctx, photoOf(o.pic, o.weight))
	case "set":
		_, err = h.x.Set(ctx, id, o.weight)
	case "first": // to decide on it
		_, err = h.x.SetIf(ctx, id, o.weight, func(p Picture) bool { return p.Seq == 0 })
	case "remove", "block":
		_, err = h.x.Remove(ctx, id, o.do == "block")
	case "sweep":
		err = h.x.sweep(ctx)
	case "merge":
		err = h.x.merge(ctx)
	case "collect":
		err = h.x.collect(ctx)
	case "tend":
		err = h.x.Tend(ctx)
	case "draw":
		pick, err = h.open().Draw(ctx, h.aims) // by a new reader: it must have read the root since
	case "peek":
		pick, err = h.x.Draw(ctx, h.aims) // by the process's own, whose view may be old
	case "fsck":
		err = h.x.Check(ctx, true, func(Fault) {}, func(int) {})
	case "reindex":
		err = h.x.Reindex(ctx, func(Fault) {}, func(int) {})
	}
	return pick, err
}

// arrive takes a call in. In peace it is made at once.
func (r *run) arrive(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.a != nil {
		c.blocked, c.step, c.of = c.a.blocked, c.a.next, c.a.op()
	}
	c.signed = r.w.clock()
	switch {
	case c.h.dead:
		r.failCall(c, "died")
	case r.calm && c.h.dies != "" && strings.Contains(c.String(), c.h.dies):
		c.h.dead = true
		c.h.cancel()
		r.failCall(c, "died")
	case r.calm:
		r.make(c)
		close(c.done)
	default:
		r.arrived = append(r.arrived, c)
	}
}

func (r *run) failCall(c *call, why string) {
	c.err = fmt.Errorf("%w: %s", blobtest.Outage(c.op, c.keys[0]), why)
	close(c.done)
}

// make makes a call and looks at what it did.
func (r *run) make(c *call) {
	c.answer()
	if c.writes() {
		r.observe(c, c.err)
		r.reach(c)
	}
}

// land makes a call that nobody hears of, and says whether it took effect.
func (r *run) land(c *call) bool {
	err := c.effect()
	r.observe(c, err)
	return err == nil
}

// settle lets the processes run until each waits for the controller, and begins the ops whose turn it is.
func (r *run) settle() {
	for tries := 0; ; tries++ {
		synctest.Wait()
		for r.turn() {
			synctest.Wait()
		}
		if r.failure != nil || r.covered(tries) {
			return
		}
		nap := 41 * time.Millisecond // longer than any pause
		if tries > 10 {
			nap = time.Second
		}
		if tries > 200 {
			r.fail("stuck: a process neither calls the store nor ends")
			return
		}
		time.Sleep(nap)
		if r.sc.moving || nap == time.Second { // somebody waits for the clock itself
			r.w.now.Add(int64(nap))
		}
	}
}

// turn takes calls in and ends and begins ops; one at a time, so that the order is always the same.
func (r *run) turn() bool {
	r.mu.Lock()
	arrived := r.arrived
	r.arrived = nil
	r.mu.Unlock()
	slices.SortStableFunc(arrived, func(a, b *call) int {
		soonest, _ := a.ctx.Deadline() // tells a fold's reading of the root from a reader's, in one process
		later, _ := b.ctx.Deadline()
		return cmp.Or(a.h.n-b.h.n, cmp.Compare(a.op, b.op), slices.Compare(a.keys, b.keys), soonest.Compare(later))
	})
	for _, c := range arrived {
		c.n = c.h.calls
		c.h.calls++
		r.waiting = append(r.waiting, c)
	}
	slices.SortFunc(r.waiting, func(a, b *call) int { return cmp.Or(a.h.n-b.h.n, a.n-b.n) })
	for _, a := range r.actors {
		r.mu.Lock()
		ended := a.ended
		a.ended = false
		r.mu.Unlock()
		if ended {
			a.running = false
			r.finish(a)
			if !r.sc.moving {
				r.mu.Lock()
				a.h.skew += 2 * time.Second
				r.mu.Unlock()
			}
			return true
		}
		if !a.running && !a.h.dead && a.next < len(a.program) && a.program[a.next].do != "rest" {
			o := a.program[a.next]
			a.next++
			a.running = true
			r.prepare(a, o)
			r.note("      p%d begins: %s", a.n, o)
			a.begin <- o
			return true
		}
	}
	return false
}

// covered: every process whose clients are busy waits for the controller.
func (r *run) covered(tries int) bool {
	busy, waits := make([]int, len(r.hosts)), make([]int, len(r.hosts))
	for _, a := range r.actors {
		if a.running {
			busy[a.h.n]++
		}
	}
	for _, c := range r.waiting {
		waits[c.h.n]++
	}
	for n := range busy {
		if waits[n] < busy[n] && (waits[n] == 0 || tries < 3) { // clients of one process wait for each other, too
			return false
		}
	}
	return true
}

// move is something that the controller can choose.
type move struct {
	how string
	c   *call
	h   *host
	a   *actor
}

func (m move) String() string {
	switch {
	case m.c != nil:
		return fmt.Sprintf("p%d %s: %s", m.c.h.n, m.c, m.how)
	case m.a != nil:
		return fmt.Sprintf("p%d %s", m.a.n, m.a.program[m.a.next])
	}
	return fmt.Sprintf("p%d: %s", m.h.n, m.how)
}

// How a call may go.
const (
	ok      = "ok"
	expired = "given up, for its time was over"
	lands   = "lands late"
	lost503 = "503, without effect"
	lost409 = "409"
	after   = "takes effect, but is reported unclear"
	later   = "reported unclear, may land late"
	twice   = "ok, but an earlier attempt of the SDK may land late"
	retried = "takes effect, but the SDK's second attempt finds that"
	first   = "half of the keys deleted, then 503"
	second  = "the other half of the keys deleted, then 503"
	crash   = "dies"
)

// moves lists what may happen next: the first is to go on with the same process; first all that goes well, then all that does not.
func (r *run) moves() (moves []move, well int) {
	mayTurn := r.bounds.switches != 0 || !slices.ContainsFunc(r.waiting, func(c *call) bool { return c.who() == r.last })
	var calls, others []*call
	for _, c := range r.waiting {
		if c.who() == r.last {
			calls = append(calls, c)
		} else {
			others = append(others, c)
		}
	}
	if mayTurn {
		calls = append(calls, others...)
	}
	for _, c := range calls {
		how := ok
		if c.ctx.Err() != nil {
			how = expired
		}
		moves = append(moves, move{how: how, c: c})
	}
	for _, c := range r.late {
		moves = append(moves, move{how: lands, c: c})
	}
	if r.mayRest() {
		for _, a := range r.actors {
			if !a.running && !a.h.dead && a.next < len(a.program) && a.program[a.next].do == "rest" {
				moves = append(moves, move{how: "rest", a: a})
			}
		}
	}
	well = len(moves)
	if r.bounds.faults != 0 {
		for _, c := range calls {
			if c.ctx.Err() == nil {
				for _, how := range r.faultsOf(c) {
					moves = append(moves, move{how: how, c: c})
				}
			}
		}
	}
	if r.bounds.crashes != 0 {
		for _, h := range r.hosts {
			if slices.ContainsFunc(calls, func(c *call) bool { return c.h == h }) {
				moves = append(moves, move{how: crash, h: h})
			}
		}
	}
	return moves, well
}

// mayRest: no handler lives for as long as a rest, but one may be frozen, and then go on. A write under way would be over by then: it was
// signed before.
func (r *run) mayRest() bool {
	if r.sc.freezes {
		return !slices.ContainsFunc(r.waiting, (*call).writes)
	}
	return !slices.ContainsFunc(r.actors, func(a *actor) bool { return a.running && a.op().brief() })
}

func (r *run) faultsOf(c *call) []string {
	if !c.writes() {
		return []string{lost503}
	}
	hows := []string{lost503, after, later}
	if r.sc.moving && c.op != blobtest.Delete { // elsewhere it would be the same as a 503
		hows = append(hows, lost409)
	}
	if !c.once { // what the SDK tries again
		hows = append(hows, twice)
		if c.op == blobtest.Create {
			hows = append(hows, retried)
		}
	}
	if len(c.keys) > 1 {
		hows = append(hows, first, second)
	}
	return hows
}

func (r *run) apply(m move) {
	r.note("%5d %s", len(r.choices), m)
	if r.sc.moving {
		r.w.now.Add(int64(time.Millisecond))
	}
	switch {
	case m.how == lands:
		r.late = slices.DeleteFunc(r.late, func(c *call) bool { return c == m.c })
		if r.land(m.c) {
			r.landedLate(m.c)
		}
	case m.a != nil:
		m.a.next++
		r.rest(m.a.program[m.a.next-1].rest)
	case m.h != nil:
		r.bounds.crashes--
		r.faulty = true
		r.kill(m.h)
	default:
		r.turnTo(m.c.who())
		if m.how != ok {
			r.faulty = true
			m.c.h.faults++
			if m.how != expired {
				r.bounds.faults--
			}
		}
		r.answer(m.c, m.how)
	}
}

func (r *run) turnTo(who int) {
	if r.last != who && r.bounds.switches > 0 && slices.ContainsFunc(r.waiting, func(c *call) bool { return c.who() == r.last }) {
		r.bounds.switches--
	}
	r.last = who
}

// answer makes what becomes of a call, and lets its caller go on.
func (r *run) answer(c *call, how string) {
	if how != ok && how != twice {
		c.err = blobtest.Outage(c.op, c.keys[0])
	}
	switch how {
	case ok, twice:
		r.make(c)
	case lost409:
		c.err = fmt.Errorf("%s: %w: 409", c.op, blob.ErrUnclear)
	case after:
		r.land(c)
	case retried:
		r.land(c)
		c.answer()
	case first:
		r.observe(c, c.mem.DeleteMany(context.Background(), c.keys[:len(c.keys)/2]))
	case second:
		r.observe(c, c.mem.DeleteMany(context.Background(), c.keys[len(c.keys)/2:]))
	}
	if c.writes() {
		r.reach(c)
	}
	if how == later || how == twice {
		r.late = append(r.late, c)
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(w *call) bool { return w == c })
	text := ""
	if c.err != nil {
		text = c.err.Error()
	}
	c.h.heard += mix(uint64(c.n), text, c.digest) // a sum: the order of calls that wait beside each other says nothing
	close(c.done)
}

// rest moves the clock. What was signed too long ago lands no more.
func (r *run) rest(d time.Duration) {
	r.w.now.Add(int64(d))
	r.late = slices.DeleteFunc(r.late, func(c *call) bool { return r.w.clock().Sub(c.signed) > 15*time.Minute })
}

// kill ends a process: nothing that it still asks for happens.
func (r *run) kill(h *host) {
	r.mu.Lock()
	h.dead = true
	r.mu.Unlock()
	h.cancel()
	for _, c := range r.waiting {
		if c.h == h {
			r.failCall(c, "died")
		}
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(c *call) bool { return c.h == h })
}

// drive lets choose decide until all is done, something fails, or it chooses -1. It says whether all was done.
func (r *run) drive(choose func(moves []move, well int) int) bool {
	for {
		r.settle()
		if r.failure != nil {
			return false
		}
		moves, well := r.moves()
		if len(moves) == 0 {
			return true
		}
		i := choose(moves, well)
		if i < 0 {
			return false
		}
		r.choices = append(r.choices, i)
		r.apply(moves[i])
		if r.failure != nil {
			return false
		}
	}
}

// stop ends all that is still under way.
func (r *run) stop() {
	for _, h := range r.hosts {
		r.kill(h)
	}
	for {
		synctest.Wait()
		r.mu.Lock()
		for _, c := range r.arrived {
			r.failCall(c, "died")
		}
		r.arrived = nil
		busy := slices.ContainsFunc(r.actors, func(a *actor) bool { return a.running && !a.ended })
		r.mu.Unlock()
		if !busy {
			break
		}
		time.Sleep(time.Second)
	}
	for _, a := range r.actors {
		close(a.begin)
	}
	r.actors = nil
	synctest.Wait()
}

var hashSeed = maphash.MakeSeed()

func mix(n uint64, texts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	writeUint(&h, n)
	for _, s := range texts {
		h.WriteString(s)
		h.WriteByte(0)
	}
	return h.Sum64()
}

func writeUint(h *maphash.Hash, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

// state is a digest of all that the rest of the run depends on, but for how much of a timeout has passed: what the processes have heard, the
// stores, what is under way, the bounds that are left, and the ledger.
func (r *run) state() uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	put := func(n int) { writeUint(&h, uint64(n)) }
	for _, p := range r.hosts {
		writeUint(&h, p.heard)
		put(p.calls)
		if p.dead {
			put(-1)
		}
	}
	for _, a := range r.actors {
		put(a.next)
		put(a.mark)
		if a.running {
			put(-1)
		}
		if a.blocked {
			put(-2)
		}
		if a.running && a.op().draws() {
			put(len(r.roots) - a.roots)
		}
	}
	var late uint64
	for _, c := range r.late {
		late += mix(uint64(c.h.n), strconv.Itoa(c.n))
	}
	writeUint(&h, late)
	writeUint(&h, r.objects)
	writeUint(&h, uint64(r.w.now.Load()))
	put(r.bounds.faults)
	put(r.bounds.crashes)
	put(r.bounds.switches)
	if r.bounds.switches >= 0 {
		put(r.last)
	}
	r.ledger.digest(&h)
	return h.Sum64()
}
