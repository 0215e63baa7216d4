// Package edge does on one machine what CloudFront and API Gateway do on AWS, as the CloudFormation template says: behaviours,
// cache and origin request policies, response headers, error caching, routes, CORS, limits. It is for development: `petpick serve`
// puts it in front of the same handlers that run on Lambda. What the template does not have is not here either.
package edge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"petpick/src/gateway"
)

// Config names the parts that the template refers to, by their logical IDs.
type Config struct {
	// Template is the CloudFormation template.
	Template []byte
	// APIs are the functions that an HTTP API integrates.
	APIs map[string]gateway.API
	// Functions are those behind function URLs.
	Functions map[string]gateway.Function
	// Buckets are the S3 origins.
	Buckets map[string]Bucket
	// Now is the clock of the cache; nil means time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Edge is a distribution and what is behind it.
type Edge struct {
	behaviors []behavior // the default one last
	errorTTL  map[int]time.Duration
	cache     *cache
	buffers   *semaphore.Weighted
	now       func() time.Time
	log       *slog.Logger
}

type behavior struct {
	pattern string
	methods []string
	cache   cachePolicy
	forward forwardPolicy
	headers headersPolicy
	origin  origin
	custom  http.Header   // what the distribution adds to every origin request
	timeout time.Duration // for which the origin may be silent
	viewer  *viewerFunction
}

// origin answers a request that CloudFront forwards.
type origin interface {
	fetch(ctx context.Context, r gateway.Request) (gateway.Answer, error)
}

// Limits of CloudFront and of what is behind it.
const (
	maxURLBytes = 8192
	// drainTime is how long an unread body is read and dropped: a client that sends all before it reads gets the answer, not a
	// broken connection.
	drainTime = 20 * time.Second
)

// Invalidate forgets a path, as CloudFront does when it is asked to.
func (e *Edge) Invalidate(path string) { e.cache.drop(path) }

// ServeHTTP answers a viewer.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer drain(w, r)
	id := requestID()
	w.Header().Set("X-Amz-Cf-Id", id)
	if len(r.RequestURI) > maxURLBytes {
		e.sorry(w, r, id, http.StatusRequestURITooLong, "the URL is longer than 8,192 bytes")
		return
	}
	normalize(r.URL)
	b := e.match(r.URL.EscapedPath())
	if !slices.Contains(b.methods, r.Method) {
		e.sorry(w, r, id, http.StatusForbidden, "this distribution does not allow the method here")
		return
	}
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength != 0 {
		e.sorry(w, r, id, http.StatusForbidden, "a GET carries no body")
		return
	}
	if b.viewer != nil {
		answer, err := b.viewer.run(r, id)
		if err != nil {
			e.log.ErrorContext(r.Context(), "viewer function failed", slog.Any("error", err))
			e.sorry(w, r, id, http.StatusServiceUnavailable, "a function at the edge failed")
			return
		}
		if answer != nil {
			e.logOwn(r, id, answer.Status, "viewer function")
			b.send(w, r, *answer, "LambdaGeneratedResponse from cloudfront")
			return
		}
	}
	e.serve(w, r, b, id)
}

