package index

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/index/root"
	"petpick/src/pet"
	"petpick/src/truth"
)

// pictures is how many a scenario may use.
const pictures = 10

var numberOf = func() map[pet.ID]int {
	m := map[pet.ID]int{}
	for i := range pictures {
		id, _ := picture(i)
		m[id] = i
	}
	return m
}()

// pictureIn finds the picture that a key speaks of.
func pictureIn(key string) (int, bool) {
	for _, part := range strings.FieldsFunc(key, func(r rune) bool { return r == '/' || r == '-' || r == '.' }) {
		if id, err := pet.ParseID(part); err == nil {
			i, known := numberOf[id]
			return i, known
		}
	}
	return 0, false
}

// nameOf is a key for people.
func (r *run) nameOf(key string) string {
	i, _ := pictureIn(key)
	switch {
	case strings.HasPrefix(key, "cat/") && len(key) > 4:
		return fmt.Sprintf("photo %d", i)
	case strings.HasPrefix(key, "verdicts/") && len(key) > 20:
		return fmt.Sprintf("verdict %d", i)
	case strings.HasPrefix(key, "journal/") && strings.Contains(key, "-add-"):
		return fmt.Sprintf("ADD %d", i)
	case strings.HasPrefix(key, "journal/") && strings.Contains(key, "-touch"):
		return fmt.Sprintf("TOUCH %d", i)
	case strings.HasSuffix(key, "/root"):
		return "root"
	case strings.HasPrefix(key, "index/") && !strings.HasSuffix(key, "/"):
		return "segment " + key[len(key)-4:]
	}
	return key
}

// account is what is known of a picture.
type account struct {
	truths []pet.Weight // all that the truth ever said, in order
	floor  int          // what is acknowledged: the index says this truth, or a later one
	broken bool         // a change of it was not acknowledged: it may be half done
	first  bool         // somebody was the first to decide on it
	stray  bool         // a late upload of its bytes has landed: no order of ours keeps it from landing after a removal
	// What is so at present: blocked, removed or blocked, with bytes in the photos bucket.
	blocked, removed, bytes bool
}

// ledger is what must be true of a run; it looks at the stores after every write.
type ledger struct {
	eye      *Index // reads what is there, and waits for nobody
	accounts []account
	said     []pet.Weight // by the present root
	version  uint64       // of it
	roots    [][]pet.Weight
	hashes   map[string]uint64
	objects  uint64 // digest of all objects: the sum of hashes
}

func newLedger() ledger {
	l := ledger{accounts: make([]account, pictures), said: make([]pet.Weight, pictures), hashes: map[string]uint64{}}
	for i := range l.accounts {
		l.accounts[i].truths = []pet.Weight{0}
	}
	l.roots = [][]pet.Weight{l.said}
	return l
}

func (l ledger) clone() ledger {
	l.accounts = slices.Clone(l.accounts)
	for i := range l.accounts {
		l.accounts[i].truths = slices.Clone(l.accounts[i].truths)
	}
	l.roots, l.hashes = slices.Clone(l.roots), maps.Clone(l.hashes)
	return l
}

func (l ledger) digest(h *maphash.Hash) {
	for _, a := range l.accounts {
		writeUint(h, uint64(len(a.truths)))
		for _, w := range a.truths {
			writeUint(h, uint64(w))
		}
		writeUint(h, uint64(a.floor))
		if a.broken {
			writeUint(h, 1)
		}
		if a.stray {
			writeUint(h, 2)
		}
		if a.first {
			writeUint(h, 3)
		}
	}
}

// observe looks at what a write has changed.
func (r *run) observe(c *call, err error) {
	if err != nil && c.op != blobtest.Delete {
		return
	}
	for _, key := range c.keys {
		info, err := c.mem.Head(context.Background(), key)
		hash := uint64(0)
		if err == nil {
			hash = mix(uint64(info.Modified.Unix()), key, info.ETag)
		}
		r.objects += hash - r.hashes[key]
		if r.hashes[key] = hash; hash == 0 {
			delete(r.hashes, key)
		}
		i, known := pictureIn(key)
		switch {
		case c.mem == r.w.photos && known:
			r.truthChanged(c, i)
		case strings.HasSuffix(key, "/root"):
			r.rootChanged()
		case c.op == blobtest.Delete && strings.Contains(key, "/segments/"):
			r.checkRoot()
		}
	}
}

