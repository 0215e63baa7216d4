package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"petpick/src/access"
	"petpick/src/api"
	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/pet"
	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

// house is both functions over stores that can be made to fail; requests reach them as events.
type house struct {
	photos, store *blobtest.Faulty
	log           bytes.Buffer
	pets          gateway.API
	random        gateway.Function
	url           atomic.Pointer[func() (string, error)]
}

func newHouse() *house {
	h := &house{photos: blobtest.NewFaulty(blob.NewMemory(nil)), store: blobtest.NewFaulty(blob.NewMemory(nil))}
	url := func() (string, error) { return "https://pets.example", nil }
	h.url.Store(&url)
	common := func() api.Common {
		return api.Common{
			Indexes:   index.OpenAll(index.Config{Photos: h.photos, Index: h.store}),
			PublicURL: func(context.Context) (string, error) { return (*h.url.Load())() },
			Trace:     gateway.TraceOf,
			Log:       slog.New(slog.NewJSONHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
	}
	tokens := access.Dev()
	tokens[sha256.Sum256([]byte("uploader"))] = access.Grant{Name: "an uploader", Scopes: []access.Scope{access.Upload}}
	tokens[sha256.Sum256([]byte("curator"))] = access.Grant{Name: "a curator", Scopes: []access.Scope{access.Curate}}
	h.pets = gateway.ServeAPI(api.NewPets(api.Pets{Common: common(), Photos: photo.NewInspector(), Access: tokens, Incoming: api.Incoming{
		Store: h.store, Presign: func(_ context.Context, key string, _ int64, _ blob.Attr, _ time.Duration) (string, map[string]string, error) {
			return "https://bucket.example/" + key, map[string]string{"if-none-match": "*"}, nil
		},
	}}))
	h.random = gateway.ServeFunction(api.NewRandom(api.Random{Common: common(), Photos: h.photos}))
	return h
}

func (h *house) api(t *testing.T, method, path, route string, body []byte, query string) gateway.Answer {
	t.Helper()
	return h.apiAs(t, "Bearer dev", method, path, route, body, query)
}

func (h *house) apiAs(t *testing.T, authorization, method, path, route string, body []byte, query string) gateway.Answer {
	t.Helper()
	r, err := h.pets(t.Context(), gateway.APIEvent(gateway.Request{
		Method: method, Path: path, Query: query, Body: body,
		Header: http.Header{"Authorization": {authorization}}, Trace: gateway.Trace{RequestID: "req-1", Route: route},
	}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := gateway.APIAnswer(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (h *house) draw(t *testing.T, method, query string) gateway.Answer {
	t.Helper()
	r, err := h.random(t.Context(), gateway.FunctionEvent(gateway.Request{Method: method, RawPath: "/random", Query: query, Trace: gateway.Trace{RequestID: "req-2"}}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := gateway.FunctionAnswer(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (h *house) upload(t *testing.T, image []byte) string {
	t.Helper()
	a := h.api(t, "POST", "/upload", "POST /upload", image, "label=cat")
	if a.Status != 201 {
		t.Fatalf("upload: %d %s", a.Status, a.Body)
	}
	var rec struct{ ID string }
	if err := json.Unmarshal(a.Body, &rec); err != nil {
		t.Fatal(err)
	}
	return rec.ID
}

func wantProblem(t *testing.T, a gateway.Answer, status int, detail string) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(a.Body, &p); err != nil || a.Status != status || p.Status != status || p.Detail != detail || p.RequestID == "" ||
		a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v %s, want %d %q", a.Status, a.Header, a.Body, status, detail)
	}
}

// What is unforeseen tells the client nothing, and the log everything.
func TestUnforeseenErrorsStayInTheHouse(t *testing.T) {
	h := newHouse()
	h.upload(t, phototest.JPEG(1, 8, 8))
	secret := errors.New("AccessDenied: arn:aws:iam::123456789012:role/secret")
	deny := func(blobtest.Op, string) error { return secret }
	h.photos.Fail(deny, nil)
	a := h.api(t, "POST", "/upload", "POST /upload", phototest.JPEG(2, 8, 8), "label=cat")
	wantProblem(t, a, 500, "internal error")
	wantProblem(t, h.draw(t, "GET", "label=cat&format=json"), 500, "internal error")
	if bytes.Contains(a.Body, []byte("secret")) || !strings.Contains(h.log.String(), "role/secret") || !strings.Contains(h.log.String(), `"request_id":"req-1"`) {
		t.Errorf("body %s\nlog %s", a.Body, h.log.String())
	}
	h.photos.Fail(func(blobtest.Op, string) error { panic("a bug, with secret") }, nil)
	wantProblem(t, h.draw(t, "GET", "label=cat&format=json"), 500, "internal error")
	if !strings.Contains(h.log.String(), "a bug, with secret") {
		t.Error("the panic is not in the log")
	}
}

func TestStoreFailing(t *testing.T) {
	h := newHouse()
	h.store.Fail(blobtest.Outage, nil)
	for name, a := range map[string]gateway.Answer{
		"draw": h.draw(t, "GET", "label=cat"), "stats": h.api(t, "GET", "/stats", "GET /stats", nil, ""), "healthz": h.api(t, "GET", "/healthz", "GET /healthz", nil, ""),
		"upload": h.api(t, "POST", "/upload", "POST /upload", phototest.JPEG(2, 8, 8), "label=cat"),
	} {
		if a.Status != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", name, a.Status, a.Header)
		}
	}
	h = newHouse()
	url := func() (string, error) { return "", fmt.Errorf("SSM is down") }
	id := h.upload(t, phototest.JPEG(3, 8, 8))
	h.url.Store(&url)
	wantProblem(t, h.draw(t, "GET", "label=cat&format=text"), 500, "internal error")
	if a := h.draw(t, "GET", "label=cat"); a.Status != 302 || !strings.Contains(a.Header.Get("Location"), id) {
		t.Errorf("a redirect needs no URL: %d", a.Status)
	}
}

func TestTokens(t *testing.T) {
	h := newHouse()
	image := phototest.JPEG(1, 8, 8)
	for authorization, status := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer nobody": 401, "Basic dev": 401, "dev": 401, "Bearer curator": 403, "bearer dev": 201,
	} {
		// A body that would be refused as well: the token comes first.
		body := image
		if status != 201 {
			body = []byte("not a picture")
		}
		a := h.apiAs(t, authorization, "POST", "/upload", "POST /upload", body, "label=cat")
		if a.Status != status || status == 401 && a.Header.Get("WWW-Authenticate") == "" || status == 403 && !strings.Contains(string(a.Body), `\"upload\"`) {
			t.Errorf("%q: got %d %v %s, want %d", authorization, a.Status, a.Header, a.Body, status)
		}
	}
	if a := h.apiAs(t, "Bearer  dev ", "POST", "/upload", "POST /upload", image, "label=cat"); a.Status != 200 {
		t.Errorf("spaces around the token: %d", a.Status)
	}
}

// No token and no body reaches a log.
func TestLogs(t *testing.T) {
	h := newHouse()
	h.upload(t, phototest.JPEG(1, 8, 8))
	_ = h.draw(t, "GET", "label=bird")
	for _, line := range strings.Split(strings.TrimSpace(h.log.String()), "\n") {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if entry["request_id"] == nil {
			t.Errorf("no request id: %s", line)
		}
		if entry["msg"] == "request" && (entry["status"] == nil || entry["duration"] == nil || entry["route"] == nil) {
			t.Errorf("a request's line lacks something: %s", line)
		}
	}
	if strings.Contains(h.log.String(), "Bearer") || strings.Contains(h.log.String(), "JFIF") {
		t.Errorf("the log has a token or a body: %s", h.log.String())
	}
}

// A picture that is gone since the index was read is drawn again, after a fresh look.
func TestDrawnPictureIsGone(t *testing.T) {
	h := newHouse()
	gone := h.upload(t, phototest.JPEG(1, 8, 8))
	kept := h.upload(t, phototest.JPEG(2, 8, 8))
	id, err := pet.ParseID(gone)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.photos.Delete(t.Context(), pet.Key("cat", id)); err != nil {
		t.Fatal(err)
	}
	served := 0
	for range 40 { // a try draws the missing picture three times in a row with a probability of 1/8
		a := h.draw(t, "GET", "label=cat&format=json")
		switch a.Status {
		case 200:
			served++
			if !bytes.Contains(a.Body, []byte(kept)) {
				t.Errorf("got %s", a.Body)
			}
		case 404, 500:
		default:
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	}
	if served < 20 {
		t.Errorf("%d of 40 answered", served)
	}
}

// A picture too large for a Lambda's answer gets the redirect instead.
func TestLargePicturesAreRedirected(t *testing.T) {
	h := newHouse()
	body := append(phototest.JPEG(1, 8, 8), make([]byte, api.MaxInlineBytes)...)
	x := index.Open(index.Config{Label: "cat", Photos: h.photos, Index: h.store})
	if _, err := x.Add(t.Context(), index.Photo{ID: pet.ID{15: byte(pet.JPEG)}, Body: body, Width: 8, Height: 8, Weight: 1}); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "HEAD"} {
		if a := h.draw(t, method, "label=cat&format=image"); a.Status != 302 || !strings.HasPrefix(a.Header.Get("Location"), "/cat/") || len(a.Body) != 0 {
			t.Errorf("%s: %d %v, %d bytes", method, a.Status, a.Header, len(a.Body))
		}
	}
}

func TestMethodsAndRoutes(t *testing.T) {
	h := newHouse()
	for _, c := range []struct {
		method, path, route string
		status              int
		allow               string
	}{
		{"GET", "/healthz", "GET /healthz", 200, ""},
		{"HEAD", "/healthz", "$default", 200, ""},
		{"GET", "/healthz", "$default", 404, ""}, // the template has no such route: so have we
		{"PATCH", "/healthz", "$default", 405, "GET, HEAD"},
		{"GET", "/upload", "$default", 405, "POST"},
		{"PUT", "/pets/cat/x", "$default", 405, "GET, HEAD, PATCH, DELETE"},
		{"GET", "/pets/cat", "$default", 404, ""},
		{"GET", "/healthz/", "$default", 404, ""},
		{"GET", "//healthz", "$default", 404, ""},
		{"GET", "/pets/../healthz", "$default", 404, ""},
		{"GET", "", "$default", 404, ""},
		{"BREW", "/", "$default", 405, "GET, HEAD"},
	} {
		a := h.api(t, c.method, c.path, c.route, nil, "")
		if a.Status != c.status || a.Header.Get("Allow") != c.allow {
			t.Errorf("%s %q by %s: got %d, Allow %q; want %d, %q", c.method, c.path, c.route, a.Status, a.Header.Get("Allow"), c.status, c.allow)
		}
		if c.method == "HEAD" && len(a.Body) > 0 {
			t.Errorf("HEAD has a body: %q", a.Body)
		}
	}
	if a := h.draw(t, "POST", "label=cat"); a.Status != 405 || a.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST /random: %d %v", a.Status, a.Header)
	}
	if a := h.draw(t, "OPTIONS", ""); a.Status != 204 || a.Header.Get("Access-Control-Allow-Methods") == "" {
		t.Errorf("preflight of /random: %d %v", a.Status, a.Header)
	}
}

func TestWhoMayRemove(t *testing.T) {
	h := newHouse()
	path := h.api(t, "POST", "/upload", "POST /upload", phototest.JPEG(1, 8, 8), "label=cat").Header.Get("Location")
	for _, c := range []struct {
		authorization string
		status        int
	}{{"", 401}, {"Bearer nobody", 401}, {"Bearer uploader", 403}, {"Bearer curator", 200}} {
		a := h.apiAs(t, c.authorization, "DELETE", path, "DELETE /pets/{label}/{id}", nil, "")
		if a.Status != c.status {
			t.Errorf("%q: got %d %s, want %d", c.authorization, a.Status, a.Body, c.status)
		}
		if c.status == 403 && !strings.Contains(string(a.Body), "curate") {
			t.Errorf("the missing scope is not named: %s", a.Body)
		}
	}
	if log := h.log.String(); !strings.Contains(log, `"msg":"removed"`) || !strings.Contains(log, `"by":"a curator"`) {
		t.Errorf("the log does not say who removed it: %s", log)
	}
}

// A picture that is being removed is drawn for a moment still: who asks for a record gets another's.
func TestRecordsBesideARemoval(t *testing.T) {
	h := newHouse()
	var paths []string
	for i := range uint64(2) {
		paths = append(paths, h.api(t, "POST", "/upload", "POST /upload", phototest.JPEG(i, 8, 8), "label=cat").Header.Get("Location"))
	}
	h.draw(t, "GET", "label=cat&format=json") // both are in memory now
	if a := h.api(t, "DELETE", paths[0], "DELETE /pets/{label}/{id}", nil, ""); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	for range 30 {
		if a := h.draw(t, "GET", "label=cat&format=json"); a.Status != 200 || !strings.Contains(string(a.Body), strings.TrimPrefix(paths[1], "/pets/cat/")) {
			t.Fatalf("got %d %s", a.Status, a.Body)
		}
	}
}

// BenchmarkRandom is a draw as a Lambda does it, from the decoded event to its response.
func BenchmarkRandom(b *testing.B) {
	for _, n := range []int{1, 1_000} {
		b.Run(fmt.Sprintf("pictures=%d", n), func(b *testing.B) {
			photos, store := blob.NewMemory(nil), blob.NewMemory(nil)
			x := index.Open(index.Config{Label: "cat", Photos: photos, Index: store})
			for i := range n {
				id := pet.ID{byte(i >> 8), byte(i), 15: byte(pet.JPEG)}
				if _, err := x.Add(b.Context(), index.Photo{ID: id, Body: []byte{1}, Width: 1, Height: 1, Weight: pet.Weight(1 + i)}); err != nil {
					b.Fatal(err)
				}
			}
			handler := gateway.ServeFunction(api.NewRandom(api.Random{
				Common: api.Common{
					Indexes:   index.OpenAll(index.Config{Photos: photos, Index: store}),
					PublicURL: func(context.Context) (string, error) { return "https://pets.example", nil },
					Trace:     gateway.TraceOf, Log: slog.New(slog.NewJSONHandler(&bytes.Buffer{}, nil)), Served: slog.LevelDebug,
				},
				Photos: photos,
			}))
			event := gateway.FunctionEvent(gateway.Request{
				Method: "GET", RawPath: "/random", Query: "label=cat", Header: http.Header{"User-Agent": {"Amazon CloudFront"}, "X-Forwarded-For": {"192.0.2.1"}},
			})
			var a events.LambdaFunctionURLResponse
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if a, err = handler(b.Context(), event); err != nil || a.StatusCode != 302 {
					b.Fatal(a.StatusCode, err)
				}
			}
		})
	}
}
