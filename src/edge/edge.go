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
	custom  http.Header // what the distribution adds to every origin request
	viewer  *viewerFunction
}

// origin answers a request that CloudFront forwards.
type origin interface {
	fetch(ctx context.Context, r gateway.Request) (gateway.Answer, error)
}

// Limits of CloudFront and of what is behind it.
const (
	maxURLBytes = 8192
	// drainBytes of an unread body are read and dropped, so that a client that is still sending gets to read the answer.
	drainBytes = 32 << 20
)

// ServeHTTP answers a viewer.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer drain(r)
	id := requestID()
	w.Header().Set("X-Amz-Cf-Id", id)
	if len(r.RequestURI) > maxURLBytes {
		sorry(w, http.StatusRequestURITooLong, "the URL is longer than 8,192 bytes")
		return
	}
	normalize(r.URL)
	b := e.match(r.URL.EscapedPath())
	if !slices.Contains(b.methods, r.Method) {
		sorry(w, http.StatusForbidden, "this distribution does not allow the method here")
		return
	}
	if b.viewer != nil {
		answer, err := b.viewer.run(r, id)
		if err != nil {
			e.log.ErrorContext(r.Context(), "viewer function failed", slog.Any("error", err))
			sorry(w, http.StatusServiceUnavailable, "a function at the edge failed")
			return
		}
		if answer != nil {
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
	req, err := b.request(r, id)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		b.send(w, r, apiMessage(http.StatusRequestEntityTooLarge, "Request Entity Too Large"), "Error from cloudfront")
		return
	case err != nil: // the client went away, or sent what HTTP does not allow
		sorry(w, http.StatusBadRequest, "the body could not be read")
		return
	}
	answer, err := b.origin.fetch(r.Context(), req)
	if err != nil {
		e.log.ErrorContext(r.Context(), "origin failed", slog.String("request_id", id), slog.Any("error", err))
		sorry(w, http.StatusBadGateway, "the origin does not answer")
		return
	}
	if cacheable && (r.Method == http.MethodGet || answer.Status >= 400) {
		if ttl := e.ttl(b, answer); ttl > 0 {
			e.cache.put(key, answer, e.now(), ttl)
		}
	}
	status := "Miss from cloudfront"
	if answer.Status >= 400 {
		status = "Error from cloudfront"
	}
	b.send(w, r, answer, status)
}

// request is what the origin gets of the viewer's request.
func (b *behavior) request(r *http.Request, id string) (gateway.Request, error) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	req := gateway.Request{
		Method: r.Method, IP: ip, Path: r.URL.Path, RawPath: r.URL.EscapedPath(),
		Query: b.forward.query(r.URL.RawQuery), Header: b.forward.header(r.Header),
		Trace: gateway.Trace{RequestID: id},
	}
	req.Header.Set("X-Forwarded-For", ip)
	req.Header.Set("Via", "1.1 local (CloudFront)")
	req.Header.Set("X-Amz-Cf-Id", id)
	for name, values := range b.custom {
		req.Header[name] = values
	}
	req.Body, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAPIBody))
	return req, err
}

// send writes an answer to the viewer, with the headers that the behaviour adds and removes.
func (b *behavior) send(w http.ResponseWriter, r *http.Request, a gateway.Answer, cacheStatus string) {
	h := w.Header()
	for name, values := range a.Header {
		if !hopByHop(name) {
			h[name] = slices.Clone(values)
		}
	}
	h.Set("X-Cache", cacheStatus)
	h.Set("Via", "1.1 local (CloudFront)")
	b.headers.apply(h, r.Header.Get("Origin") != "")
	if b.cache.maxTTL > 0 && a.Status == http.StatusOK && len(a.Body) > 0 {
		// A whole object answers ranges, conditions and HEAD by itself, from the cache or not.
		modified, _ := http.ParseTime(h.Get("Last-Modified"))
		h.Del("Content-Length")
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
func sorry(w http.ResponseWriter, status int, why string) {
	h := w.Header()
	h.Set("Content-Type", "text/html")
	h.Set("X-Cache", "Error from cloudfront")
	h.Set("Server", "CloudFront")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!doctype html><title>%d</title><h1>%d %s</h1><p>Not from petpick, but from the edge in front of it: %s.</p>\n",
		status, status, http.StatusText(status), why)
}

func drain(r *http.Request) {
	if r.Header.Get("Expect") == "" { // a client that asked first sends nothing after this answer
		_, _ = io.CopyN(io.Discard, r.Body, drainBytes)
	}
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