func (e *Edge) serve(w http.ResponseWriter, r *http.Request, b *behavior, id string) {
	key, cacheable := b.cache.key(r)
	if cacheable {
		if hit, age, ok := e.cache.get(key, e.now()); ok {
			w.Header().Set("Age", strconv.Itoa(int(age.Seconds())))
			b.send(w, r, hit, "Hit from cloudfront")
			return
		}
	}
	began := e.cache.began()
	req, release, err := e.request(b, r, id)
	defer release()
	switch {
	case errors.Is(err, errTooLarge):
		answer := apiMessage(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		if api, ok := b.origin.(*apiOrigin); ok {
			answer = api.tooLarge(r)
		}
		b.send(w, r, answer, "Error from cloudfront")
		return
	case errors.Is(err, errNoRoom):
		b.send(w, r, apiMessage(http.StatusServiceUnavailable, "Service Unavailable"), "Error from cloudfront")
		return
	case err != nil: // the client went away, or sent what HTTP does not allow
		e.sorry(w, r, id, http.StatusBadRequest, "the body could not be read")
		return
	}
	if cacheable && b.cache.maxTTL > 0 {
		req.Method = http.MethodGet // the whole object, which then answers HEAD, ranges and conditions
	}
	within, cancel := b.within(r.Context())
	defer cancel()
	answer, err := b.origin.fetch(within, req)
	if err != nil {
		status := http.StatusBadGateway
		if within.Err() != nil {
			status = http.StatusGatewayTimeout
		}
		e.log.ErrorContext(r.Context(), "origin failed", slog.String("request_id", id), slog.Any("error", err))
		e.sorry(w, r, id, status, "the origin does not answer")
		return
	}
	if cacheable && (req.Method == http.MethodGet || answer.Status >= 400) {
		if ttl := e.ttl(b, answer); ttl > 0 {
			e.cache.put(key, began, answer, e.now(), ttl)
		}
	}
	status := "Miss from cloudfront"
	if answer.Status >= 400 {
		status = "Error from cloudfront"
	}
	b.send(w, r, answer, status)
}

// within bounds an origin's time. A function that ends sooner by itself needs no second clock.
func (b *behavior) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if f, ok := b.origin.(functionOrigin); ok && f.lambda.timeout < b.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, b.timeout)
}

// request is what the origin gets of the viewer's request. release gives back the memory of its body.
func (e *Edge) request(b *behavior, r *http.Request, id string) (req gateway.Request, release func(), err error) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	req = gateway.Request{
		Method: r.Method, IP: ip, Path: r.URL.Path, RawPath: r.URL.EscapedPath(),
		Query: b.forward.query(r.URL.RawQuery), Header: b.forward.header(r.Header),
		Trace: gateway.Trace{RequestID: id},
	}
	added := [...]string{ip, id} // one allocation for both
	req.Header["X-Forwarded-For"], req.Header["X-Amz-Cf-Id"] = added[0:1:1], added[1:2:2]
	req.Header["Via"] = via
	for name, values := range b.custom {
		req.Header[name] = values
	}
	req.Body, release, err = e.receive(r.Body)
	return req, release, err
}

var (
	errTooLarge = errors.New("body over the API's limit")
	errNoRoom   = errors.New("too many bodies at once")
)

// receive reads a body. What it takes of the memory for bodies grows with what has arrived, so that slow clients hold little.
func (e *Edge) receive(body io.Reader) (data []byte, release func(), err error) {
	var held int64
	release = func() { e.buffers.Release(held) }
	if body == http.NoBody {
		return nil, release, nil
	}
	var buf bytes.Buffer
	for step := int64(freeBuffer); ; step = 1 << 20 {
		n, err := io.CopyN(&buf, body, step)
		switch {
		case buf.Len() > maxAPIBody:
			return nil, release, errTooLarge
		case errors.Is(err, io.EOF):
			return buf.Bytes(), release, nil
		case err != nil:
			return nil, release, err
		}
		// A buffer doubles as it grows.
		if take := 2 * n; !e.buffers.TryAcquire(take) {
			return nil, release, errNoRoom
		} else {
			held += take
		}
	}
}

// via is shared by all messages: nobody may change it.
var via = []string{"1.1 local (CloudFront)"}

