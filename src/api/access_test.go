package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"petpick/infra"
	"petpick/src/access"
	"petpick/src/api"
	"petpick/src/blob/blobtest"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

type noTokens struct{ err error }

func (n noTokens) List(context.Context) ([]access.Token, []error, error) { return nil, nil, n.err }

// door puts another door before the house.
func (h *house) door(keys *access.Keyring, open bool) {
	h.pets = gateway.ServeAPI(api.NewPets(api.Pets{
		Common: api.Common{
			Indexes:   index.OpenAll(index.Config{Photos: h.photos, Index: h.store}),
			PublicURL: func(context.Context) (string, error) { return "https://pets.example", nil },
			Trace:     gateway.TraceOf, Log: slog.New(slog.NewJSONHandler(&h.log, nil)),
		},
		Photos: photo.NewInspector(), Access: keys, OpenUploads: open, Incoming: api.Incoming{Store: h.store},
	}))
}

func scoped(name string, scopes ...access.Scope) (access.Tokens, string) {
	known := access.Dev()
	for hash, grant := range known {
		grant.Name, grant.Scopes = name, scopes
		known[hash] = grant
	}
	return known, "Bearer " + access.DevToken
}

// RFC 6750, section 3: no error for who sent nothing, the scope for who lacks it, and no word about why a token is not good.
func TestChallenges(t *testing.T) {
	h := newHouse()
	known, token := scoped("x", access.Upload)
	h.door(access.NewKeyring(access.Config{Store: noTokens{}, Known: known}), false)
	var bodies []string
	for _, c := range []struct {
		authorization string
		status        int
		challenge     string
	}{
		{"", 401, `Bearer realm="petpick"`}, {"Basic ZGV2OmRldg==", 401, `Bearer realm="petpick"`}, {"Bearer", 401, `Bearer realm="petpick"`},
		{"Bearer nobody", 401, `Bearer realm="petpick", error="invalid_token"`},
		{"Bearer dev,Bearer dev", 401, `Bearer realm="petpick", error="invalid_token"`}, // the header twice
		{token, 403, `Bearer realm="petpick", error="insufficient_scope", scope="curate"`},
	} {
		a := h.apiAs(t, c.authorization, "DELETE", "/pets/cat/x", "DELETE /pets/{label}/{id}", nil, "")
		if a.Status != c.status || a.Header.Get("Www-Authenticate") != c.challenge {
			t.Errorf("%q: got %d %q, want %d %q", c.authorization, a.Status, a.Header.Get("Www-Authenticate"), c.status, c.challenge)
		}
		if strings.Contains(c.challenge, "invalid_token") {
			bodies = append(bodies, string(a.Body))
		}
	}
	if len(slices.Compact(bodies)) != 1 {
		t.Errorf("the answers tell what is wrong with a token: %q", bodies)
	}
}

