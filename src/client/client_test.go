package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"petpick/src/api"
	"petpick/src/client"
	"petpick/src/pet"
)

var (
	id, _ = pet.ParseID(strings.Repeat("0", 31) + "1")
	quick = client.Config{Token: "secret", MaxWait: 1200 * time.Millisecond, Attempts: 4}
)

// host is a server of its own that answers as a test wants.
func host(t *testing.T, answer http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	cfg := quick
	cfg.URL = s.URL
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhoGetsTheToken(t *testing.T) {
	for url, want := range map[string]bool{
		"https://pets.example": true, "https://pets.example/base/": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost:1": true, "http://127.9.9.9": true,
		"http://pets.example": false, "http://localhost.example": false, "http://127.0.0.1.example": false, "http://192.0.2.1": false, "http://0.0.0.0": false, "http://[::]": false,
		"": false, "pets.example": false, "ftp://pets.example": false, "https://": false, "https://user:word@pets.example": false, "https://pets.example?x=1": false, "https://pets.example/#x": false,
		"file:///etc/passwd": false, "https://pets.example:port": false,
	} {
		if _, err := client.New(client.Config{URL: url, Token: "secret"}); (err == nil) != want || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := client.New(client.Config{URL: "http://pets.example"}); err != nil {
		t.Errorf("without a token: %v", err)
	}
	for _, token := range []string{"a b", "a\nX-Evil: 1", "ä", "\x00"} {
		if _, err := client.New(client.Config{URL: "https://pets.example", Token: token}); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

// Neither another host, nor another port of this one, sees the token, wherever a host sends its visitors; nor is it sent where none is needed.
func TestTheTokenStaysWithItsHost(t *testing.T) {
	var visited atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := host(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+r.URL.Path, status) })
		_, err := c.List(t.Context(), "cat", 1, "")
		if client.StatusOf(err) != status || !strings.Contains(err.Error(), other.URL) {
			t.Errorf("%d: %v", status, err)
		}
		if _, err := c.Upload(t.Context(), "cat", 1, pet.JPEG, []byte("x")); client.StatusOf(err) != status {
			t.Errorf("upload, %d: %v", status, err)
		}
	}
	if visited.Load() != 0 {
		t.Errorf("another host was visited %d times", visited.Load())
	}
	var public, private atomic.Value
	c := host(t, func(w http.ResponseWriter, r *http.Request) {
		seen := &private
		if r.Method == "GET" && r.URL.Path != "/pets" {
			seen = &public
		}
		seen.Store(r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, "{}")
	})
	_, err1 := c.Show(t.Context(), "cat", id)
	_, err2 := c.List(t.Context(), "cat", 1, "")
	if err := errors.Join(err1, err2); err != nil || public.Load() != "" || private.Load() != "Bearer secret" {
		t.Errorf("%v: public %q, private %q", err, public.Load(), private.Load())
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		retryAfter   string
		failing      int64 // answers of that kind
		calls, wants int64
	}{
		"throttled":                      {429, "", 2, 3, 200},
		"store failing":                  {503, "1", 1, 2, 200},
		"no origin":                      {502, "", 1, 2, 200},
		"too slow":                       {504, "", 1, 2, 200},
		"failing for good":               {503, "0", 99, 4, 503},
		"longer than is worth":           {503, "60", 99, 1, 503},
		"not yet":                        {409, "1", 1, 2, 200},
		"not for 16 minutes":             {409, "960", 99, 1, 409},
		"a conflict that time mends not": {409, "", 99, 1, 409},
		"changed":                        {412, "1", 99, 1, 412},
		"a mistake of ours":              {400, "", 99, 1, 400},
		"a mistake of theirs":            {500, "", 99, 1, 500},
		"forbidden":                      {403, "", 99, 1, 403},
		"a Retry-After that is none":     {503, "soon", 1, 2, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			cl := host(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if calls.Add(1) > c.failing {
					_, _ = io.WriteString(w, `{"weight":2.5}`)
					return
				}
				if string(body) != `{"weight":0.007}` {
					t.Errorf("an attempt has the body %q", body)
				}
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, `{"detail":"because","request_id":"r-1"}`)
			})
			rec, err := cl.Weigh(t.Context(), "cat", id, 7, "")
			got := int64(client.StatusOf(err))
			if err == nil {
				got = 200
			}
			if got != c.wants || calls.Load() != c.calls || err == nil && rec.Weight != "2.5" || err != nil && err.Error() != fmt.Sprintf("because (%d, request r-1)", c.status) {
				t.Errorf("%d calls, %v; want %d calls, %d", calls.Load(), err, c.calls, c.wants)
			}
		})
	}
}

