package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"petpick/src/photo/phototest"
)

// front is a proxy before a server: it counts, and does harm.
type front struct {
	url            string
	uploads, bytes atomic.Int64 // that reached the server
	requests       atomic.Int64
	harm           func(n int64, w http.ResponseWriter, r *http.Request) bool // says whether it has answered
	upstream       *httputil.ReverseProxy
}

func newFront(t *testing.T, s *server, harm func(n int64, w http.ResponseWriter, r *http.Request) bool) *front {
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{harm: harm, upstream: httputil.NewSingleHostReverseProxy(target)}
	f.upstream.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method == "POST" && r.StatusCode == http.StatusTooManyRequests { // the API's throttling let it not through
			f.uploads.Add(-1)
			f.bytes.Add(-r.Request.ContentLength)
		}
		return nil
	}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := f.requests.Add(1)
	if f.harm != nil && f.harm(n, w, r) {
		return
	}
	if r.Method == "POST" {
		f.uploads.Add(1)
		f.bytes.Add(r.ContentLength)
	}
	f.upstream.ServeHTTP(w, r)
}

// file puts a file into a folder, and the folders that it takes.
func file(t *testing.T, body []byte, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// operate runs the command to its end.
func operate(t *testing.T, url string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := program(args...)
	cmd.Env = append(cmd.Env, "PETPICK_URL="+url, "PETPICK_TOKEN=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// outcomes reads what upload --json prints.
func outcomes(t *testing.T, out string) (files map[string]outcome, sum summary) {
	t.Helper()
	files = map[string]outcome{}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		if i == len(lines)-1 {
			sum = decode[summary](t, []byte(line))
			continue
		}
		o := decode[outcome](t, []byte(line))
		files[filepath.Base(o.File)] = o
	}
	return files, sum
}

// A folder of 1,000 pictures, interrupted twice, is there in the end, each once; and what is there is not sent again.
func TestUploadOfAFolderInterrupted(t *testing.T) {
	const pictures = 1000
	s := start(t, t.TempDir())
	f := newFront(t, s, nil)
	folder := t.TempDir()
	for i := range uint64(pictures) {
		file(t, phototest.PNG(i, 6, 6), folder, fmt.Sprint(i%7), fmt.Sprintf("%d.png", i))
	}
	file(t, phototest.PNG(3, 6, 6), folder, "copies", "again.png")
	file(t, []byte("not a picture"), folder, "notes.txt")
	if err := os.Symlink("..", filepath.Join(folder, "3", "up")); err != nil {
		t.Fatal(err)
	}
	count := func() int { return decode[stats](t, s.get(t, "/stats").body).Labels["cat"].Pictures }
	for round := range 2 {
		cmd := program("upload", "--url", f.url, "--label", "cat", folder)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for at := count(); count() < at+150; { // it is in the middle of it
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status != 130 || !strings.Contains(out.String(), "not begun") || !strings.Contains(out.String(), " uploaded") || strings.Contains(out.String(), "failed") {
			t.Fatalf("interrupted for the %d. time: status %d, %s", round+1, status, out.String())
		}
		t.Logf("interrupted: %s", out.String())
	}
	if n := count(); n < 300 || n >= pictures {
		t.Fatalf("%d pictures are there after two interruptions: the test tests nothing", n)
	}
	out, errs, status := operate(t, f.url, "upload", "--label", "cat", folder)
	if status != 0 || !strings.Contains(out, "1 the same as another, 1 no pictures\n") || !strings.Contains(out, "notes.txt: the file is not a JPEG") {
		t.Fatalf("status %d, %s%s", status, out, errs)
	}
	if n := f.uploads.Load(); n != pictures {
		t.Errorf("%d pictures were sent in all three runs, want each of %d once", n, pictures)
	}
	listed, _, status := operate(t, f.url, "ls", "cat", "--json")
	ids := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(listed), "\n") {
		ids[decode[record](t, []byte(line)).ID]++
	}
	if status != 0 || len(ids) != pictures || strings.Count(listed, "\n") != pictures || count() != pictures {
		t.Errorf("status %d: %d lines, %d ids, %d in the draw; want %d", status, strings.Count(listed, "\n"), len(ids), count(), pictures)
	}
	before := f.uploads.Load()
	out, _, status = operate(t, f.url, "upload", "--json", "--label", "cat", folder)
	if _, sum := outcomes(t, out); status != 0 || f.uploads.Load() != before || sum.Statuses[present] != pictures || sum.Statuses[duplicate] != 1 || sum.Statuses[skipped] != 1 || sum.Files != pictures+2 {
		t.Errorf("again: status %d, %d were sent, %+v", status, f.uploads.Load()-before, sum)
	}
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["cat"]; got.Weight != pictures {
		t.Errorf("the index has a weight of %v, want each once", got.Weight)
	}
}

// Each kind of file has an end of its own, and the exit status tells.
func TestWhatBecomesOfFiles(t *testing.T) {
	s := start(t, t.TempDir())
	f := newFront(t, s, nil)
	folder := t.TempDir()
	large := phototest.PNG(1, 1500, 1300)
	if len(large) < 4_500_000 {
		t.Fatalf("%d bytes are not large", len(large))
	}
	file(t, large, folder, "large.png")
	file(t, phototest.File("baseline.jpg"), folder, "a.jpg")
	file(t, append(phototest.File("baseline.jpg"), "behind its end"...), folder, "b.jpg") // the same, with something that goes
	file(t, phototest.File("baseline.jpg")[:300], folder, "half.jpg")
	file(t, phototest.File("animated.webp"), folder, "animated.webp")
	file(t, nil, folder, "empty")
	file(t, append(phototest.JPEG(3, 8, 8), make([]byte, 50_000_000)...), folder, "too-large.jpg")
	file(t, make([]byte, 1<<20), folder, "film.mp4")
	file(t, phototest.JPEG(9, 8, 8), folder, "odd\x1b[31m\nname.jpg")
	gone := file(t, phototest.JPEG(8, 8, 8), folder, "gone.jpg")
	for name, target := range map[string]string{"nowhere": "missing.jpg", "itself": "itself", "linked.jpg": "odd\x1b[31m\nname.jpg"} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe.jpg"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := operate(t, f.url, "upload", "--label", "cat", gone); status != 0 || !strings.HasPrefix(out, "1 files, 1 uploaded\n") {
		t.Fatalf("%d %s%s", status, out, errs)
	}
	id := decode[record](t, s.get(t, "/random?label=cat&format=json").body).ID
	if _, errs, status := operate(t, f.url, "rm", "--yes", "cat/"+id); status != 0 {
		t.Fatal(errs)
	}
	out, errs, status := operate(t, f.url, "upload", "--json", "--label", "cat", "--weight", "2.5", folder, filepath.Join(folder, "a.jpg"))
	got, sum := outcomes(t, out)
	if status != 1 || !strings.Contains(errs, "6 of 14 files are not there") {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	for name, want := range map[string]string{
		"large.png": uploaded, "half.jpg": failed, "animated.webp": failed, "empty": skipped, "too-large.jpg": failed, "film.mp4": skipped, "gone.jpg": blocked,
		"nowhere": failed, "itself": failed, "pipe.jpg": skipped,
	} {
		if got[name].Status != want || want != uploaded && got[name].Detail == "" {
			t.Errorf("%s: %+v, want %s", name, got[name], want)
		}
	}
	if got["gone.jpg"].RequestID == "" || sum.Statuses[uploaded] != 3 || sum.Statuses[duplicate] != 2 {
		t.Errorf("summary %+v\n%s", sum, out)
	}
	rec := decode[record](t, s.get(t, "/pets/cat/"+got["large.png"].ID).body)
	if rec.Weight != 2.5 || rec.Width != 1500 || rec.URL != got["large.png"].URL {
		t.Errorf("the large one: %+v", rec)
	}
	out, _, status = operate(t, f.url, "upload", "--label", "cat", folder)
	if status != 1 || !strings.Contains(out, "half.jpg: the JPEG is truncated") || !strings.Contains(out, "\nblocked ") || strings.Contains(out, "\x1b") || f.uploads.Load() > 1+2+2 {
		t.Errorf("status %d, %d sent\n%q", status, f.uploads.Load(), out)
	}
	if _, _, status := operate(t, f.url, "upload", "--again", "--label", "cat", gone); status != 1 { // it is blocked
		t.Errorf("blocked, again: %d", status)
	}
	if _, _, status := operate(t, f.url, "rm", "--yes", "--no-block", "cat/"+id); status != 0 {
		t.Fatal(status)
	}
	if out, _, status := operate(t, f.url, "upload", "--again", "--label", "cat", gone); status != 1 || !strings.Contains(out, "16 minutes") {
		t.Errorf("within 16 minutes of its removal: %d %s", status, out)
	}
}

// A service that throttles, fails and breaks off now and then gets all pictures all the same.
func TestUploadThroughTroubles(t *testing.T) {
	s := start(t, t.TempDir())
	kinds := [6]atomic.Int64{}
	f := newFront(t, s, func(n int64, w http.ResponseWriter, r *http.Request) bool {
		if n < 3 || r.Method == "GET" && n%2 == 0 {
			return false
		}
		kind := n % 6
		kinds[kind].Add(1)
		switch kind {
		case 0:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 4: // the answer is lost, not the upload
			rec := httptest.NewRecorder()
			u, _ := url.Parse(s.url)
			httputil.NewSingleHostReverseProxy(u).ServeHTTP(rec, r)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		default:
			return false
		}
		return true
	})
	folder := t.TempDir()
	for i := range uint64(40) {
		file(t, phototest.PNG(i, 6, 6), folder, fmt.Sprintf("%d.png", i))
	}
	out, errs, status := operate(t, f.url, "upload", "--label", "dog", "--jobs", "4", folder)
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["dog"].Pictures; status != 0 || got != 40 {
		t.Errorf("status %d, %d pictures: %s%s", status, got, out, errs)
	}
	for _, kind := range []int{0, 2, 4} {
		if kinds[kind].Load() == 0 {
			t.Errorf("trouble %d was not met: the test tests nothing", kind)
		}
	}
}

// What is the same for all files ends the run, rather than being said a thousand times.
func TestUploadThatCannotRun(t *testing.T) {
	s := start(t, t.TempDir())
	folder := t.TempDir()
	for i := range uint64(60) {
		file(t, phototest.PNG(i, 6, 6), folder, fmt.Sprintf("%d.png", i))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody is there
	empty := t.TempDir()
	token := file(t, []byte("nobody\n"), empty, "token", "t")
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"no label":        {"label", []string{folder}},
		"another label":   {"cat or dog", []string{"--label", "bird", folder}},
		"a weight":        {"weight", []string{"--label", "cat", "--weight", "1e3", folder}},
		"no such folder":  {"no such file", []string{"--label", "cat", folder, filepath.Join(folder, "missing")}},
		"no files":        {"no files", []string{"--label", "cat", t.TempDir()}},
		"too many jobs":   {"--jobs", []string{"--label", "cat", "--jobs", "65", folder}},
		"nobody there":    {"no answer from " + l.Addr().String(), []string{"--label", "cat", "--url", "http://" + l.Addr().String(), folder}},
		"an unknown flag": {"--nonsense", []string{"--label", "cat", "--nonsense", folder}},
		"a wrong token":   {"token", []string{"--label", "cat", "--token-file", token, folder}},
		"no token file":   {"token-file", []string{"--label", "cat", "--token-file", filepath.Join(empty, "x"), folder}},
		"plain http":      {"plain http", []string{"--label", "cat", "--token-file", token, "--url", "http://pets.example", folder}},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := operate(t, s.url, append([]string{"upload"}, c.args...)...)
			if status != 2 || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") > 3 || strings.Count(out, "\n") > 30 || strings.Contains(errs, "nobody\n") {
				t.Errorf("status %d: %s%s, want 2 and %q", status, out, errs, c.want)
			}
		})
	}
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["cat"].Pictures; got != 0 {
		t.Errorf("%d pictures are there", got)
	}
}

