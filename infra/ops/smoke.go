package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"petpick/infra"
)

// smoke tries every public route of a deployment, as a stranger would, and leaves nothing behind. With a token it uploads a picture, of so
// small a weight that it is hardly drawn while it is there; without the scope curate it cannot delete it, and then uses the same one each time.
func smoke(ctx context.Context, client *http.Client, base, token string, out io.Writer) error {
	follow := *client
	follow.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s := &smoker{ctx: ctx, client: &follow, base: strings.TrimRight(base, "/"), token: token, out: out}
	fmt.Fprintln(out, "smoke test of", s.base)
	if err := s.awake(); err != nil {
		return err
	}
	s.reading()
	s.refusals()
	if token != "" {
		s.uploading()
	} else {
		fmt.Fprintln(out, "  no token: no upload was tried (TOKEN=…, or PETPICK_TOKEN)")
		s.draw("cat", "")
	}
	if len(s.faults) > 0 {
		return errors.Join(s.faults...)
	}
	fmt.Fprintln(out, "  all is well:", s.checks, "checks")
	return nil
}

type smoker struct {
	ctx         context.Context
	client      *http.Client
	base, token string
	out         io.Writer
	checks      int
	faults      []error
}

// answer is a response with its body. status 0: there was none.
type answer struct {
	what   string
	status int
	header http.Header
	body   []byte
}

func (s *smoker) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Errorf(format, args...))
}

// check notes a fault of an answer unless ok.
func (s *smoker) check(a answer, ok bool, want string) bool {
	s.checks++
	if !ok {
		s.fault("%s: got %d %v %.200q, want %s", a.what, a.status, a.header, a.body, want)
	}
	return ok
}

func (s *smoker) do(method, path, token string, header map[string]string, body []byte) answer {
	a := answer{what: method + " " + path, header: http.Header{}}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.ctx, method, s.base+path, reader)
	if err != nil {
		s.fault("%s: %w", a.what, err)
		return a
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.fault("%s: %w", a.what, err)
		return a
	}
	defer resp.Body.Close()
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		s.fault("%s: %w", a.what, err)
	}
	a.status, a.header = resp.StatusCode, resp.Header
	return a
}

func (s *smoker) get(path string) answer { return s.do("GET", path, "", nil, nil) }

// awake waits for up to a minute: names and routes need a moment to be known everywhere.
func (s *smoker) awake() error {
	return s.until(func() (bool, error) {
		a := s.get("/healthz")
		faults := s.faults
		s.faults = nil
		if a.status == http.StatusOK { // the rights of the edge to call the random function are among the last that a deployment makes
			a = s.get("/random?label=bird")
			return a.status != http.StatusForbidden, fmt.Errorf("%s/random is forbidden to the edge: %.200q", s.base, a.body)
		}
		return false, fmt.Errorf("%s/healthz does not answer: %d %.200q %w", s.base, a.status, a.body, errors.Join(faults...))
	})
}