// reach notes how far the truth of a picture is, when a write of its client's was answered.
func (r *run) reach(c *call) {
	if c.a == nil || c.mem != r.w.photos || !c.a.running {
		return
	}
	if i, known := pictureIn(c.keys[0]); known && i == c.a.op().pic {
		c.a.mark = len(r.accounts[i].truths) - 1
	}
}

// landedLate: the write may have been its op's own, which waits to find it there.
func (r *run) landedLate(c *call) {
	if c.a != nil && c.step == c.a.next {
		r.reach(c)
	}
	if i, known := pictureIn(c.keys[0]); known && c.op == blobtest.Create && c.keys[0] == pet.Key("cat", idOf(i)) {
		r.accounts[i].stray = true
	}
}

func idOf(i int) pet.ID { id, _ := picture(i); return id }

func (r *run) truthChanged(c *call, i int) {
	a := &r.accounts[i]
	id, _ := picture(i)
	p, err := r.eye.Look(context.Background(), id)
	if err != nil && !truth.Gone(err) {
		r.fail("format: %v", err)
	}
	if truth.Gone(err) {
		p.Weight = 0
	}
	a.truths = append(a.truths, p.Weight)
	_, err2 := r.w.photos.Head(context.Background(), pet.Key("cat", id))
	a.bytes = err2 == nil
	blocked := errors.Is(err, ErrBlocked)
	if a.blocked && !blocked && c.of.do != "remove" { // which lifts a block
		r.fail("unblocked: picture %d was blocked, and nobody has asked to lift that", i)
	}
	if a.blocked && c.blocked && c.op == blobtest.Create && c.keys[0] == pet.Key("cat", id) {
		r.fail("blocked-published: picture %d was blocked before its upload began, and its bytes were written", i)
	}
	down := blocked || errors.Is(err, ErrRemoved)
	if down && !a.removed && c.of.do != "remove" && c.of.do != "block" {
		r.fail("unasked: picture %d was removed, and nobody has asked for that", i)
	}
	a.blocked, a.removed = blocked, down
	r.checkPicture(i)
}

// checkRoot reads the present root.
func (r *run) checkRoot() *root.Root {
	root, err := r.w.root(context.Background())
	if err != nil {
		r.fail("format: %v", err)
		return nil
	}
	mass, err := r.w.mass(context.Background(), root)
	if err != nil {
		r.fail("%w", err)
		return nil
	}
	r.said = make([]pet.Weight, pictures)
	for id, w := range mass {
		i, known := numberOf[id]
		if !known {
			r.fail("unknown: %s is in the index", id)
			return nil
		}
		r.said[i] = w
	}
	return root
}

func (r *run) rootChanged() {
	root := r.checkRoot()
	if root == nil {
		return
	}
	before := r.version
	r.version = root.Version
	r.roots = append(r.roots, r.said)
	r.note("        root %d: %v, %d segments, %d in the tail, %d overrides", root.Version, r.said, len(root.Rows), len(root.Tail), len(root.Overrides))
	for i := range r.accounts {
		r.checkPicture(i)
	}
	if root.Version <= before {
		r.fail("version: root %d follows root %d", root.Version, before)
	}
}

// checkPicture: the index says a truth that is not older than what was acknowledged, and nothing that has no bytes.
func (r *run) checkPicture(i int) {
	a, said := r.accounts[i], r.said[i]
	allowed := a.truths[a.floor:]
	if said > 0 && !a.bytes {
		r.fail("bytes-gone: picture %d can be drawn, and its bytes are gone", i)
	}
	if slices.Contains(allowed, said) {
		return
	}
	word := "weight"
	switch {
	case slices.Max(allowed) == 0:
		word = "removed-drawn"
	case said == 0:
		word = "lost"
	}
	r.fail("%s: the index says %d of picture %d; since what was acknowledged the truth was %v", word, said, i, allowed)
}

