package index

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/pet"
)

var (
	tortureFor  = flag.Duration("torture", 0, "how long TestTorture tries schedules at random; with it TestSchedules takes as long again for larger bounds")
	tortureSeed = flag.Uint64("seed", 0, "the only seed that TestTorture tries; 0 means new ones")
	replay      = flag.String("replay", "", "what TestReplay repeats, as a failure has printed it")
)

var (
	roomy  = limits{tail: 10, overrides: 10, segment: 100, merge: 2, absorb: 1}
	narrow = limits{tail: 0, overrides: 10, segment: 100, merge: 2, absorb: 1}
)

// Three pictures, of which two are in segments of their own, and one of those has an override that is old enough to be absorbed.
const settled = "add 1 5, add 2 6, add 3 4, set 1 8, rest 2m"

var scenarios = []scenario{
	{name: "add-against-add", limits: roomy, bounds: bounds{0, 0, 3}, more: [2]int{2, 0},
		programs: "add 1 5 | add 1 6"},
	{name: "add-fails", limits: narrow, bounds: bounds{1, 0, -1}, more: [2]int{3, 1},
		programs: "add 1 5, add 2 6"},
	{name: "add-dies", limits: narrow, bounds: bounds{0, 1, 1}, more: [2]int{1, 1},
		programs: "add 1 5 | add 2 6"},
	{name: "spill-against-add", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5 !list journal", programs: "sweep | add 2 6"},
	{name: "sweep-in-pages-against-add", limits: narrow, page: 1, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5 !list journal, add 2 6 !list journal", programs: "sweep | add 3 7"},
	{name: "two-handlers-of-one-process", limits: narrow, together: 2, bounds: bounds{0, 0, 1}, more: [2]int{1, 1},
		programs: "add 1 5 | add 2 6 | add 3 7"},
	{name: "set-against-set", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "set 1 7 | set 1 9"},
	{name: "set-against-set-back", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "set 1 7 | set 1 5"},
	{name: "first-against-first", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "first 1 7 | first 1 9"},
	{name: "first-against-set", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "first 1 7 | set 1 9"},
	{name: "first-fails", limits: roomy, bounds: bounds{2, 0, -1}, more: [2]int{3, 1},
		before: "add 1 5", programs: "first 1 7"},
	{name: "set-against-remove", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "set 1 7 | remove 1"},
	{name: "set-against-sweep", limits: roomy, bounds: bounds{0, 1, 2}, more: [2]int{1, 1},
		before: "add 1 5, set 1 7 !list journal", programs: "set 1 9 | sweep"},
	{name: "sweep-against-sweep", limits: narrow, bounds: bounds{1, 0, 1}, more: [2]int{2, 1},
		before: "add 1 5 !list journal, set 1 7 !list journal, add 2 6 !list journal", programs: "sweep | sweep"},
	{name: "remove-fails", limits: narrow, bounds: bounds{2, 0, -1}, more: [2]int{3, 1},
		before: "add 1 5", programs: "remove 1"},
	{name: "remove-against-remove", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "remove 1 | remove 1"},
	{name: "add-against-remove", limits: roomy, bounds: bounds{0, 0, -1}, more: [2]int{1, 1},
		programs: "add 1 5 | remove 1"},
	{name: "add-again-against-remove", limits: roomy, bounds: bounds{0, 0, -1}, more: [2]int{1, 1},
		before: "add 1 5", programs: "add 1 5 | remove 1"},
	{name: "add-against-remove-and-merge", limits: roomy, bounds: bounds{0, 0, 3}, more: [2]int{1, 0},
		programs: "add 1 5 | remove 1 | merge"},
	{name: "late-add-after-remove", limits: roomy, bounds: bounds{1, 0, 1}, more: [2]int{1, 1},
		programs: "add 1 5 | remove 1, rest 90s, merge"},
	{name: "late-delete-against-add", limits: roomy, bounds: bounds{1, 0, 1}, more: [2]int{2, 0},
		before: "add 1 5", programs: "remove 1 | rest 1m, add 1 6, rest 17m, add 1 6"},
	{name: "frozen-remover-against-add", limits: roomy, freezes: true, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5", programs: "remove 1 | rest 17m, add 1 6"},
	{name: "add-of-blocked", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5, block 1, rest 20m", programs: "add 1 5 | add 1 5"},
	{name: "revival-against-remove", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5, remove 1, rest 17m", programs: "add 1 6 | remove 1"},
	{name: "revival-against-revival", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5, remove 1, rest 17m, merge", programs: "add 1 6 | add 1 9"},
	{name: "orphaned-add-against-merge", limits: narrow, bounds: bounds{0, 1, 2}, more: [2]int{1, 1},
		programs: "add 1 5 | set 1 7, rest 90s, merge, sweep"},
	{name: "merge-against-merge", limits: narrow, bounds: bounds{0, 0, 3}, more: [2]int{1, 1},
		before: settled, programs: "merge | merge"},
	{name: "merge-against-merge-of-segments-alone", limits: narrow, bounds: bounds{0, 0, 3}, more: [2]int{1, 1},
		before: "add 1 5, add 2 6, add 3 4", programs: "merge | merge"},
	{name: "merge-against-set", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: settled, programs: "merge | set 1 2"},
	{name: "merge-against-set-of-another", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: settled, programs: "merge | set 2 9"},
	{name: "merge-against-add", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: settled, programs: "merge | add 4 7"},
	{name: "merge-of-some", limits: limits{tail: 2, overrides: 10, segment: 4, merge: 9, absorb: 1}, bounds: bounds{0, 0, 1}, more: [2]int{1, 1},
		before:   "add 1 5, add 2 6, add 3 4, add 4 4, add 5 3, add 6 2, add 7 9, add 8 1, set 1 8, set 2 7, set 3 5, set 4 3, set 5 2, set 6 1, rest 2m",
		programs: "merge | set 2 3"},
	// Two segments that are too large to be merged with each other; the override is of a picture in the second, in the range of both.
	{name: "merge-of-large", limits: limits{tail: 2, overrides: 10, segment: 4, merge: 9, absorb: 1}, absorbs: true,
		before: "add 6 5, add 3 6, add 5 4, add 4 4, add 7 3, set 5 9, rest 2m", programs: "merge"},
	{name: "collect-against-stalled-merge", limits: narrow, bounds: bounds{0, 0, -1}, more: [2]int{1, 1},
		before: settled, programs: "merge | rest 26h, collect"},
	{name: "draw-against-merge-and-collect", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: settled, programs: "draw | merge, rest 26h, collect"},
	{name: "old-view-against-merge-and-collect", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: settled, programs: "peek, peek, peek | merge, rest 26h, collect"},
	{name: "draw-against-remove", limits: narrow, bounds: bounds{0, 0, 1}, more: [2]int{0, 0},
		before: "add 1 5, add 2 4", programs: "draw, draw | remove 1"},
	{name: "reindex-against-add", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 0},
		before: "add 1 5", programs: "reindex | add 2 7"},
	{name: "reindex-against-spills", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 0},
		before: "add 1 5", programs: "reindex | add 2 7, add 3 6"},
	{name: "reindex-against-merge", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 0},
		before: settled, programs: "reindex | merge, add 4 7"},
	{name: "reindex-against-set", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 0},
		before: "add 1 5", programs: "reindex | set 1 7"},
	{name: "reindex-against-remove", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 0},
		before: "add 1 5", programs: "reindex | remove 1"},
	{name: "fsck-against-revival", limits: roomy, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: "add 1 5, remove 1, rest 17m", programs: "fsck | add 1 6"},
	{name: "fsck-against-merge-and-collect", limits: narrow, bounds: bounds{0, 0, 2}, more: [2]int{1, 1},
		before: settled + ", rest 26h", programs: "fsck | merge, collect"},
	{name: "fsck-against-remove", limits: roomy, bounds: bounds{0, 0, 1}, more: [2]int{1, 1},
		before: "add 1 5 !create ADD, remove 1 !delete photo", programs: "fsck | remove 1 | rest 17m, add 1 7"},
	{name: "fsck-against-set", limits: roomy, bounds: bounds{0, 0, 1}, more: [2]int{1, 1},
		before: "add 1 5 !create ADD, add 2 4, set 2 7 !create TOUCH", programs: "fsck | set 2 3"},
}

// TestSchedules goes through all schedules of small scenarios, within bounds. A long test has larger ones: more and more turns, until
// its time is over.
func TestSchedules(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			sc.seed = 1
			steps, over := []bounds{sc.bounds}, timer(time.Minute)
			if *tortureFor > 0 {
				over = timer(*tortureFor / time.Duration(len(scenarios)))
				for turns := range 6 {
					steps = append(steps, bounds{sc.more[0], sc.more[1], turns + 1})
				}
				steps = append(steps, bounds{sc.more[0], sc.more[1], -1})
			}
			if testing.Short() { // under the race detector all of it would take minutes and gigabytes, to find no other race
				over = timer(time.Second / 2)
			}
			for i, b := range steps {
				start := time.Now()
				synctest.Test(t, func(t *testing.T) { goThrough(t, &sc, b, i == 0 && !testing.Short(), over.Load) })
				if t.Logf("took %v", time.Since(start)); over.Load() || t.Failed() {
					break
				}
			}
		})
	}
}

