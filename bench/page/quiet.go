package page

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// What others may take of a machine before a measurement on it is marked: runnable threads on the average of the last minute, and the
// part of the CPU that the hypervisor gave to other guests.
const (
	busyLoad  = 0.5
	busySteal = 0.05
)

// Conditions are those of a measurement.
type Conditions struct {
	load  string // at the start
	ticks ticks
}

// Quiet waits until nobody else uses the machine, for two minutes at most, and notes what there is.
func Quiet(ctx context.Context) (Conditions, error) {
	return quiet(ctx, 2*time.Minute, 2*time.Second, Load)
}

func quiet(ctx context.Context, most, every time.Duration, load func() string) (Conditions, error) {
	tick, late := time.NewTicker(every), time.NewTimer(most)
	defer tick.Stop()
	defer late.Stop()
	for c := (Conditions{load: load()}); ; c.load = load() {
		if !busy(c.load) {
			c.ticks = now()
			return c, nil
		}
		select {
		case <-tick.C:
		case <-late.C:
			c.ticks = now()
			return c, nil
		case <-ctx.Done():
			return c, context.Cause(ctx)
		}
	}
}

// busy says so of a load average that is not known, too.
func busy(load string) bool {
	v, err := strconv.ParseFloat(load, 64)
	return err != nil || v >= busyLoad
}

// Text is for a page's first lines: the load average then and now, and what was stolen between.
func (c Conditions) Text() string { return c.text(Load(), now()) }

func (c Conditions) text(load string, end ticks) string {
	text := fmt.Sprintf("load average %s at the start and %s at the end", c.load, load)
	stolen := 0.0
	if end.all > c.ticks.all {
		stolen = float64(end.steal-c.ticks.steal) / float64(end.all-c.ticks.all)
		text += fmt.Sprintf(", %.1f%% of the CPU stolen by the hypervisor", 100*stolen)
	}
	if busy(c.load) || stolen > busySteal {
		text = "**measured on a busy machine**: " + text
	}
	return text
}

// ticks of all cores since the machine was started.
type ticks struct{ steal, all uint64 }

func now() ticks {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return parseTicks(line)
}

// parseTicks reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; what guests take is in user already.
func parseTicks(line string) (t ticks) {
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return t
	}
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return ticks{}
		}
		if t.all += n; i == 7 {
			t.steal = n
		}
	}
	return t
}