// prepare notes what is when an op begins.
func (r *run) prepare(a *actor, o op) {
	a.mark, a.blocked = 0, false
	if o.changes() {
		a.mark = len(r.accounts[o.pic].truths) - 1
		a.blocked = r.accounts[o.pic].blocked
	}
	a.roots, a.faults = len(r.roots)-1, a.h.faults
}

// finish holds the answer of an op against the promises.
func (r *run) finish(a *actor) {
	o, err := a.op(), a.err
	r.note("      p%d has done: %s: %v", a.n, o, err)
	clean := err == nil || errors.Is(err, ErrChanged) || truth.Gone(err) && !errors.Is(err, blob.ErrUnavailable) && !errors.Is(err, blob.ErrUnclear) && !errors.Is(err, ErrBusy)
	if !clean && errors.Is(err, ErrFormat) {
		r.fail("format: %s: %v", o, err)
	}
	// Time may be short, and upkeep may meet upkeep that has merged and collected what it reads; fsck goes on by the next root.
	late := errors.Is(err, ErrBusy) || errors.Is(err, context.DeadlineExceeded) || !o.changes() && o.do != "fsck" && errors.Is(err, blob.ErrNotFound)
	if !clean && !late && !r.faulty && !a.h.dead && !o.draws() {
		r.fail("refused: %s: %v", o, err)
	}
	switch {
	case o.changes():
		acc := &r.accounts[o.pic]
		if !clean || errors.Is(err, ErrChanged) && r.faulty { // the answer to its change may have been lost
			acc.broken = true
		}
		if errors.Is(err, ErrChanged) && len(r.actors) == 1 {
			r.fail("refused: %s: %v, and nobody else was here", o, err)
		}
		if err != nil {
			return
		}
		if o.do == "first" {
			if acc.first {
				r.fail("both-first: two have decided on picture %d as the first", o.pic)
			}
			acc.first = true
		}
		acc.floor = max(acc.floor, a.mark)
		if said := r.said[o.pic]; !slices.Contains(acc.truths[acc.floor:], said) {
			word := "acked-not-there"
			if slices.Max(acc.truths[acc.floor:]) == 0 {
				word = "removed-drawn"
			}
			r.fail("%s: %q is acknowledged, and the index says %d; since then the truth was %v", word, o, said, acc.truths[acc.floor:])
		}
	case o.draws():
		r.finishDraw(a)
	}
}

// finishDraw: what a new reader has drawn was in a root since it began; "empty" was true since then whoever says it.
func (r *run) finishDraw(a *actor) {
	if a.h.dead || a.h.faults > a.faults || a.op().do == "peek" && a.h.faults > 0 { // a process remembers that the store failed, for a second
		return
	}
	i, empty := numberOf[a.pick.ID], errors.Is(a.err, ErrEmpty)
	if a.err != nil && !empty {
		r.fail("refused: draw: %v", a.err)
		return
	}
	since := a.roots
	if a.op().do == "peek" && !empty {
		since = 0
	}
	for _, said := range r.roots[since:] {
		if empty && slices.Max(said) == 0 || !empty && said[i] == a.pick.Weight {
			return
		}
	}
	r.fail("drawn: picture %d of weight %d, empty: %v; the roots since the draw began say %v", i, a.pick.Weight, empty, r.roots[a.roots:])
}

// peace does ops one after the other, while nothing else happens.
func (r *run) peace(ops []op) {
	r.setCalm(true)
	h := r.host()
	for _, o := range ops {
		if o.do == "rest" {
			r.rest(o.rest)
			continue
		}
		h.dies = o.dies
		a := &actor{h: h, program: []op{o}, next: 1, running: true}
		r.prepare(a, o)
		a.pick, a.err = h.do(context.WithValue(h.ctx, actorKey{}, a), o)
		r.finish(a)
		if h.dead != (o.dies != "") || !h.dead && a.err != nil {
			r.fail("before: %s: %v", o, a.err)
		}
		if h.dead {
			h = r.host()
		}
	}
	r.setCalm(false)
}

func (r *run) setCalm(calm bool) {
	r.mu.Lock()
	r.calm = calm
	r.mu.Unlock()
}