// goThrough explores a scenario; a search that must be exhausted fails when it is not.
func goThrough(t *testing.T, sc *scenario, b bounds, must bool, over func() bool) {
	w, err := newWorld(sc)
	if err != nil {
		t.Fatal(err)
	}
	e, f := w.explore(b, over)
	switch {
	case f != nil && sc.fails == f.word():
		t.Logf("known: %v", f.err)
	case f != nil:
		w.report(t, f)
	case sc.fails != "" && must:
		t.Errorf("%q is not broken any more: take the mark away", sc.fails)
	case !e.exhausted && must:
		t.Error("not exhausted")
	}
	t.Log(e)
}

// timer is true after a time by the clock on the wall, which a bubble does not have.
func timer(d time.Duration) *atomic.Bool {
	var over atomic.Bool
	time.AfterFunc(d, func() { over.Store(true) })
	return &over
}

// storm is a scenario at random.
func storm(seed uint64) (*scenario, bounds, *rand.Rand) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	sc := &scenario{name: "storm", seed: seed, moving: true, limits: limits{tail: rnd.IntN(4), overrides: 8, segment: 4 + rnd.IntN(8), merge: 2, absorb: 1 + rnd.IntN(2)}, together: rnd.IntN(3), page: rnd.IntN(3)}
	var programs []string
	for range 2 + rnd.IntN(3) {
		var ops []string
		for range 2 + rnd.IntN(5) {
			pic := rnd.IntN(6)
			switch rnd.IntN(16) {
			case 0, 1, 2, 3, 4, 5:
				ops = append(ops, op{do: "add", pic: pic, weight: pet.Weight(1 + rnd.IntN(9))}.String())
			case 6, 7, 8:
				ops = append(ops, op{do: "set", pic: pic, weight: pet.Weight(rnd.IntN(9))}.String())
			case 9, 10:
				ops = append(ops, op{do: "remove", pic: pic}.String())
			case 11:
				ops = append(ops, op{do: "block", pic: pic}.String())
			case 12:
				ops = append(ops, []string{"tend", "fsck"}[rnd.IntN(2)])
			case 13:
				ops = append(ops, []string{"draw", "peek"}[rnd.IntN(2)])
			default:
				ops = append(ops, op{do: "rest", rest: []time.Duration{40 * time.Second, 90 * time.Second, 17 * time.Minute, 26 * time.Hour}[rnd.IntN(4)]}.String())
			}
		}
		programs = append(programs, strings.Join(ops, ", "))
	}
	sc.programs = strings.Join(programs, " | ")
	return sc, bounds{rnd.IntN(4), rnd.IntN(2), -1}, rnd
}

