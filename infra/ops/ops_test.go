package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// root is the repository, where the command runs.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(here)))
}

// run1 runs the command as a process would, in dir, and returns what it printed.
func run1(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(stdin), &out, &out)
	return out.String(), err
}

// serve starts `petpick serve`, and returns its URL.
func serve(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "petpick")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./src/cmd/petpick")
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "serve", "--addr", "127.0.0.1:0", "--data", t.TempDir(), "--log-level", "error")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "petpick is at "); ok {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return at
		}
	}
	t.Fatal("petpick serve says no address")
	return ""
}

func pictures(t *testing.T, at string) int {
	t.Helper()
	resp, err := http.Get(at + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var stats struct {
		Labels map[string]struct{ Pictures int }
	}
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		t.Fatal(err)
	}
	return stats.Labels["cat"].Pictures + stats.Labels["dog"].Pictures
}

// The smoke test passes on a service that works, leaves nothing, and may be run again at once.
func TestSmoke(t *testing.T) {
	at := serve(t)
	for range 2 {
		out, err := run1(t, "", "smoke", "--url", at, "--token", "dev")
		if err != nil || !strings.Contains(out, "all is well") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if out, err := run1(t, "", "smoke", "--url", at+"/", "--token", ""); err != nil || !strings.Contains(out, "no token") {
		t.Errorf("without a token: %v\n%s", err, out)
	}
	t.Run("a token that may only upload", func(t *testing.T) {
		onlyUploads := proxy(t, at, func(r *http.Request) bool { return r.Method == "DELETE" }, nil)
		for range 2 {
			if out, err := run1(t, "", "smoke", "--url", onlyUploads, "--token", "dev"); err != nil || !strings.Contains(out, "may not delete") {
				t.Errorf("%v\n%s", err, out)
			}
			if n := pictures(t, at); n != 1 {
				t.Errorf("%d pictures, want the one that it takes each time", n)
			}
		}
	})
	for name, spoil := range map[string]func(*http.Response){
		"pictures that are not kept":   header("/cat/", "Cache-Control", "no-cache"),
		"pictures for no other page":   header("/cat/", "Access-Control-Allow-Origin", ""),
		"draws that are kept":          header("/random", "Cache-Control", "max-age=10"),
		"a redirect to anywhere":       header("/random", "Location", "https://example.com/cat.jpg"),
		"errors as pages":              header("/nothing", "Content-Type", "text/html"),
		"types that are guessed":       header("/stats", "X-Content-Type-Options", ""),
		"a record without an ETag":     header("/pets/", "ETag", ""),
		"an upload that says nothing":  header("/upload", "Location", ""),
		"a door that does not say how": header("/upload", "WWW-Authenticate", ""),
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := run1(t, "", "smoke", "--url", proxy(t, at, nil, spoil), "--token", "dev"); err == nil {
				t.Errorf("not seen:\n%s", out)
			}
		})
	}
}

func header(path, name, value string) func(*http.Response) {
	return func(r *http.Response) {
		if strings.HasPrefix(r.Request.URL.Path, path) && r.Header.Get(name) != "" {
			r.Header.Set(name, value)
		}
	}
}

// proxy stands before a service and makes mistakes: it forbids, or changes answers.
func proxy(t *testing.T, at string, forbid func(*http.Request) bool, change func(*http.Response)) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.ModifyResponse = func(r *http.Response) error {
		if change != nil {
			change(r)
		}
		return nil
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forbid != nil && forbid(r) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// The same source in two places gives the same bytes, with the mode that Lambda needs.
func TestBuildIsReproducible(t *testing.T) {
	var zips []map[string]string
	for range 2 {
		dir := t.TempDir()
		for _, name := range []string{"go.mod", "go.sum", "src", "infra"} {
			copyTree(t, filepath.Join(root(), name), filepath.Join(dir, name), regexp.MustCompile(`.`))
		}
		if err := build(t.Context(), dir, io.Discard); err != nil {
			t.Fatal(err)
		}
		made := map[string]string{}
		for _, f := range []string{"upload", "random", "tend"} {
			b, err := os.ReadFile(filepath.Join(dir, "build", f+".zip"))
			if err != nil {
				t.Fatal(err)
			}
			made[f] = string(b)
		}
		zips = append(zips, made)
	}
	for f, b := range zips[0] {
		if b != zips[1][f] {
			t.Errorf("%s.zip differs from place to place", f)
		}
		r, err := zip.NewReader(strings.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.File) != 1 || r.File[0].Name != "bootstrap" || r.File[0].Mode() != 0o755 {
			t.Errorf("%s.zip: %v %v", f, r.File[0].Name, r.File[0].Mode())
		}
		t.Logf("%s.zip %d bytes", f, len(b))
	}
}

func copyTree(t *testing.T, from, to string, names *regexp.Regexp) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			if d != nil && d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return err
		}
		if !names.MatchString(path) {
			return nil
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestParameters(t *testing.T) {
	for _, stage := range []string{"dev", "prod"} {
		got, err := readParameters("../params", stage)
		if err != nil || !slices.Contains(got, "Stage="+stage) || !slices.Contains(got, "AlarmEmail=") {
			t.Errorf("%s: %v, %v", stage, got, err)
		}
	}
	for name, c := range map[string]struct{ file, want string }{
		"an unknown one": {`["LogDay=7"]`, "LogDay"},
		"a wrong value":  {`["AlarmEmail=me"]`, "AlarmEmail cannot be"},
		"one of no list": {`["LogDays=8"]`, "LogDays cannot be"},
		"too small":      {`["KeepRemovedDays=0"]`, "KeepRemovedDays cannot be"},
		"too large":      {`["KeepRemovedDays=366"]`, "KeepRemovedDays cannot be"},
		"no number":      {`["WriteRate=many"]`, "WriteRate cannot be"},
		"no pair":        {`["LogDays"]`, "LogDays"},
		"another form":   {`{"LogDays":"7"}`, "it is a list such as"},
		"no JSON":        {`LogDays=7`, "it is a list such as"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readParameters(dir, "x"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readParameters(t.TempDir(), "new"); err == nil || !strings.Contains(err.Error(), "copy") {
		t.Errorf("no file: %v", err)
	}
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers waits until something listens.
func answers(ctx context.Context, address string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		resp, err := http.Get("http://" + address + "/moto-api/")
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s does not answer", address)
}
