package index

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"petpick/src/blob"
)

// world is a scenario at the moment when its programs begin.
type world struct {
	sc            *scenario
	photos, store []blob.Object
	now           int64
	ledger        ledger
}

// newWorld does what comes before the programs.
func newWorld(sc *scenario) (*world, error) {
	r := newRun(sc, bounds{}, newBuckets(), newLedger())
	r.peace(parse(sc.before)[0])
	r.setCalm(true)
	r.stop()
	return &world{sc: sc, photos: objectsOf(r.w.photos), store: objectsOf(r.w.store), now: r.w.now.Load(), ledger: r.ledger}, r.failure
}

func objectsOf(m *blob.Memory) (objects []blob.Object) {
	page, err := m.List(context.Background(), "", "", 1000)
	for _, info := range page.Objects {
		var o blob.Object
		if o, err = m.Get(context.Background(), info.Key, ""); err != nil {
			break
		}
		objects = append(objects, o)
	}
	if err != nil {
		panic(err)
	}
	return objects
}

// open begins a run.
func (w *world) open(programs [][]op, b bounds) *run {
	buckets := newBuckets()
	for _, side := range []struct {
		mem     *blob.Memory
		objects []blob.Object
	}{{buckets.photos, w.photos}, {buckets.store, w.store}} {
		for _, o := range side.objects {
			buckets.now.Store(o.Modified.UnixNano())
			if _, err := side.mem.Create(context.Background(), o.Key, o.Body, o.Attr); err != nil {
				panic(err)
			}
		}
	}
	buckets.now.Store(w.now)
	r := newRun(w.sc, b, buckets, w.ledger.clone())
	r.start(programs)
	return r
}

func (b bounds) String() string {
	turns := "any number of turns"
	if b.switches >= 0 {
		turns = fmt.Sprintf("%d turns", b.switches)
	}
	return fmt.Sprintf("%d faults, %d deaths, %s", b.faults, b.crashes, turns)
}

// found is a run that failed.
type found struct {
	err      error
	programs [][]op
	bounds   bounds
	choices  []int
	trace    []string
}

func (f *found) word() string { word, _, _ := strings.Cut(f.err.Error(), ":"); return word }

// attempt makes a run to its end.
func (w *world) attempt(programs [][]op, b bounds, choose func(moves []move, well int) int, reindex, verbose bool) (*found, *run) {
	r := w.open(programs, b)
	r.verbose = verbose
	done := r.drive(choose)
	r.stop()
	if done {
		r.conclude(reindex)
		r.stop()
	}
	if r.failure == nil {
		return nil, r
	}
	return &found{r.failure, programs, b, r.choices, r.trace}, r
}

// repeat makes the choices of an earlier run, and then the first of what there is.
func repeat(choices []int) func(moves []move, well int) int {
	n := 0
	return func(moves []move, _ int) int {
		i := 0
		if n < len(choices) && choices[n] < len(moves) {
			i = choices[n]
		}
		n++
		return i
	}
}

// atRandom mostly goes on with what it has begun, and lets something go wrong now and then.
func atRandom(rnd *rand.Rand) func(moves []move, well int) int {
	return func(moves []move, well int) int {
		switch {
		case len(moves) > well && rnd.IntN(12) == 0:
			return well + rnd.IntN(len(moves)-well)
		case rnd.IntN(3) > 0:
			return 0
		}
		return rnd.IntN(well)
	}
}

// search is a walk through all schedules of a world within bounds, depth first, each run anew from its beginning. Where a run comes to a
// state in which another has been, it ends: what follows is known.
type search struct {
	w       *world
	bounds  bounds
	path    []junction // the choices of the present run
	depth   int        // of which the run has made so many
	visited map[uint64]bool
	led     error // elsewhere, by the same choices

	runs, complete int
	exhausted      bool
}

// junction is a state, with so many moves, the next of which is to be tried.
type junction struct {
	state       uint64
	moves, next int
}

func (s *search) String() string {
	return fmt.Sprintf("%v: %d runs, %d of them to the end, %d states, exhausted: %v", s.bounds, s.runs, s.complete, len(s.visited), s.exhausted)
}

// choose repeats the path, and goes on where nobody has been.
func (s *search) choose(r *run, moves int) int {
	state := r.state()
	if s.depth == len(s.path) {
		if s.visited[state] {
			return -1
		}
		s.visited[state] = true
		s.path = append(s.path, junction{state, moves, 0})
	}
	at := s.path[s.depth]
	if at.state != state || at.moves != moves {
		s.led = fmt.Errorf("nondeterministic: the same choices led elsewhere, at choice %d", s.depth)
		return -1
	}
	s.depth++
	return at.next
}

