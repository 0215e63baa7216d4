package fleet_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/index"
)

// What is assumed of Lambda: environments that can start at once, and more of them each ten seconds, as AWS documents it.
const (
	startsAtOnce = 1000
	startsEach   = 1000
	scaleEach    = 10 * time.Second
	// perEnvironment requests a second for each environment that the account may have: the other half of the same quota.
	perEnvironment = 10
	// placement is what AWS needs beside our own start: published for a Go function.
	placement = 42 * time.Millisecond
)

// lambda is a function: requests go to an idle environment, or start one, or are refused.
type lambda struct {
	mu          sync.Mutex
	bucket      *bucket
	idle        []index.All
	count, most int // environments, and how many the account may have
	began       time.Time
	requests    counter
	start, draw time.Duration // of the function's own work, at its part of a vCPU
}

// take returns an environment, and whether it has to start first; nil when Lambda says 429.
func (l *lambda) take() (x index.All, cold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests.add() > perEnvironment*l.most {
		return nil, false
	}
	if n := len(l.idle); n > 0 {
		x = l.idle[n-1]
		l.idle = l.idle[:n-1]
		return x, false
	}
	allowed := min(l.most, startsAtOnce+startsEach*int(time.Since(l.began)/scaleEach))
	if l.count >= allowed {
		return nil, false
	}
	l.count++
	return environment(l.bucket), true
}

func (l *lambda) give(x index.All) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, x)
}

// crowd is what became of the requests of a flash crowd.
type crowd struct {
	perSecond, most    int
	answered, refused  []int // by the second in which they came
	failed             int
	firsts, waits      []time.Duration // of the first second, and of those after the first five; sorted
	environments, root int             // environments that were started; reads of the root in the busiest second
}

// flash lets requests come at a steady rate to a function that has no environment.
func flash(t *testing.T, perSecond, most int, start, draw time.Duration, seconds int) (c crowd) {
	c = crowd{perSecond: perSecond, most: most, answered: make([]int, seconds), refused: make([]int, seconds)}
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		l := &lambda{bucket: b, most: most, began: time.Now(), start: start, draw: draw}
		l.requests.began = l.began
		var mu sync.Mutex
		var wg sync.WaitGroup
		each := time.Second / time.Duration(perSecond)
		for i := range perSecond * seconds {
			time.Sleep(time.Until(l.began.Add(time.Duration(i) * each)))
			second := min(seconds-1, int(time.Since(l.began)/time.Second))
			x, cold := l.take()
			if x == nil {
				c.refused[second]++
				continue
			}
			came := time.Now()
			wg.Go(func() {
				if cold {
					time.Sleep(placement + l.start)
				}
				time.Sleep(l.draw)
				_, err := x[label()].Draw(t.Context(), source{})
				took := time.Since(came)
				l.give(x)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					c.failed++
					return
				}
				c.answered[second]++
				switch {
				case second == 0:
					c.firsts = append(c.firsts, took)
				case second >= 5:
					c.waits = append(c.waits, took)
				}
			})
		}
		wg.Wait()
		time.Sleep(landed)
		c.environments, c.root = l.count, b.reads.busiest()
	})
	slices.Sort(c.firsts)
	slices.Sort(c.waits)
	return c
}

// TestFlashCrowd: a crowd that fits the environments that may start is answered whole.
func TestFlashCrowd(t *testing.T) {
	c := flash(t, 500, 1000, 300*time.Millisecond, 2*time.Millisecond, 8)
	if c.failed > 0 || slices.Max(c.refused) > 0 {
		t.Errorf("%d failed, refused by the second: %v", c.failed, c.refused)
	}
	if c.environments < 10 || c.environments > 500 {
		t.Errorf("%d environments were started for 500 draws a second", c.environments)
	}
	// And one that does not is refused in part.
	if c := flash(t, 5000, 100, 300*time.Millisecond, 2*time.Millisecond, 2); slices.Max(c.refused) == 0 {
		t.Error("nobody was refused by 100 environments that were all starting")
	}
}