// A terminal sees a bar; a pipe and a file do not.
func TestUploadBarIsForTerminals(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script, which has a terminal, is not installed here")
	}
	s := start(t, t.TempDir())
	folder := t.TempDir()
	for i := range uint64(30) {
		file(t, phototest.PNG(i, 6, 6), folder, fmt.Sprintf("%d.png", i))
	}
	cmd := program()
	shell := exec.Command("script", "-qec", fmt.Sprintf("%s upload --label cat --url %s %s", cmd.Path, s.url, folder), "/dev/null")
	shell.Env = cmd.Env
	out, err := shell.Output()
	if err != nil || !strings.Contains(string(out), "uploading") || !strings.Contains(string(out), "/30") || !strings.Contains(string(out), "files/s") || !strings.Contains(string(out), "30 uploaded") {
		t.Errorf("%v: %q", err, out)
	}
	if out, errs, status := operate(t, s.url, "upload", "--label", "cat", folder); status != 0 || errs != "" || strings.Contains(out, "\r") {
		t.Errorf("%d: %q %q", status, out, errs)
	}
	// A question is asked there, too, and Ctrl-D is no yes.
	id := decode[record](t, s.get(t, "/random?label=cat&format=json").body).ID
	for _, c := range []struct {
		answer string
		status int
	}{{"n\n", 200}, {"\x04", 200}, {"y\n", 410}} {
		shell := exec.Command("script", "-qec", fmt.Sprintf("%s rm --url %s cat/%s", cmd.Path, s.url, id), "/dev/null")
		shell.Env, shell.Stdin = cmd.Env, strings.NewReader(c.answer)
		out, _ := shell.CombinedOutput()
		if r := s.get(t, "/pets/cat/"+id); r.status != c.status || !strings.Contains(string(out), "down? [y/N]") {
			t.Errorf("%q: %d, want %d: %s", c.answer, r.status, c.status, out)
		}
	}
}