// back goes back to the last junction where something is left to be tried; false when there is none.
func (s *search) back() bool {
	for len(s.path) > 0 {
		last := &s.path[len(s.path)-1]
		if last.next++; last.next < last.moves {
			return true
		}
		s.path = s.path[:len(s.path)-1]
	}
	return false
}

// explore searches until all is known, something fails, or its time is over.
func (w *world) explore(b bounds, over func() bool) (*search, *found) {
	s := &search{w: w, bounds: b, visited: map[uint64]bool{}}
	programs := parse(w.sc.programs)
	for {
		r := w.open(programs, b)
		s.depth = 0
		done := r.drive(func(moves []move, _ int) int { return s.choose(r, len(moves)) })
		if done {
			state := r.state()
			done = !s.visited[state]
			s.visited[state] = true
		}
		r.stop()
		if done {
			r.conclude(s.complete%16 == 0)
			r.stop()
			s.complete++
		}
		s.runs++
		if err := cmp.Or(r.failure, s.led); err != nil {
			return s, &found{err: err, programs: programs, bounds: b, choices: r.choices}
		}
		if s.exhausted = !s.back(); s.exhausted || over() {
			return s, nil
		}
	}
}

// shrink looks for less that fails in the same way: fewer ops, fewer choices, more of the first choice.
func (w *world) shrink(f *found, tries int) *found {
	try := func(programs [][]op, choices []int) bool {
		if tries--; tries < 0 {
			return false
		}
		got, _ := w.attempt(programs, f.bounds, repeat(choices), false, false)
		if got == nil || got.word() != f.word() {
			return false
		}
		f = got
		for len(f.choices) > 0 && f.choices[len(f.choices)-1] == 0 {
			f.choices = f.choices[:len(f.choices)-1]
		}
		return true
	}
	for better := true; better && tries > 0; {
		better = false
		for p := 0; p < len(f.programs); p++ {
			for o := 0; o < len(f.programs[p]); o++ {
				less := slices.Clone(f.programs)
				less[p] = slices.Delete(slices.Clone(less[p]), o, o+1)
				if try(less, f.choices) {
					better = true
					o--
				}
			}
		}
		for size := len(f.choices); size > 0; size /= 2 {
			for at := 0; at+size <= len(f.choices); at += size {
				cut := slices.Delete(slices.Clone(f.choices), at, at+size)
				zero := slices.Clone(f.choices)
				clear(zero[at : at+size])
				if try(f.programs, cut) || slices.Max(f.choices[at:at+size]) > 0 && try(f.programs, zero) {
					better = true
				}
			}
		}
	}
	return f
}

// report tells of a failure as briefly as it can, and how to see it again.
func (w *world) report(t *testing.T, f *found) {
	t.Helper()
	f = w.shrink(f, 2000)
	again, _ := w.attempt(f.programs, f.bounds, repeat(f.choices), false, true)
	if again == nil || again.word() != f.word() {
		t.Errorf("%v\nnondeterministic: made again, the run ends otherwise: %v", f.err, again)
		return
	}
	t.Errorf("%v\nscenario %s, seed %d\nbefore: %s\nprograms: %s\n%s\nagain: go test ./src/index -run TestReplay -replay '%s'",
		again.err, w.sc.name, w.sc.seed, w.sc.before, format(f.programs), strings.Join(again.trace, "\n"), w.replay(f))
}

func (w *world) replay(f *found) string {
	b := f.bounds
	return fmt.Sprintf("%s; %d; %d %d %d; %s; %s", w.sc.name, w.sc.seed, b.faults, b.crashes, b.switches, format(f.programs), strings.Trim(fmt.Sprint(f.choices), "[]"))
}

// parseReplay reads what report has written.
func parseReplay(text string) (name string, seed uint64, b bounds, programs [][]op, choices []int, err error) {
	f := strings.Split(text, ";")
	if len(f) != 5 {
		return "", 0, b, nil, nil, fmt.Errorf("%d fields, want 5", len(f))
	}
	if seed, err = strconv.ParseUint(strings.TrimSpace(f[1]), 10, 64); err != nil {
		return
	}
	if _, err = fmt.Sscan(f[2], &b.faults, &b.crashes, &b.switches); err != nil {
		return
	}
	for _, s := range strings.Fields(f[4]) {
		var n int
		if n, err = strconv.Atoi(s); err != nil {
			return
		}
		choices = append(choices, n)
	}
	return strings.TrimSpace(f[0]), seed, b, parse(f[3]), choices, nil
}
