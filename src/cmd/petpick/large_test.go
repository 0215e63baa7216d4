package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"petpick/src/blob"
	"petpick/src/photo/phototest"
)

type ticket struct {
	Ticket, Method, URL, Complete string
	Headers                       map[string]string
	Expires                       time.Time `json:"expires_at"`
}

func (s *server) announce(t *testing.T, body string) ticket {
	t.Helper()
	r, err := s.do("POST", "/uploads", asDev, strings.NewReader(body))
	if err != nil || r.status != http.StatusCreated {
		t.Fatalf("%s: %d %s %v", body, r.status, r.body, err)
	}
	got := decode[ticket](t, r.body)
	if until := time.Until(got.Expires); got.Method != "PUT" || got.Complete != r.header.Get("Location") || until < 14*time.Minute || until > 16*time.Minute {
		t.Errorf("ticket: %+v", got)
	}
	return got
}

// put sends a file as the ticket says, but for what is changed.
func (s *server) put(t *testing.T, tk ticket, body []byte, changed map[string]string) int {
	t.Helper()
	req, err := http.NewRequest(tk.Method, tk.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range tk.Headers {
		req.Header.Set(name, value)
	}
	for name, value := range changed {
		if req.Header.Del(name); value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (s *server) complete(t *testing.T, tk ticket, want int) reply {
	t.Helper()
	r, err := s.do("POST", tk.Complete, asDev, nil)
	if err != nil || r.status != want {
		t.Errorf("complete: %d %s %v, want %d", r.status, r.body, err, want)
	}
	return r
}

func announcing(label, media string, body []byte) string {
	return fmt.Sprintf(`{"label":%q,"type":%q,"bytes":%d,"weight":2.5}`, label, media, len(body))
}

// A file that POST /upload would not take goes by a ticket, sent by plain curl.
func TestLargeUpload(t *testing.T) {
	s := start(t, t.TempDir())
	large := phototest.PNG(1, 1500, 1300)
	if len(large) < 4_500_000 {
		t.Fatalf("%d bytes are not large", len(large))
	}
	tk := s.announce(t, announcing("cat", "image/png", large))
	s.complete(t, tk, http.StatusConflict)
	small := phototest.PNG(1, 8, 8) // refused before it is read: the answer to a large one may be a broken connection
	bound := s.announce(t, announcing("cat", "image/png", small))
	for name, wrong := range map[string]map[string]string{
		"another type": {"content-type": "text/html"}, "another weight": {"x-amz-meta-weight": "16777"}, "no weight": {"x-amz-meta-weight": ""},
		"another label": {"x-amz-meta-label": "dog"}, "an overwrite": {"if-none-match": ""},
	} {
		if status := s.put(t, bound, small, wrong); status != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", name, status)
		}
	}
	if status := s.put(t, bound, small[:len(small)-1], nil); status != http.StatusForbidden {
		t.Errorf("another length: %d, want 403", status)
	}
	file := filepath.Join(t.TempDir(), "large.png")
	if err := os.WriteFile(file, large, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--silent", "--show-error", "--fail", "--upload-file", file, tk.URL}
	for name, value := range tk.Headers {
		if name != "content-length" {
			args = append(args, "--header", name+": "+value)
		}
	}
	if out, err := exec.Command("curl", args...).CombinedOutput(); err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	if status := s.put(t, bound, small, nil); status != http.StatusOK {
		t.Errorf("as announced: %d", status)
	}
	if status := s.put(t, bound, small, nil); status != http.StatusPreconditionFailed {
		t.Errorf("a second PUT: %d, want 412", status)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses, ids := map[int]int{}, map[string]bool{}
	for range 8 {
		wg.Go(func() {
			r, err := s.do("POST", tk.Complete, asDev, nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[r.status]++
			ids[decode[record](t, r.body).ID] = true
		})
	}
	wg.Wait()
	if statuses[201] != 1 || statuses[200] != 7 || len(ids) != 1 {
		t.Errorf("eight completed at a time: %v, %d pictures", statuses, len(ids))
	}
	rec := decode[record](t, s.complete(t, tk, http.StatusOK).body)
	if !ids[rec.ID] || rec.Weight != 2.5 || rec.Label != "cat" || rec.Created || rec.IndexVersion < 1 {
		t.Errorf("completed again: %+v", rec)
	}
	if r := s.get(t, "/cat/"+rec.ID+".png"); r.status != http.StatusOK || !samePixels(pixels(t, r.body), pixels(t, large)) {
		t.Errorf("the picture: %d, %d bytes", r.status, len(r.body))
	}
	if r := s.get(t, "/random?label=cat&format=image"); r.status != http.StatusFound {
		t.Errorf("its bytes as an answer: %d, want 302: no function may answer that much", r.status)
	}
	// Blocked, it does not come back by a ticket.
	if r, err := s.do("DELETE", "/pets/cat/"+rec.ID, asDev, nil); err != nil || r.status != http.StatusOK {
		t.Fatalf("delete: %d %v", r.status, err)
	}
	s.complete(t, tk, http.StatusGone)
	again := s.announce(t, announcing("dog", "image/png", large))
	if status := s.put(t, again, large, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	s.complete(t, again, http.StatusUnavailableForLegalReasons)
	s.complete(t, again, http.StatusConflict) // it was deleted
}

func TestRefusedAnnouncements(t *testing.T) {
	s := start(t, t.TempDir())
	for body, want := range map[string]int{
		``: 400, `{`: 400, `[]`: 400, `"cat"`: 400, `{"label":"cat","type":"image/png","bytes":10}{}`: 400,
		`{"label":"cat","type":"image/png","bytes":10,"wieght":2}`:                                  400,
		`{"label":"bird","type":"image/png","bytes":10}`:                                            400,
		`{"type":"image/png","bytes":10}`:                                                           400,
		`{"label":"cat","type":"image/png","bytes":0}`:                                              400,
		`{"label":"cat","type":"image/png","bytes":-5}`:                                             400,
		`{"label":"cat","type":"image/png","bytes":1.5}`:                                            400,
		`{"label":"cat","type":"image/png"}`:                                                        400,
		`{"label":"cat","type":"image/png","bytes":10,"weight":-1}`:                                 400,
		`{"label":"cat","type":"image/png","bytes":10,"weight":1e3}`:                                400,
		`{"label":"cat","type":"image/gif","bytes":10}`:                                             415,
		`{"label":"cat","bytes":10}`:                                                                415,
		`{"label":"cat","type":"image/png","bytes":50000001}`:                                       413,
		`{"label":"cat","type":"image/png","bytes":9223372036854775808}`:                            400,
		`{"label":"cat","type":"image/png","bytes":10,"x":"` + strings.Repeat("x", 8<<10) + `"}`:    413,
		`{"LABEL":"cat","type":"image/png","bytes":10}`:                                             400,
		`{"label":"cat","type":"image/png","bytes":10,"bytes":11}`:                                  400,
		`{"label":"cat","type":"image/png","bytes":"10"}`:                                           400,
		`{"label":"cat","type":"image/png","bytes":10,"weight":"2.5"}`:                              400,
		`{"label":"cat","type":"image/png","bytes":10,"weight":null}`:                               400,
		`{"label":"cat","type":"image/png","bytes":10}}}`:                                           400,
		`{"label":"cat","type":"image/png","bytes":10,"weight":"` + strings.Repeat("1", 100) + `"}`: 400,
	} {
		r, err := s.do("POST", "/uploads", asDev, strings.NewReader(body))
		if err != nil || r.status != want || r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.80s: %d %s %v, want %d", body, r.status, r.body, err, want)
		}
	}
	for path, want := range map[string]int{"/uploads": 401, "/uploads/" + strings.Repeat("0", 32) + "/complete": 401} {
		if r, err := s.do("POST", path, nil, strings.NewReader("{}")); err != nil || r.status != want {
			t.Errorf("%s without a token: %d %v, want %d", path, r.status, err, want)
		}
	}
	for _, name := range []string{"x", strings.Repeat("0", 31), strings.Repeat("A", 32), "..%2f..%2findex%2fcat%2froot"} {
		if r, err := s.do("POST", "/uploads/"+name+"/complete", asDev, nil); err != nil || r.status != 404 {
			t.Errorf("ticket %q: %d %v, want 404", name, r.status, err)
		}
	}
}

// What was sent is not what was announced, or no picture: refused, and not kept.
func TestRefusedLargeUploads(t *testing.T) {
	s := start(t, t.TempDir())
	jpg := phototest.JPEG(1, 40, 40)
	for name, c := range map[string]struct {
		body   []byte
		media  string
		status int
	}{
		"another type": {jpg, "image/png", 422},
		"a page":       {[]byte("<html><script>alert(1)</script></html>"), "image/jpeg", 415},
		"half":         {jpg[:len(jpg)/2], "image/jpeg", 422},
		"animated":     {phototest.File("animated.webp"), "image/webp", 422},
	} {
		tk := s.announce(t, announcing("cat", c.media, c.body))
		if status := s.put(t, tk, c.body, nil); status != http.StatusOK {
			t.Fatalf("%s: PUT: %d", name, status)
		}
		s.complete(t, tk, c.status)
		s.complete(t, tk, http.StatusConflict)
	}
	if r := s.get(t, "/random?label=cat"); r.status != http.StatusNotFound {
		t.Errorf("something was published: %d", r.status)
	}
}

func TestIncomingExpires(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	store := blob.NewMemory(func() time.Time { return now })
	for _, key := range []string{"incoming/old", "index/cat/root"} {
		if _, err := store.Create(t.Context(), key, nil, blob.Attr{}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(25 * time.Hour)
	if _, err := store.Create(t.Context(), "incoming/young", nil, blob.Attr{}); err != nil {
		t.Fatal(err)
	}
	if err := expireIncoming(t.Context(), store, now); err != nil {
		t.Fatal(err)
	}
	page, err := store.List(t.Context(), "", "", 10)
	if err != nil || len(page.Objects) != 2 || page.Objects[0].Key != "incoming/young" || page.Objects[1].Key != "index/cat/root" {
		t.Errorf("left: %+v, %v", page.Objects, err)
	}
}