// send writes an answer to the viewer, with the headers that the behaviour adds and removes.
func (b *behavior) send(w http.ResponseWriter, r *http.Request, a gateway.Answer, cacheStatus string) {
	h := w.Header()
	for name, values := range a.Header {
		if !hopByHop(name) {
			h[name] = slices.Clip(values) // the cache's own: nobody may append to it
		}
	}
	h["X-Cache"], h["Via"] = []string{cacheStatus}, via
	b.headers.apply(h, r.Header.Get("Origin") != "")
	if b.cache.maxTTL > 0 && a.Status == http.StatusOK && len(a.Body) > 0 {
		// A whole object answers ranges, conditions and HEAD by itself, from the cache or not.
		modified, _ := http.ParseTime(h.Get("Last-Modified"))
		h.Del("Content-Length")
		if strings.Contains(r.Header.Get("Range"), ",") {
			r.Header.Del("Range") // S3 answers several ranges with the whole
		}
		http.ServeContent(w, r, "", modified, bytes.NewReader(a.Body))
		return
	}
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead && a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		_, _ = w.Write(a.Body)
	}
}

func (e *Edge) match(escapedPath string) *behavior {
	for i := range e.behaviors {
		if glob(e.behaviors[i].pattern, escapedPath) {
			return &e.behaviors[i]
		}
	}
	panic("the default behaviour matches everything")
}

// glob matches CloudFront's path patterns: * is any run of characters, ? any one; case matters.
func glob(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	switch pattern[0] {
	case '*':
		for i := 0; i <= len(s); i++ {
			if glob(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	case '?':
		return s != "" && glob(pattern[1:], s[1:])
	}
	return s != "" && s[0] == pattern[0] && glob(pattern[1:], s[1:])
}

// normalize removes dot segments, as CloudFront does before it matches behaviours: no ".." reaches an origin.
func normalize(u *url.URL) {
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			clean := path.Clean("/" + u.Path)
			if strings.HasSuffix(u.Path, "/") && clean != "/" {
				clean += "/"
			}
			u.Path, u.RawPath = clean, ""
			return
		}
	}
}

// ttl is how long an answer is kept. CloudFront keeps errors too, and honours no-store for few of them.
func (e *Edge) ttl(b *behavior, a gateway.Answer) time.Duration {
	control := strings.ToLower(a.Header.Get("Cache-Control"))
	forbidden := strings.Contains(control, "no-store") || strings.Contains(control, "no-cache") || strings.Contains(control, "private")
	if a.Status >= 400 {
		switch a.Status {
		case 404, 410, 414, 501:
			if forbidden {
				return 0
			}
		case 400, 403, 405, 416, 500, 502, 503, 504:
		default:
			return 0
		}
		if ttl, set := e.errorTTL[a.Status]; set {
			return ttl
		}
		return 10 * time.Second
	}
	switch {
	case b.cache.maxTTL == 0 || a.Status != http.StatusOK:
		return 0
	case forbidden:
		return b.cache.minTTL
	}
	for directive := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if seconds, err := strconv.Atoi(value); err == nil && (name == "max-age" || name == "s-maxage") {
			return min(max(time.Duration(seconds)*time.Second, b.cache.minTTL), b.cache.maxTTL)
		}
	}
	return b.cache.defaultTTL
}

// sorry is CloudFront's own error page, in our words.
func (e *Edge) sorry(w http.ResponseWriter, r *http.Request, id string, status int, why string) {
	e.logOwn(r, id, status, why)
	h := w.Header()
	h.Set("Content-Type", "text/html")
	h.Set("X-Cache", "Error from cloudfront")
	h.Set("Server", "CloudFront")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!doctype html><title>%d</title><h1>%d %s</h1><p>Not from petpick, but from the edge in front of it: %s.</p>\n",
		status, status, http.StatusText(status), why)
}

// logOwn logs an answer that no function was asked for: a function logs its own.
func (e *Edge) logOwn(r *http.Request, id string, status int, why string) {
	e.log.InfoContext(r.Context(), "answered by the edge", slog.String("request_id", id), slog.String("method", r.Method),
		slog.String("path", r.URL.Path), slog.Int("status", status), slog.String("why", why))
}

func drain(w http.ResponseWriter, r *http.Request) {
	if r.Body == http.NoBody || r.Header.Get("Expect") != "" { // a client that asked first sends nothing after this answer
		return
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
}

func requestID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
		return true
	}
	return false
}