// While tokens cannot be checked nobody gets in, and nobody is told that a token is bad.
func TestTokensUnavailable(t *testing.T) {
	h := newHouse()
	_, text, err := access.New("x", access.Scopes, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.door(access.NewKeyring(access.Config{Store: noTokens{errors.New("AccessDenied: a secret of the house")}}), false)
	a := h.apiAs(t, "Bearer "+text, "POST", "/upload", "POST /upload", phototest.JPEG(1, 8, 8), "label=cat")
	wantProblem(t, a, 503, "tokens cannot be checked at the moment; send the request again")
	if a.Header.Get("Retry-After") == "" || !strings.Contains(h.log.String(), "a secret of the house") {
		t.Errorf("%v\n%s", a.Header, h.log.String())
	}
	if a := h.apiAs(t, "Bearer nonsense", "POST", "/upload", "POST /upload", nil, ""); a.Status != 401 {
		t.Errorf("a malformed token: %d", a.Status)
	}
	if a := h.apiAs(t, "", "GET", "/stats", "GET /stats", nil, ""); a.Status != 200 {
		t.Errorf("what takes no token: %d", a.Status)
	}
}

// Open uploads are open to all and say so; curation stays as it was.
func TestOpenUploads(t *testing.T) {
	h := newHouse()
	known, token := scoped("a curator", access.Curate)
	keys := access.NewKeyring(access.Config{Store: noTokens{}, Known: known})
	if a := h.api(t, "GET", "/healthz", "GET /healthz", nil, ""); string(a.Body) != `{"status":"ok","uploads":"token"}`+"\n" {
		t.Errorf("closed: %s", a.Body)
	}
	h.door(keys, true)
	if a := h.api(t, "GET", "/healthz", "GET /healthz", nil, ""); string(a.Body) != `{"status":"ok","uploads":"open"}`+"\n" {
		t.Errorf("open: %s", a.Body)
	}
	var path string
	for i, c := range []struct {
		authorization, by string
		status            int
	}{{"", "anyone", 201}, {"Basic x", "anyone", 201}, {token, "a curator", 201}, {"Bearer nobody", "", 401}} {
		a := h.apiAs(t, c.authorization, "POST", "/upload", "POST /upload", phototest.JPEG(uint64(i), 8, 8), "label=cat")
		if a.Status != c.status || c.by != "" && !strings.Contains(h.log.String(), `"by":"`+c.by+`"`) {
			t.Errorf("%q: got %d %s\n%s", c.authorization, a.Status, a.Body, h.log.String())
		}
		if a.Status == 201 {
			path = a.Header.Get("Location")
		}
	}
	for authorization, status := range map[string]int{"": 401, "Bearer nobody": 401, token: 200} {
		if a := h.apiAs(t, authorization, "DELETE", path, "DELETE /pets/{label}/{id}", nil, ""); a.Status != status {
			t.Errorf("DELETE as %q: got %d %s", authorization, a.Status, a.Body)
		}
	}
}

// A draw costs no call of the store's, whatever is asked for, but the index's own refresh, once a second.
func TestDrawsThatCostNoCalls(t *testing.T) {
	h := newHouse()
	h.upload(t, phototest.JPEG(1, 8, 8))
	calls := func() int64 { return h.photos.Calls() + h.store.Calls() }
	before := calls()
	many := strings.Repeat("&i=1", 10_000)
	for _, query := range []string{
		"", "label=", "label=bird", "label=CAT", "label=cat%00", "label=%zz", "label=cat&label=cat", "label=cat&format=xml", "label=cat&format=", "format=json", "Label=cat",
		"label=../index/cat", "label=cat/../dog", "label=cat&format=image&format=image", many, "label=" + strings.Repeat("x", 1<<20),
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if a := h.draw(t, method, query); a.Status != 400 {
				t.Errorf("%s %.40q: %d", method, query, a.Status)
			}
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", ""} {
		h.draw(t, method, "label=cat&format=json")
	}
	if got := calls() - before; got != 0 {
		t.Errorf("refused requests cost %d calls", got)
	}
	before = calls()
	began := time.Now()
	for i := range 2000 {
		if a := h.draw(t, "GET", fmt.Sprintf("label=cat&i=%d&x=%d", i, rand.Uint64())); a.Status != 302 {
			t.Fatal(a.Status)
		}
	}
	h.draw(t, "GET", "label=cat"+many)
	// The first reads the root; after that one conditional read a second.
	if got, most := calls()-before, 2+2*int64(1+time.Since(began)/time.Second); got > most {
		t.Errorf("2,000 draws with parameters of their own cost %d calls, want at most %d", got, most)
	}
}

var routeKeys = regexp.MustCompile(`RouteKey: (.+)`)

// Events as no service makes them, and some that it does: no route answers with 5xx, tells a secret, breaks a header, or writes.
func TestHostileEvents(t *testing.T) {
	h := newHouse()
	id := h.upload(t, phototest.JPEG(1, 8, 8))
	var writes atomic.Int64
	watch := func(op blobtest.Op, _ string) error {
		if op == blobtest.Create || op == blobtest.Swap || op == blobtest.Delete {
			writes.Add(1)
		}
		return nil
	}
	h.photos.Fail(watch, nil)
	h.store.Fail(watch, nil)
	keys := routeKeys.FindAllStringSubmatch(string(infra.Template), -1)
	if len(keys) < 10 {
		t.Fatalf("%d routes: the test tests nothing", len(keys))
	}
	many := strings.Repeat("label=cat&weight=1&", 10_000)
	bodies := [][]byte{nil, []byte("garbage"), bytes.Repeat([]byte("--B\r\n"), 10_000), []byte(`{"label":"cat","label":"dog","bytes":-1}`), bytes.Repeat([]byte("["), 100_000), []byte(many)}
	headers := []http.Header{
		{}, {"Content-Type": {"multipart/form-data; boundary=B"}}, {"Content-Type": {"multipart/form-data; boundary=\r\nX-Injected: 1"}}, {"Content-Type": {"application/json"}},
		{"If-None-Match": {"*\r\nX-Injected: 1"}, "If-Match": {strings.Repeat(`"x",`, 10_000)}}, {"X-Http-Method-Override": {"DELETE"}, "X-Forwarded-Host": {"evil.example"}, "X-Original-Url": {"/pets"}},
		{"Content-Length": {"-1"}, "Transfer-Encoding": {"chunked"}, "Bad name\x00": {"\x00\xff"}},
	}
	check := func(what string, a gateway.Answer) {
		t.Helper()
		if public := strings.HasPrefix(what, "GET ") && !strings.HasPrefix(what, "GET /pets ") || strings.HasPrefix(what, "HEAD ") || strings.HasPrefix(what, "$default") ||
			strings.HasPrefix(what, "random"); a.Status < 300 && !public {
			t.Errorf("%s: %d: something was done", what, a.Status)
		}
		if a.Status >= 500 && a.Status != 503 || a.Status < 200 {
			t.Errorf("%s: %d %.200s", what, a.Status, a.Body)
		}
		for name, values := range a.Header {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") || name == "X-Injected" {
				t.Errorf("%s: header %q: %q", what, name, values)
			}
		}
		if bytes.Contains(a.Body, []byte("evil.example")) {
			t.Errorf("%s: the client's host came back: %.200s", what, a.Body)
		}
	}
	events := 0
	for _, m := range keys {
		route := strings.TrimSpace(m[1])
		method, path, ok := strings.Cut(route, " ")
		if !ok {
			method, path = "GET", "/"
		}
		path = strings.NewReplacer("{label}", "cat", "{id}", id, "{ticket}", strings.Repeat("0", 32)).Replace(path)
		for _, p := range []string{
			path, path + "/", path + "/..", "/.." + path, "/x/.." + path, "/" + path, path + "\x00", path + "\r\nX-Injected: 1", path + "\xc0\xae\xc0\xae", path + "%2e%2e", path + ";a=b", strings.ToUpper(path),
			path + strings.Repeat("/a", 50_000), `\` + path, "", "*", "http://evil.example" + path,
		} {
			for _, query := range []string{"", "label=cat&label=dog", many, "label=%00&weight=%zz", "limit=1&limit=2&cursor=%ff", "block=true&block=false", "\r\nX-Injected: 1"} {
				for _, authorization := range []string{"", "Bearer uploader", "Bearer \r\nX-Injected: 1", strings.Repeat("Bearer dev,", 1000)} {
					i := events
					events++
					header := headers[i%len(headers)].Clone()
					header["Authorization"] = []string{authorization}
					key := route
					if p != path {
						key = gateway.DefaultRoute // but some reach the route itself
						if i%2 == 0 {
							key = route
						}
					}
					e := gateway.APIEvent(gateway.Request{
						Method: method, Path: p, Query: query, Body: bodies[i%len(bodies)], Header: header, Host: "evil.example", Trace: gateway.Trace{RequestID: "req", Route: key},
					})
					r, err := h.pets(t.Context(), e)
					if err != nil {
						t.Fatal(err)
					}
					a, err := gateway.APIAnswer(r)
					if err != nil {
						t.Fatal(err)
					}
					check(fmt.Sprintf("%s %.60q?%.20q as %.30q", route, p, query, authorization), a)
				}
			}
		}
		for _, verb := range []string{"HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "", "get", "GET /x", "G\x00T", "DELETE\r\nX-Injected: 1"} {
			check(verb+" "+path, h.apiAs(t, "Bearer uploader", verb, path, gateway.DefaultRoute, []byte("x"), ""))
			check(verb+" "+path+" by its route", h.apiAs(t, "", verb, path, route, []byte("x"), ""))
		}
	}
	for _, path := range []string{"/random/..", "//random", "/%72andom", "/random%00", "/%zz", "", "/random\r\nX-Injected: 1", "/RANDOM"} {
		r, err := h.random(t.Context(), gateway.FunctionEvent(gateway.Request{Method: "GET", RawPath: path, Query: many, Host: "evil.example"}))
		if err != nil {
			t.Fatal(err)
		}
		a, err := gateway.FunctionAnswer(r)
		if err != nil {
			t.Fatal(err)
		}
		check("random at "+path, a)
	}
	if got := writes.Load(); got != 0 {
		t.Errorf("%d writes by %d hostile events", got, events)
	}
	if a := h.draw(t, "GET", "label=cat"); a.Status != 302 {
		t.Errorf("afterwards: %d", a.Status)
	}
	t.Logf("%d events", events)
}
