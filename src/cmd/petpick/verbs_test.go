package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"petpick/src/photo/phototest"
)

// The operator's day, as people and as scripts see it.
func TestVerbs(t *testing.T) {
	s := start(t, t.TempDir())
	body := phototest.File("baseline.jpg")
	rec := s.upload(t, "cat", "2", body)
	other := s.upload(t, "cat", "1", phototest.JPEG(4, 8, 8))
	name := "cat/" + rec.ID
	run := func(status int, want string, args ...string) string {
		t.Helper()
		out, errs, got := operate(t, s.url, args...)
		if got != status || !strings.Contains(out+errs, want) || status != 0 && (strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "petpick: ")) {
			t.Errorf("%v: status %d: %s%s, want %d with %q", args, got, out, errs, status, want)
		}
		return out
	}
	run(0, "cat  2 pictures, total weight 3,", "stats")
	if got := decode[stats](t, []byte(run(0, "", "stats", "--json"))).Labels["cat"]; got.Pictures != 2 || got.Weight != 3 {
		t.Errorf("stats: %+v", got)
	}
	run(0, s.url+"/cat/", "random", "cat")
	run(0, `"id":"`, "random", "cat", "--json")
	run(1, "exactly cat or dog", "random", "bird")
	run(1, "there is no picture to draw for this label (404, request ", "random", "dog")
	// Every name of a picture is good.
	for _, n := range []string{name, "/pets/" + name, s.url + "/pets/" + name, rec.URL, rec.URL + "?i=1", name + ".jpg"} {
		run(0, name+"\n  weight    2\n", "show", n)
	}
	for _, n := range []string{rec.ID, "bird/" + rec.ID, "cat/", name + ".png", "cat/" + strings.ToUpper(rec.ID) + "x"} {
		run(1, "names no picture", "show", n)
	}
	two := run(0, "", "show", "--json", name, "cat/"+other.ID)
	if strings.Count(two, "\n") != 2 {
		t.Errorf("two records: %s", two)
	}
	type withETag struct {
		record
		ETag string `json:"etag"`
	}
	seen := decode[withETag](t, []byte(run(0, "", "show", "--json", name)))
	run(0, "weight    7.5", "weight", name, "7.5", "--if-match", seen.ETag)
	run(1, "somebody else has changed it", "weight", name, "3", "--if-match", seen.ETag)
	run(1, "ETag with its quotes", "weight", name, "3", "--if-match", "3")
	run(1, "weight must be", "weight", name, "1e3")
	run(1, "weight must be", "weight", name, "16777.216")
	if got := decode[withETag](t, []byte(run(0, "", "weight", "--json", name, "0"))); got.Weight != 0 || got.ETag == seen.ETag || got.ETag == "" {
		t.Errorf("paused: %+v", got)
	}
	listing := run(0, name+"         0 ", "ls", "cat")
	if strings.Count(listing, "\n") != 2 || !strings.Contains(run(0, "", "ls", "cat", "--limit", "1", "--json"), `"id":`) || run(0, "", "ls", "dog") != "" {
		t.Errorf("ls: %s", listing)
	}
	run(1, "say --yes", "rm", name)
	run(1, "for one picture", "rm", "--yes", "--if-match", seen.ETag, name, "cat/"+other.ID)
	run(1, "somebody else has changed it", "rm", "--yes", "--if-match", seen.ETag, name)
	run(1, "is of pets.example", "rm", "--yes", "https://pets.example/cat/"+other.ID+".jpg")
	run(1, "names no picture", "rm", "--yes", "cat/"+other.ID, "nonsense") // nothing is done then
	run(0, "blocked       yes", "rm", "--yes", name)
	if got := decode[receipt](t, []byte(run(0, "", "rm", "--yes", "--json", "--no-block", "--purge", name))); got.Blocked || got.OldVersions != "deleted" {
		t.Errorf("receipt: %+v", got)
	}
	run(1, "this picture was removed (410, request ", "show", name)
	run(0, "cat  1 pictures", "stats")
	// Files are not overwritten, and not left half.
	folder := t.TempDir()
	out := filepath.Join(folder, "random.jpg")
	run(0, "", "random", "cat", "--out", out)
	want := s.get(t, "/cat/"+other.ID+".jpg").body
	if got, err := os.ReadFile(out); err != nil || string(got) != string(want) {
		t.Errorf("random --out: %d bytes, %v", len(got), err)
	}
	run(1, "file exists", "random", "cat", "--out", out)
	if got := run(0, "", "random", "cat", "--out", "-"); got != string(want) {
		t.Errorf("random --out -: %d bytes, want %d", len(got), len(want))
	}
	if left, _ := os.ReadDir(folder); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
	// Each verb explains itself, with examples.
	for _, verb := range []string{"upload", "random", "ls", "show", "weight", "rm", "stats"} {
		run(0, "Examples:\n  petpick "+verb, verb, "--help")
	}
	run(0, "cat\ndog\n", "__complete", "ls", "")
	run(0, "cat\ndog\n", "__complete", "upload", "--label", "")
	run(0, "bash completion", "completion", "bash")
	run(0, `{"version":"`, "version", "--json")
}

// A token comes from a file or the environment, is never an argument, and is never printed.
func TestWhereATokenComesFrom(t *testing.T) {
	s := start(t, t.TempDir())
	file := file(t, []byte(" dev\n"), t.TempDir(), "token")
	for name, c := range map[string]struct {
		env    string
		args   []string
		status int
	}{
		"none, on loopback":    {"", nil, 0},
		"the environment":      {"dev", nil, 0},
		"a wrong one":          {"not-a-token", nil, 1},
		"a file":               {"", []string{"--token-file", file}, 0},
		"a file comes first":   {"not-a-token", []string{"--token-file", file}, 0},
		"as an argument":       {"", []string{"--token", "not-a-token"}, 1},
		"a service that isn't": {"", []string{"--url", "nonsense"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(append([]string{"ls", "cat"}, c.args...)...)
			cmd.Env = append(cmd.Env, "PETPICK_URL="+s.url, "PETPICK_TOKEN="+c.env)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != c.status || strings.Contains(string(out), "not-a-token") {
				t.Errorf("status %d: %s, want %d", got, out, c.status)
			}
		})
	}
}
