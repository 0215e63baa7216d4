package index

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mistake is a fault that this package could have, made on purpose in a copy of its files. A scenario of TestSchedules must catch it, and name
// the promise that it breaks: so each order is known to be needed, and each scenario to see what it is there for.
type mistake struct {
	name           string
	edits          []edit
	scenario, word string
}

// edit replaces a text that is in the file exactly once.
type edit struct{ file, old, new string }

var mistakes = []mistake{
	// Folds.
	{"list before reading the root", []edit{
		{"fold.go", "base, err := x.reader.Read(ctx, x.reader.Current(), x.now())", "notes, complete, err := x.journal.Read(ctx)"},
		{"fold.go", "notes, complete, err := x.journal.Read(ctx)", "base, err := x.reader.Read(ctx, x.reader.Current(), x.now())"},
	}, "spill-against-add", "doubled"},
	{"keys deleted before the swap", []edit{
		{"fold.go", "	next.Crowd, next.At = uint32(len(applied)), base.Sent\n", `
			next.Crowd, next.At = uint32(len(applied)), base.Sent
			if err := x.store.DeleteMany(ctx, applied); err != nil {
				return folded{}, err
			}
		`},
	}, "add-against-add", "acked-not-there"},
	{"root swapped without If-Match", []edit{
		{"fold.go", "info, err := blob.Put(ctx, x.store, x.rootKey, base.ETag,", `
			cur, _ := x.store.Head(ctx, x.rootKey)
			info, err := blob.Put(ctx, x.store, x.rootKey, cur.ETag,`},
	}, "two-handlers-of-one-process", "lost"},
	{"truth read before the root", []edit{
		{"fold.go", "	base, err := x.reader.Read(ctx, x.reader.Current(), x.now())\n", `
			early, _, err := x.journal.Read(ctx)
			if err != nil {
				return folded{}, err
			}
			known := map[pet.ID]pet.Weight{}
			for _, n := range early {
				if known[n.ID], err = x.truth.Weigh(ctx, n.ID); err != nil {
					return folded{}, err
				}
			}
			ctx = context.WithValue(ctx, "known", known)
			base, err := x.reader.Read(ctx, x.reader.Current(), x.now())
		`},
		{"../truth/truth.go", "	p, err := t.Look(ctx, id)\n", `
			if known, _ := ctx.Value("known").(map[pet.ID]pet.Weight); known != nil {
				if w, there := known[id]; there {
					return w, nil
				}
			}
			p, err := t.Look(ctx, id)
		`},
	}, "set-against-set", "acked-not-there"},
	{"spill of a picture with a key", []edit{
		{"fold.go", "if noted[w.ID] {", "if false {"},
	}, "spill-against-add", "doubled"},
	{"an unclear ADD tried again as an ADD", []edit{
		{"journal/journal.go", "n.Add = false", ""},
	}, "add-fails", "doubled"},
	{"a key put again by the SDK", []edit{
		{"journal/journal.go", "blob.Attr{Once: true}); err == nil ||", "blob.Attr{}); err == nil || errors.Is(err, blob.ErrExists) ||"},
	}, "add-fails", "doubled"},
	{"an ADD overwrites an override", []edit{
		{"fold.go", "_, overridden := root.FindOverride(base.Overrides, group[0].ID)", "overridden := false"},
		{"fold.go", "next.SetTail(segment.Entry{ID: id, Weight: n.Weight})", `
			next.Overrides = slices.DeleteFunc(next.Overrides, func(o root.Override) bool { return o.ID == id })
			next.SetTail(segment.Entry{ID: id, Weight: n.Weight})`},
	}, "add-against-remove", "bytes-gone"},
	{"an ADD stands beside an override", []edit{
		{"fold.go", "_, overridden := root.FindOverride(base.Overrides, group[0].ID)", "overridden := false"},
	}, "add-against-add", "doubled"},
	{"a late ADD is believed", []edit{
		{"fold.go", "lateAdd   = 30 * time.Second", "lateAdd   = 300 * time.Hour"},
	}, "late-add-after-remove", "bytes-gone"},
	{"no override for what is nowhere", []edit{
		{"fold.go", "f.same = copies == 1 &&", "f.same = copies <= 1 &&"},
	}, "add-against-remove", "bytes-gone"},
	{"no swap when nothing changed", []edit{
		{"fold.go", "	if err := x.spill(ctx, next, notes, complete); err != nil {", `
			if slices.Equal(next.Tail, base.Tail) && slices.Equal(next.Overrides, base.Overrides) {
				x.reader.Take(base.Root, base.ETag, base.Sent)
				f := folded{base.Version, map[string]bool{}}
				for _, key := range applied {
					f.keys[key] = true
				}
				return f, x.store.DeleteMany(ctx, applied)
			}
			if err := x.spill(ctx, next, notes, complete); err != nil {`},
	}, "set-against-set-back", "acked-not-there"},
	{"an unclear swap of the root counts as done", []edit{
		{"fold.go", "	case ctx.Err() == nil && blob.Lost(err):", `
			case errors.Is(err, blob.ErrUnclear):
				x.reader.Take(next, info.ETag, sent)
				return nil
			case ctx.Err() == nil && blob.Lost(err):`},
	}, "add-fails", "acked-not-there"},
	{"acknowledged when the picture is in the root", []edit{
		{"write.go", `"petpick/src/pet"`, `"petpick/src/index/root"
			"petpick/src/pet"`},
		{"write.go", "		if err := x.pause(ctx, most); err != nil {", `
			if v, err := x.reader.Newer(ctx); err == nil {
				_, inTail := root.Find(v.Tail, n.ID)
				if _, overridden := root.FindOverride(v.Overrides, n.ID); inTail || overridden {
					return v.Version, nil
				}
			}
			if err := x.pause(ctx, most); err != nil {`},
	}, "set-against-set", "acked-not-there"},
	{"acknowledged by any fold", []edit{
		{"write.go", "if err != nil || f.keys[key] {", "if true {"},
	}, "two-handlers-of-one-process", "acked-not-there"},

	// Merge and collect.
	{"young overrides absorbed", []edit{
		{"fold.go", "absorbAge = 60 * time.Second", "absorbAge = 0"},
	}, "add-against-remove-and-merge", "bytes-gone"},
	{"merge without a LIST", []edit{
		{"merge.go", "noted, err := x.journal.IDs(ctx)", "noted := map[pet.ID]bool{}"},
	}, "orphaned-add-against-merge", "doubled"},
	{"inputs not looked for", []edit{
		{"merge.go", "if !slices.Contains(cur.Rows, r) {", "if false && !slices.Contains(cur.Rows, r) {"},
	}, "merge-against-merge-of-segments-alone", "doubled"},
	{"absorbed what the inputs do not cover", []edit{
		{"merge.go", "case last.by == byOverride && last.old == mass:", "case last.by == byOverride:"},
	}, "merge-of-some", "doubled"},
	{"changed overrides dropped", []edit{
		{"merge.go", "case next.Overrides[i] == o && !noted[o.ID]:", "case !noted[o.ID]:"},
	}, "merge-against-set", "acked-not-there"},
	{"an override not told of the new segment", []edit{
		{"merge.go", "o.In = covering(outputs, o.ID)", "_ = covering(outputs, o.ID)"},
	}, "merge-against-set-of-another", "superseded"},
	{"a changed override not told what was made of its picture", []edit{
		{"merge.go", "next.Overrides[i].Held = root.Held{Old: uint32(o.Weight), In: covering(outputs, o.ID)}", "_ = i"},
	}, "merge-against-set", "superseded"},
	{"epoch ignored", []edit{
		{"merge.go", "if cur.Epoch != base.Epoch {", "if false {"},
	}, "collect-against-stalled-merge", "dangling-segment"},
	{"collect without a swap", []edit{
		{"merge.go", "if err := x.commit(ctx, cur, next); errors.Is(err, errBeaten) {", "if err := error(nil); errors.Is(err, errBeaten) {"},
	}, "collect-against-stalled-merge", "dangling-segment"},

	// Uploads, changes and removals.
	{"an ADD before its photo", []edit{
		{"write.go", "	created, date, err := x.truth.Create(ctx, p, at)\n", `
			if _, err := x.journal.Post(ctx, journal.Note{ID: p.ID, Add: true, Weight: p.Weight, Date: at}); err != nil {
				return Result{}, err
			}
			created, date, err := x.truth.Create(ctx, p, at)
			created = false
		`},
	}, "add-dies", "bytes-gone"},
	{"a TOUCH before its verdict", []edit{
		{"write.go", "		if err = x.truth.Decide(ctx, id, next); err == nil {", `
			early, err := x.journal.Post(ctx, journal.Note{ID: id})
			if err != nil {
				return err
			}
			if err = x.truth.Decide(ctx, id, next); err == nil {`},
		{"write.go", "res.Version, err = x.announce(ctx, journal.Note{ID: id})", "res.Version, err = x.announce(ctx, journal.Note{ID: id, Key: early})"},
		{"write.go", "key, err := x.journal.Post(ctx, n)", `
			key, err := n.Key, error(nil)
			if key == "" {
				key, err = x.journal.Post(ctx, n)
			}`},
	}, "set-against-set", "acked-not-there"},
	{"no verdict read before the photo's PUT", []edit{
		{"write.go", "if err := x.truth.Admit(ctx, p.ID); err != nil {", "if err := error(nil); err != nil {"},
	}, "add-of-blocked", "blocked-published"},
	{"no verdict read after the photo's PUT", []edit{
		{"write.go", "	created, date, err := x.truth.Create(ctx, p, at)\n", `
			after, _, _ := x.truth.Verdict(ctx, p.ID)
			created, date, err := x.truth.Create(ctx, p, at)
		`},
		{"write.go", "after, _, err := x.truth.Verdict(ctx, p.ID)", ""},
	}, "add-again-against-remove", "bytes-left"},
	{"an ADD although a verdict exists", []edit{
		{"write.go", "plain := created && after.State == truth.Undecided", "plain := created"},
	}, "revival-against-revival", "weight"},
	{"an ADD although the photo was there", []edit{
		{"write.go", "plain := created && after.State == truth.Undecided", "plain := after.State == truth.Undecided"},
	}, "add-against-add", "weight"},
	{"verdict swapped without If-Match", []edit{
		{"../truth/verdict.go", "		if _, err = blob.Put(ctx, t.store, verdictKey(t.label, id), etag,", `
			cur, _ := t.store.Head(ctx, verdictKey(t.label, id))
			etag = cur.ETag
			if _, err = blob.Put(ctx, t.store, verdictKey(t.label, id), etag,`},
	}, "set-against-remove", "bytes-gone"},
	{"a condition on what was looked at before", []edit{
		{"write.go", "holds != nil && !holds(before)", "holds != nil && !holds(pic)"},
	}, "first-against-first", "both-first"},
	{"a late verdict of one's own taken for another's", []edit{
		{"../truth/verdict.go", "slices.Contains(mine, old.nonce)", "slices.Contains(mine[max(0, len(mine)-1):], old.nonce)"},
	}, "first-fails", "refused"},
	{"an unclear swap of a verdict counts as done", []edit{
		{"../truth/verdict.go", "err == nil || !blob.Lost(err) || ctx.Err() != nil {", `errors.Is(err, blob.ErrUnclear) {
			return nil
		} else if err == nil || !blob.Lost(err) || ctx.Err() != nil {`},
	}, "remove-fails", "bytes-gone"},
	{`a remover that finds "removed" does not swap`, []edit{
		{"remove.go", "	if err := x.truth.Decide(ctx, id, next); err != nil {", `
			v, _, err := x.truth.Verdict(ctx, id)
			if err == nil && v.State != truth.Removed && v.State != truth.Blocked {
				err = x.truth.Decide(ctx, id, next)
			}
			if err != nil {`},
	}, "revival-against-remove", "bytes-gone"},
	{"no 16 minutes", []edit{
		{"../truth/verdict.go", "Rest = 16 * time.Minute", "Rest = 0"},
	}, "late-delete-against-add", "bytes-gone"},
	{"a remover that was frozen deletes", []edit{
		{"remove.go", "if left <= 0 {", "if left = time.Minute; false {"},
	}, "frozen-remover-against-add", "bytes-gone"},
	{"photo deleted before its removal is folded", []edit{
		{"remove.go", "version, err := x.announce(ctx, journal.Note{ID: id})", `
			if err := x.discard(ctx, id, began); err != nil {
				return 0, err
			}
			version, err := x.announce(ctx, journal.Note{ID: id})`},
	}, "remove-fails", "bytes-gone"},
	{"an uploader takes its photo back at once", []edit{
		{"write.go", "if _, err := x.announce(ctx, journal.Note{ID: id}); err != nil {", "if err := error(nil); err != nil {"},
	}, "add-again-against-remove", "bytes-gone"},

	// Draws, check and reindex.
	{"a draw gives up when a segment is gone", []edit{
		{"view/draw.go", "case errors.Is(errTry, blob.ErrNotFound):", "case blob.ErrNotFound == nil:"},
	}, "draw-against-merge-and-collect", "refused"},
	{"a removal repeated although the picture is back", []edit{
		{"remove.go", "if v.State != truth.Removed && v.State != truth.Blocked {", "if v.State = max(v.State, truth.Removed); false {"},
	}, "fsck-against-revival", "unasked"},
	{"fsck gives up when a segment is gone", []edit{
		{"check.go", "if !errors.Is(err, blob.ErrNotFound) || base.Version == version {", "if blob.ErrNotFound != nil || base.Version == version {"},
	}, "fsck-against-merge-and-collect", "refused"},
	{"reindex does not look at what was decided since", []edit{
		{"check.go", "changed := decided\n", "changed := decided[:0]\n"},
		{"check.go", "if o.At >= uint64(seen.Sent.Add(-clocks).UnixMilli()) {", "if false {"},
	}, "reindex-against-remove", "bytes-gone"},
	{"reindex does not look at what was spilled since", []edit{
		{"check.go", "if slices.Contains(seen.Rows, r) || len(ids)", "if true || len(ids)"},
	}, "reindex-against-spills", "lost"},
	{"reindex does not say until when", []edit{
		{"check.go", "next.Reindexed = uint64(made.youngest.Add(lateAdd).UnixMilli())", "next.Reindexed = 0"},
	}, "reindex-against-add", "doubled"},
	{"reindex keeps in the tail what is in a segment", []edit{
		{"check.go", "if !made.indexed[w.ID] {", "if true {"},
	}, "reindex-against-add", "doubled"},
}