// TestTorture makes schedules at random of larger scenarios.
func TestTorture(t *testing.T) {
	over, start, runs := timer(max(*tortureFor, 2*time.Second)), time.Now(), 0
	for seed := uint64(start.UnixNano()); !over.Load() && !t.Failed(); seed += 100 {
		synctest.Test(t, func(t *testing.T) {
			for i := range uint64(100) {
				if *tortureSeed != 0 {
					i = *tortureSeed - seed
				}
				runs++
				if w, f := makeStorm(t, seed+i); f != nil {
					w.report(t, f)
				}
				if t.Failed() || *tortureSeed != 0 {
					return
				}
			}
		})
		if *tortureSeed != 0 {
			break
		}
	}
	t.Logf("%d schedules in %v", runs, time.Since(start))
}

func makeStorm(t *testing.T, seed uint64) (*world, *found) {
	sc, b, rnd := storm(seed)
	w, err := newWorld(sc)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := w.attempt(parse(sc.programs), b, atRandom(rnd), seed%8 == 0, false)
	return w, f
}

// A run is a pure function of its choices, as long as no two handlers share a process: which of two that wake at the same moment goes on
// first is the scheduler's choice, which the race detector makes at random.
func TestARunCanBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(100) {
			sc, b, rnd := storm(seed)
			if sc.together > 1 {
				continue
			}
			w, err := newWorld(sc)
			if err != nil {
				t.Fatal(err)
			}
			_, once := w.attempt(parse(sc.programs), b, atRandom(rnd), false, true)
			_, again := w.attempt(parse(sc.programs), b, repeat(once.choices), false, true)
			for i, line := range once.trace {
				if i >= len(again.trace) || again.trace[i] != line {
					t.Fatalf("seed %d: line %d was %q, and is another the second time", seed, i, line)
				}
			}
			if len(again.trace) != len(once.trace) || len(once.trace) == 0 {
				t.Errorf("seed %d: %d lines, then %d", seed, len(once.trace), len(again.trace))
			}
		}
	})
}