// until asks each second, for a minute, and then returns the last error.
func (s *smoker) until(done func() (bool, error)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; {
		ok, err := done()
		if ok {
			return nil
		}
		if time.Now().After(end) {
			return err
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

var plainRoute = regexp.MustCompile(`RouteKey: GET (/[a-z.]*)\n`)

// reading: every route of the template that has no variable.
func (s *smoker) reading() {
	for _, m := range plainRoute.FindAllSubmatch(infra.Template, -1) {
		a := s.get(string(m[1]))
		if a.status == http.StatusUnauthorized {
			s.problem(a, http.StatusUnauthorized)
			continue
		}
		s.check(a, a.status == http.StatusOK && len(a.body) > 0 && a.header.Get("X-Content-Type-Options") == "nosniff", "200 with a body, nosniff")
	}
	a := s.do("OPTIONS", "/upload", "", map[string]string{"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}, nil)
	s.check(a, a.status == http.StatusNoContent && a.header.Get("Access-Control-Allow-Origin") == "*", "204 that allows every origin")
}

// problem wants one of our own errors.
func (s *smoker) problem(a answer, status int) {
	var p struct {
		Status    int
		RequestID string `json:"request_id"`
	}
	err := json.Unmarshal(a.body, &p)
	s.check(a, err == nil && a.status == status && p.Status == status && p.RequestID != "" && a.header.Get("Content-Type") == "application/problem+json" &&
		a.header.Get("Cache-Control") == "no-store" && a.header.Get("Access-Control-Allow-Origin") == "*",
		fmt.Sprintf("%d, a problem document that is not stored and for every origin", status))
}

func (s *smoker) refusals() {
	s.problem(s.get("/random?label=bird"), http.StatusBadRequest)
	s.problem(s.get("/nothing"), http.StatusNotFound)
	s.problem(s.get("/pets/cat/00000000000000000000000000000000"), http.StatusNotFound)
	s.problem(s.do("PUT", "/stats", "", nil, nil), http.StatusMethodNotAllowed)
	if a := s.do("POST", "/random?label=cat", "", nil, nil); s.check(a, a.status == http.StatusForbidden, "403 of CloudFront, which allows no POST there") {
		s.check(a, a.header.Get("Content-Type") != "application/problem+json", "an answer of CloudFront itself")
	}
	a := s.get("/cat/00000000000000000000000000000000.jpg")
	s.check(a, a.status == http.StatusForbidden, "403: S3 does not tell whether a picture is there")
	a = s.do("POST", "/upload?label=cat", "wrong", nil, []byte("x"))
	s.problem(a, http.StatusUnauthorized)
	// Some of AWS's gateways rename the header; whether this one does was never seen.
	challenge := firstOf(a.header.Get("WWW-Authenticate"), a.header.Get("X-Amzn-Remapped-Www-Authenticate"))
	s.check(a, strings.HasPrefix(challenge, "Bearer"), "WWW-Authenticate: Bearer")
	if a := s.do("POST", "/upload?label=cat", "", nil, []byte("x")); a.status == http.StatusUnsupportedMediaType {
		fmt.Fprintln(s.out, "  uploads are open to everyone here (OpenUploads)")
	} else {
		s.problem(a, http.StatusUnauthorized)
	}
}

type record struct {
	ID, Label, URL, Type string
	Bytes                int
	Width, Height        int
}

func (s *smoker) uploading() {
	curates, err := s.mayCurate()
	if err != nil {
		s.fault("%w", err)
		return
	}
	picture := generate(curates)
	a := s.do("POST", "/upload?label=cat&weight=0.001", s.token, map[string]string{"Content-Type": "image/png"}, picture)
	var rec record
	err = json.Unmarshal(a.body, &rec)
	if !s.check(a, err == nil && (a.status == http.StatusCreated || a.status == http.StatusOK && !curates) && rec.Label == "cat" && rec.Type == "image/png" && rec.Width == side,
		"201 and the picture's record") {
		return
	}
	if curates {
		defer s.remove(rec)
	} else {
		fmt.Fprintf(s.out, "  this token may not delete: the test picture %s stays, with a weight of 0.001\n", rec.ID)
	}
	s.check(a, a.header.Get("Location") == "/pets/cat/"+rec.ID, "Location: /pets/cat/"+rec.ID)
	a = s.get("/pets/cat/" + rec.ID)
	s.check(a, a.status == http.StatusOK && a.header.Get("ETag") != "" && bytes.Contains(a.body, []byte(rec.ID)), "200, its record, an ETag")
	path := "/cat/" + rec.ID + ".png"
	s.check(a, strings.HasSuffix(rec.URL, path), "url …"+path)
	s.picture(path, rec.Bytes)
	s.draw("cat", rec.ID)
}

// mayCurate waits until the token is known, which takes up to a minute when it is new, and tells whether it may delete.
func (s *smoker) mayCurate() (may bool, err error) {
	err = s.until(func() (bool, error) {
		a := s.do("DELETE", "/pets/cat/no-id?block=false", s.token, nil, nil)
		may = a.status != http.StatusForbidden
		return a.status != http.StatusUnauthorized, fmt.Errorf("the token is not known: %d %.200q", a.status, a.body)
	})
	return may, err
}

const side = 16

// generate makes a picture: one that nobody has, or always the same.
func generate(another bool) []byte {
	seed := [32]byte{'p', 'e', 't', 'p', 'i', 'c', 'k'}
	if another {
		_, _ = rand.Read(seed[:]) // never fails
	}
	noise := mathrand.NewChaCha8(seed)
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	_, _ = noise.Read(m.Pix) // never fails
	for i := 3; i < len(m.Pix); i += 4 {
		m.Pix[i] = 255
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err) // a picture of 16 by 16 pixels, into memory
	}
	return b.Bytes()
}

// picture wants the bytes as the edge gives them: for a year, to every origin, with and without an Origin.
func (s *smoker) picture(path string, size int) {
	for _, header := range []map[string]string{nil, {"Origin": "https://example.com"}} {
		a := s.do("GET", path, "", header, nil)
		s.check(a, a.status == http.StatusOK && (size == 0 || len(a.body) == size) && strings.Contains(a.header.Get("Cache-Control"), "immutable") && a.header.Get("ETag") != "" &&
			a.header.Get("Access-Control-Allow-Origin") == "*" && a.header.Get("X-Content-Type-Options") == "nosniff" && strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox"),
			fmt.Sprintf("200, %d bytes, immutable, an ETag, for every origin, harmless", size))
	}
	a := s.do("GET", path, "", map[string]string{"Range": "bytes=0-3"}, nil)
	s.check(a, a.status == http.StatusPartialContent && len(a.body) == 4, "206 and 4 bytes")
}

var location = regexp.MustCompile(`^/(cat|dog)/[0-9a-f]{32}\.(jpg|png|webp)$`)

// draw tries all forms of /random. Where no picture is known to be there, 404 is right as well.
func (s *smoker) draw(label, known string) {
	a := s.get("/random?label=" + label)
	if a.status == http.StatusNotFound && known == "" {
		s.problem(a, http.StatusNotFound)
		return
	}
	if !s.check(a, a.status == http.StatusFound && location.MatchString(a.header.Get("Location")) && a.header.Get("Cache-Control") == "no-store" && len(a.body) == 0, "302 to /cat/<id>.<ext>, not stored") {
		return
	}
	s.picture(a.header.Get("Location"), 0)
	a = s.do("HEAD", "/random?label="+label, "", nil, nil)
	s.check(a, a.status == http.StatusFound && location.MatchString(a.header.Get("Location")), "302")
	a = s.get("/random?label=" + label + "&format=json")
	var rec record
	err := json.Unmarshal(a.body, &rec)
	s.check(a, err == nil && a.status == http.StatusOK && rec.Label == label && strings.HasPrefix(rec.URL, "http"), "200 and a record")
	a = s.get("/random?label=" + label + "&format=text")
	url := strings.TrimSuffix(string(a.body), "\n")
	s.check(a, a.status == http.StatusOK && strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") && strings.HasPrefix(url, "http") && location.MatchString(url[max(0, strings.Index(url, "/"+label+"/")):]),
		"200 and a URL")
	a = s.get("/random?label=" + label + "&format=image")
	s.check(a, a.status == http.StatusOK && slices.Contains([]string{"image/jpeg", "image/png", "image/webp"}, a.header.Get("Content-Type")) && a.header.Get("Cache-Control") == "no-store" || a.status == http.StatusFound,
		"200 and a picture, not stored")
}

func (s *smoker) remove(rec record) {
	a := s.do("DELETE", "/pets/cat/"+rec.ID+"?block=false", s.token, nil, nil)
	if s.check(a, a.status == http.StatusOK, "200 and a receipt; the test picture is still there") {
		a = s.get("/pets/cat/" + rec.ID)
		s.check(a, a.status == http.StatusGone || a.status == http.StatusNotFound, "410: it is removed")
	}
	// A function that has the index in memory looks again after a second.
	if err := s.until(func() (bool, error) {
		a := s.get("/random?label=cat")
		return !strings.Contains(a.header.Get("Location"), rec.ID), fmt.Errorf("%s is removed, and still drawn", rec.ID)
	}); err != nil {
		s.fault("%w", err)
	}
}