// Each mistake is compiled into a test binary of this package, which then has to fail.
func TestMistakes(t *testing.T) {
	if testing.Short() {
		t.Skip("each mistake is a build of this package")
	}
	dir := packageDir(t)
	atOnce := make(chan struct{}, 2) // a build keeps two processors busy
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			m.mustBeCaught(t, dir)
		})
	}
}

func (m mistake) mustBeCaught(t *testing.T, dir string) {
	binary := m.build(t, dir)
	run := exec.Command(binary, "-test.run", "^TestSchedules$/^"+m.scenario+"$", "-test.timeout", "3m")
	run.Dir = dir
	out, err := run.CombinedOutput()
	said := firstFailure.FindSubmatch(out)
	switch {
	case err == nil:
		t.Errorf("%s does not catch it: %s", m.scenario, out)
	case said == nil || string(said[2]) != m.word || strings.Contains(string(out), "nondeterministic"):
		t.Errorf("%s should say %q: %v\n%s", m.scenario, m.word, err, out)
	default:
		t.Logf("caught: %s: %s", m.name, said[1])
	}
}

// firstFailure finds what goThrough says first, and its first word.
var firstFailure = regexp.MustCompile(`(?m)^ +\w+_test\.go:\d+: (([a-z-]+): .*)$`)