// A store that ignores If-Match loses pictures: that is found, made small, and written down so that it can be seen again.
func TestALaxStoreIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := scenario{name: "lax", seed: 1, limits: roomy, lax: true, before: "add 9 1", programs: "add 1 5, set 3 1, add 2 6 | draw, add 3 7, tend | tend"}
		w, err := newWorld(&sc)
		if err != nil {
			t.Fatal(err)
		}
		var f *found
		for seed := uint64(0); f == nil && seed < 1000; seed++ {
			f, _ = w.attempt(parse(sc.programs), bounds{1, 1, -1}, atRandom(rand.New(rand.NewPCG(seed, 1))), false, false)
		}
		if f == nil {
			t.Fatal("nothing is found")
		}
		f = w.shrink(f, 2000)
		if got := format(f.programs); strings.Count(got, "add")+strings.Count(got, "tend")+strings.Count(got, "set") > 3 || len(f.choices) > 12 {
			t.Errorf("%v, made small: %q, choices %v", f.err, got, f.choices)
		}
		_, _, b, programs, choices, err := parseReplay(w.replay(f))
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := w.attempt(programs, b, repeat(choices), false, false); again == nil || again.err.Error() != f.err.Error() {
			t.Errorf("seen again: %v, want %v", again, f.err)
		}
	})
}

func TestReplay(t *testing.T) {
	if *replay == "" {
		t.Skip("-replay says what")
	}
	name, seed, b, programs, choices, err := parseReplay(*replay)
	if err != nil {
		t.Fatal(err)
	}
	sc, _, _ := storm(seed)
	for _, s := range scenarios {
		if s.name == name {
			s.seed = seed
			sc = &s
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w, err := newWorld(sc)
		if err != nil {
			t.Fatal(err)
		}
		f, r := w.attempt(programs, b, repeat(choices), true, true)
		fmt.Println(strings.Join(r.trace, "\n"))
		if f != nil {
			t.Error(f.err)
		}
	})
}