// The answer that was lost may have been to the very change that the condition was for: another attempt would blame somebody else.
func TestAConditionIsTriedOnce(t *testing.T) {
	for status, want := range map[int]int64{503: 1, 502: 1, 0: 1, 429: 4} {
		var calls atomic.Int64
		c := host(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1); r.Header.Get("If-Match") != `"1-5"` {
				t.Errorf("If-Match is %q", r.Header.Get("If-Match"))
			}
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
		})
		if _, err := c.Weigh(t.Context(), "cat", id, 7, `"1-5"`); client.StatusOf(err) != status || err == nil || calls.Load() != want {
			t.Errorf("%d: %v, %d calls, want %d", status, err, calls.Load(), want)
		}
	}
}

// What breaks off is tried again, and what stays silent is told without the request's address.
func TestNoAnswer(t *testing.T) {
	var calls atomic.Int64
	c := host(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"labels":{"cat":{"pictures":3,"weight":1.5}}}`)
	})
	if s, err := c.Stats(t.Context()); err != nil || calls.Load() != 3 || s.Labels["cat"].Weight != "1.5" {
		t.Errorf("%d calls, %+v, %v", calls.Load(), s, err)
	}
	cut := host(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"labels":`)
	})
	if _, err := cut.Stats(t.Context()); !errors.Is(err, client.ErrUnreachable) || strings.Contains(err.Error(), "/stats") {
		t.Errorf("half an answer: %v", err)
	}
	foreign := host(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello") })
	if _, err := foreign.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer as petpick does") {
		t.Errorf("another kind of host: %v", err)
	}
}

func TestErrorsAreFitForATerminal(t *testing.T) {
	c := host(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_ = json.NewEncoder(w).Encode(map[string]string{"detail": "\x1b]0;owned\x07 really", "request_id": "a\nb"})
	})
	if _, err := c.Stats(t.Context()); err == nil || strings.ContainsAny(err.Error(), "\x1b\x07\n") || !strings.Contains(err.Error(), "really") {
		t.Errorf("%q", err)
	}
	s3 := host(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`)
	})
	if _, err := s3.Stats(t.Context()); err == nil || err.Error() != "Request has expired (403)" {
		t.Errorf("%v", err)
	}
	aws := host(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(413)
		_, _ = io.WriteString(w, `{"message":"Request Entity Too Large"}`)
	})
	if _, err := aws.Stats(t.Context()); err == nil || err.Error() != "Request Entity Too Large (413)" {
		t.Errorf("%v", err)
	}
}

// A large file: the ticket, the PUT whose answer is lost, and the completion that comes too early.
func TestLarge(t *testing.T) {
	if client.MaxInlineBytes != api.MaxInlineBytes {
		t.Errorf("the client sends %d bytes at once, the service takes %d", client.MaxInlineBytes, api.MaxInlineBytes)
	}
	body := make([]byte, client.MaxInlineBytes+1)
	var self string
	var puts, tickets, completed atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/uploads":
			tickets.Add(1)
			var a map[string]any
			if err := json.Unmarshal(got, &a); err != nil || a["label"] != "cat" || a["type"] != "image/png" || a["bytes"] != float64(len(body)) || a["weight"] != 2.5 {
				t.Errorf("announced %s", got)
			}
			w.WriteHeader(201)
			fmt.Fprintf(w, `{"url":"%s/bucket?signature=s3cret","headers":{"content-length":"%d","if-none-match":"*","content-type":"image/png"},"complete":"/uploads/t%d/complete"}`, self, len(body), tickets.Load())
		case r.Method == "PUT":
			if len(got) != len(body) || r.Header.Get("If-None-Match") != "*" || r.Header.Get("Content-Type") != "image/png" || r.Header.Get("Authorization") != "" {
				t.Errorf("PUT: %d bytes, %v", len(got), r.Header)
			}
			switch puts.Add(1) {
			case 1:
				w.WriteHeader(403) // it has expired
			case 2:
				panic(http.ErrAbortHandler)
			default:
				w.WriteHeader(412)
			}
		case r.URL.Path == "/uploads/t2/complete" && completed.Add(1) == 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(409)
		case r.URL.Path == "/uploads/t2/complete":
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"id":"x","weight":2.5,"created":true}`)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}))
	defer s.Close()
	self = s.URL
	cfg := quick
	cfg.URL = s.URL
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	up, err := c.Upload(t.Context(), "cat", 2500, pet.PNG, body)
	if err != nil || !up.Created || up.ID != "x" || tickets.Load() != 2 || puts.Load() != 3 || completed.Load() != 2 {
		t.Errorf("%+v, %v: %d tickets, %d PUTs, %d completions", up, err, tickets.Load(), puts.Load(), completed.Load())
	}
	// A ticket must not lead the file astray.
	for _, tk := range []string{`{"url":"http://bucket.example/x","complete":"/uploads/t/complete"}`, `{"url":"https://bucket.example/x","complete":"https://evil.example/"}`, `{"url":":","complete":"/uploads/t/complete"}`} {
		c := host(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tk) })
		if _, err := c.Upload(t.Context(), "cat", 1, pet.PNG, body); err == nil {
			t.Errorf("%s: accepted", tk)
		}
	}
}