// kept are the tests that TestSchedules is made of. The others are left out of the binary, which is built the sooner.
var kept = []string{"explore_test.go", "ledger_test.go", "scenarios_test.go", "schedule_test.go", "world_test.go"}

// build makes the test binary with the mistake in it.
func (m mistake) build(t *testing.T, dir string) (binary string) {
	tmp := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tests {
		if !slices.Contains(kept, filepath.Base(file)) {
			overlay.Replace[file] = "" // as if it were not there
		}
	}
	for name, text := range m.texts(t, dir) {
		wrong := filepath.Join(tmp, filepath.Base(name))
		write(t, wrong, []byte(text))
		overlay.Replace[filepath.Join(dir, name)] = wrong
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tmp, "overlay.json"), list)
	binary = filepath.Join(tmp, "index.test")
	quick := []string{"-vet=off", "-gcflags=-N -l", "-ldflags=-s -w"} // it runs for a moment
	goCommand(t, dir, slices.Concat([]string{"test", "-c"}, quick, []string{"-overlay", filepath.Join(tmp, "overlay.json"), "-o", binary, "."})...)
	return binary
}

// texts are the files that the mistake changes. All edits are made at once: each is of the file as it is.
func (m mistake) texts(t *testing.T, dir string) map[string]string {
	texts, edits := map[string]string{}, map[string][]string{}
	for _, e := range m.edits {
		if texts[e.file] == "" {
			b, err := os.ReadFile(filepath.Join(dir, e.file))
			if err != nil {
				t.Fatal(err)
			}
			texts[e.file] = string(b)
		}
		if n := strings.Count(texts[e.file], e.old); n != 1 {
			t.Fatalf("%s has %d times, not once, what the mistake replaces: fit the mistake to the code:\n%s", e.file, n, e.old)
		}
		edits[e.file] = append(edits[e.file], e.old, e.new)
	}
	for name, pairs := range edits {
		texts[name] = strings.NewReplacer(pairs...).Replace(texts[name])
	}
	return texts
}

func write(t *testing.T, name string, b []byte) {
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// packageDir is where the go command finds this package: an overlay must name its files as that does.
func packageDir(t *testing.T) string {
	return strings.TrimSpace(goCommand(t, "", "list", "-f", "{{.Dir}}", "."))
}

// goCommand is the go command in an environment of its own: no flags from outside, and no race detector, which would need a C compiler.
func goCommand(t *testing.T, dir string, args ...string) string {
	c := exec.Command("go", args...)
	c.Dir = dir
	c.Env = append(c.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}