// conclude is what follows a run whose processes have all finished or died: peace, upkeep, fsck, and at times reindex.
func (r *run) conclude(reindex bool) {
	if r.failure != nil {
		return
	}
	r.setCalm(true)
	r.note("      peace")
	h := r.host()
	ctx := h.ctx
	do := func(what string, f func() error) {
		if r.failure != nil {
			return
		}
		if err := f(); err != nil && r.failure == nil {
			r.fail("stuck: %s: %v", what, err)
		}
	}
	do("sweep", func() error { return h.x.sweep(ctx) })
	for range 3 { // more than one only where there were too many overrides
		r.rest(2 * time.Minute)
		do("merge", func() error { return h.x.merge(ctx) })
		if len(r.keys("journal/")) == 0 {
			break
		}
		do("sweep", func() error { return h.x.sweep(ctx) })
	}
	if n := len(r.keys("journal/")); n > 0 {
		r.fail("journal-left: %d entries", n)
	}
	r.compare(false) // nothing that was acknowledged needs healing
	r.heal(h, do)
	r.compare(true)
	if r.sc.absorbs {
		r.absorb(h, do)
	}
	r.rest(2 * collectAge)
	do("tend", func() error { return h.x.Tend(ctx) })
	r.rest(2 * collectAge)
	do("collect", func() error { return h.x.collect(ctx) })
	if root := r.checkRoot(); root != nil && r.failure == nil && len(r.keys("index/cat/segments/")) != len(root.Rows) {
		r.fail("segments-left: %d, of which %d are listed", len(r.keys("index/cat/segments/")), len(root.Rows))
	}
	if reindex && r.failure == nil {
		r.w.store = blob.NewMemory(r.w.clock)
		h = r.host()
		do("reindex", func() error {
			return h.x.Reindex(h.ctx, func(f Fault) { r.fail("reindex: %s: %s", f.ID, f.What) }, func(int) {})
		})
		r.compare(true)
	}
}

// absorb merges until no override is left that is worth a merge: else they would be full one day, and every change refused.
func (r *run) absorb(h *host, do func(string, func() error)) {
	for range 12 {
		root := r.checkRoot()
		if r.failure != nil || len(root.Overrides) < r.sc.limits.absorb {
			return
		}
		r.rest(2 * time.Minute)
		do("merge", func() error { return h.x.merge(h.ctx) })
	}
	r.fail("overrides-left: upkeep does not absorb them")
}

// heal is fsck until it finds nothing: what was half done is found once.
func (r *run) heal(h *host, do func(string, func() error)) {
	for round := range 5 {
		faults, busy := 0, false
		do("fsck", func() error {
			err := h.x.Check(h.ctx, true, func(f Fault) { faults++; r.note("      fsck: %s", f.What) }, func(int) {})
			if busy = errors.Is(err, ErrBusy); busy { // overrides are few: upkeep makes room
				return nil
			}
			return err
		})
		if r.failure != nil || faults == 0 && !busy {
			return
		}
		if round > 0 && !busy {
			r.fail("fsck: %d faults are still found", faults)
		}
		if busy {
			r.rest(2 * collectAge)
			do("tend", func() error { return h.x.Tend(h.ctx) })
		}
	}
	r.fail("fsck: busy for ever")
}

// compare holds the index against the truth: before fsck of what was acknowledged, after it of all.
func (r *run) compare(healed bool) {
	r.checkRoot()
	for i, a := range r.accounts {
		if a.broken && !healed || r.failure != nil {
			continue
		}
		truth := a.truths[len(a.truths)-1]
		word := "weight"
		switch said := r.said[i]; {
		case said == truth:
			word = ""
		case truth == 0:
			word = "removed-drawn"
		case said == 0:
			word = "lost"
		}
		if word != "" {
			r.fail("%s: in the end the index says %d of picture %d, the truth %d", word, r.said[i], i, truth)
		}
		if _, err := r.eye.Look(context.Background(), idOf(i)); a.bytes && (healed || !a.stray) && (errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked)) {
			r.fail("bytes-left: picture %d is removed, and its bytes are there", i)
		}
	}
}

func (r *run) keys(prefix string) []blob.Info {
	page, err := r.w.store.List(context.Background(), prefix, "", 1000)
	if err != nil {
		r.fail("list: %v", err)
	}
	return page.Objects
}
