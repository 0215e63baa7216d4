package edge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/sync/semaphore"

	"petpick/src/gateway"
)

// maxAPIBody is what an HTTP API takes; maxEvent is what Lambda takes of it, as JSON with the body in base64.
const (
	maxAPIBody = 10 << 20
	maxEvent   = 6<<20 + 100
)

// apiMessage is an answer of AWS's own making.
func apiMessage(status int, text string) gateway.Answer {
	body, _ := json.Marshal(map[string]string{"message": text})
	return gateway.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
}

// invoke runs a function within its time. An error of the function is AWS's 500, a missed deadline its 503: no detail of either
// leaves the house. A function that does not heed its deadline goes on behind the answer; AWS would freeze it. Nor does a
// viewer who leaves end it: an upload would be left half done that on AWS is finished.
func invoke(ctx context.Context, timeout time.Duration, call func(context.Context) (gateway.Answer, error)) (gateway.Answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	type result struct {
		answer gateway.Answer
		err    error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		a, err := call(ctx)
		done <- result{a, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return apiMessage(http.StatusInternalServerError, "Internal Server Error"), nil
		}
		return r.answer, nil
	case <-ctx.Done():
	}
	select { // it may have ended at the very moment
	case r := <-done:
		if r.err == nil {
			return r.answer, nil
		}
	default:
	}
	return apiMessage(http.StatusServiceUnavailable, "Service Unavailable"), nil
}

// functionOrigin is a Lambda function URL.
type functionOrigin struct {
	function gateway.Function
	host     string
	timeout  time.Duration
}

func (o functionOrigin) fetch(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	if len(r.Body) > 0 && r.Header.Get("X-Amz-Content-Sha256") == "" {
		// Origin Access Control signs no body that the viewer did not hash.
		return apiMessage(http.StatusForbidden, "The request signature we calculated does not match the signature you provided."), nil
	}
	r.Host = o.host
	return invoke(ctx, o.timeout, func(ctx context.Context) (gateway.Answer, error) {
		answer, err := o.function(ctx, gateway.FunctionEvent(r))
		if err != nil {
			return gateway.Answer{}, err
		}
		return gateway.FunctionAnswer(answer)
	})
}

// apiOrigin is an HTTP API.
type apiOrigin struct {
	routes []route
	cors   *corsRule
	host   string
	// memory bounds the bodies that functions hold at a time. On AWS each call has an environment of its own; here they share
	// one machine.
	memory *semaphore.Weighted
}

const (
	functionMemory = 256 << 20
	// A body exists as bytes, in base64, decoded, and as the picture to be stored.
	copiesOfABody = 5
	// bufferMemory bounds the bodies that are being received: a crowd that sends slowly must not fill the machine. Bodies up to
	// freeBuffer are not counted.
	bufferMemory = 512 << 20
	freeBuffer   = 64 << 10
)

type route struct {
	key, method string
	segments    []string
	function    gateway.API
	timeout     time.Duration
}

// tooLarge is the answer to a body that the API does not take, with its CORS headers like every other.
func (o *apiOrigin) tooLarge(r *http.Request) gateway.Answer {
	a := apiMessage(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	if o.cors != nil {
		o.cors.answer(a.Header, r.Header.Get("Origin"))
	}
	return a
}

func (o *apiOrigin) fetch(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	origin := r.Header.Get("Origin")
	if o.cors != nil && r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		a := gateway.Answer{Status: http.StatusNoContent, Header: http.Header{}}
		o.cors.preflight(a.Header, origin)
		return a, nil
	}
	a, err := o.route(ctx, r)
	if err == nil && o.cors != nil {
		// Configured CORS replaces whatever the function says of it.
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				a.Header.Del(name)
			}
		}
		if origin != "" {
			o.cors.answer(a.Header, origin)
		}
	}
	return a, err
}

func (o *apiOrigin) route(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	rt, params := o.find(r.Method, r.Path)
	if rt == nil {
		return apiMessage(http.StatusNotFound, "Not Found"), nil
	}
	r.Host, r.Trace.Route, r.PathParameters = o.host, rt.key, params
	need := int64(copiesOfABody * len(r.Body))
	if err := o.memory.Acquire(ctx, need); err != nil {
		return apiMessage(http.StatusServiceUnavailable, "Service Unavailable"), nil
	}
	defer o.memory.Release(need)
	event := gateway.APIEvent(r)
	if size := len(event.Body) + 4096; size > maxEvent || size > maxEvent/2 && eventSize(event) > maxEvent {
		return apiMessage(http.StatusRequestEntityTooLarge, "Request Entity Too Large"), nil
	}
	return invoke(ctx, rt.timeout, func(ctx context.Context) (gateway.Answer, error) {
		answer, err := rt.function(ctx, event)
		if err != nil {
			return gateway.Answer{}, err
		}
		return gateway.APIAnswer(answer)
	})
}

func eventSize(event any) int {
	b, err := json.Marshal(event)
	if err != nil {
		return maxEvent + 1
	}
	return len(b)
}

// find prefers, as an HTTP API does, a full match of method and path, then variables, then a greedy variable, then $default.
func (o *apiOrigin) find(method, path string) (*route, map[string]string) {
	var best *route
	var bestParams map[string]string
	bestRank := 100
	for i := range o.routes {
		rt := &o.routes[i]
		rank, params := rt.match(method, path)
		if rank >= 0 && rank < bestRank {
			best, bestParams, bestRank = rt, params, rank
		}
	}
	return best, bestParams
}

// match ranks the route for a request, the lower the better; -1 is no match.
func (rt *route) match(method, path string) (int, map[string]string) {
	if rt.key == gateway.DefaultRoute {
		return 99, nil
	}
	rank := 0
	switch rt.method {
	case method:
	case "ANY":
		rank = 1
	default:
		return -1, nil
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	params := map[string]string{}
	for i, want := range rt.segments {
		name, variable := strings.CutPrefix(want, "{")
		if greedy, ok := strings.CutSuffix(name, "+}"); ok && variable && i < len(parts) {
			params[greedy] = strings.Join(parts[i:], "/")
			return rank + 20, params
		}
		switch {
		case i >= len(parts):
			return -1, nil
		case variable && parts[i] != "":
			params[strings.TrimSuffix(name, "}")] = parts[i]
			rank += 2
		case parts[i] != want:
			return -1, nil
		}
	}
	if len(parts) != len(rt.segments) {
		return -1, nil
	}
	return rank, params
}

// corsRule is CORS as an HTTP API or a bucket has it configured.
type corsRule struct {
	origins, methods, headers, expose []string
	maxAge                            string
}

func (c *corsRule) allows(origin string) (string, bool) {
	for _, o := range c.origins {
		if o == "*" {
			return "*", true
		}
		if glob(o, origin) {
			return origin, true
		}
	}
	return "", false
}

func (c *corsRule) answer(h http.Header, origin string) {
	if allowed, ok := c.allows(origin); ok {
		h.Set("Access-Control-Allow-Origin", allowed)
		if len(c.expose) > 0 {
			h.Set("Access-Control-Expose-Headers", strings.Join(c.expose, ","))
		}
	}
}

func (c *corsRule) preflight(h http.Header, origin string) {
	if allowed, ok := c.allows(origin); ok {
		h.Set("Access-Control-Allow-Origin", allowed)
		h.Set("Access-Control-Allow-Methods", strings.Join(c.methods, ","))
		h.Set("Access-Control-Allow-Headers", strings.Join(c.headers, ","))
		h.Set("Access-Control-Max-Age", c.maxAge)
	}
}

// Bucket is where an S3 origin's objects are: any S3-compatible server.
type Bucket struct {
	Endpoint, Name, Region string
	Credentials            aws.CredentialsProvider
	Client                 *http.Client
}

// bucketOrigin is a bucket behind Origin Access Control: its requests are signed, its policy says which keys may be read.
type bucketOrigin struct {
	bucket  Bucket
	allowed []string // patterns of keys
	cors    []corsRule
}

func (o bucketOrigin) fetch(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	key := strings.TrimPrefix(r.Path, "/")
	readable := slices.ContainsFunc(o.allowed, func(p string) bool { return glob(p, key) })
	if !readable || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) || strings.Contains(key, "//") {
		return denied(), nil
	}
	req, err := o.signed(ctx, r.Method, key)
	if err != nil {
		return gateway.Answer{}, err
	}
	resp, err := o.bucket.Client.Do(req)
	if err != nil {
		return gateway.Answer{}, fmt.Errorf("s3 origin: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return gateway.Answer{}, fmt.Errorf("s3 origin: %w", err)
	}
	a := gateway.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden {
		a = denied() // the policy grants no ListBucket: S3 does not say whether a key exists
	}
	for name, values := range a.Header {
		a.Header[name] = values[:1] // one local server sends some of S3's headers twice
	}
	a.Header.Del("Date")
	a.Header.Del("Server")
	o.answerCORS(a.Header, r)
	return a, nil
}

// escapeKey encodes a path as S3 does: all but letters, digits, -._~ and the slash.
func escapeKey(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c == '/' || c == '-' || c == '.' || c == '_' || c == '~' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func (o bucketOrigin) signed(ctx context.Context, method, key string) (*http.Request, error) {
	u, err := url.Parse(o.bucket.Endpoint)
	if err != nil {
		return nil, err
	}
	u = u.JoinPath(o.bucket.Name)
	u.Path += "/" + key
	u.RawPath = escapeKey(u.Path) // what is sent must be what is signed
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	creds, err := o.bucket.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	empty := sha256.Sum256(nil)
	hash := hex.EncodeToString(empty[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return req, signer.SignHTTP(ctx, creds, req, hash, "s3", o.bucket.Region, time.Now())
}

// answerCORS does what S3 does with the bucket's configuration, whatever the local server makes of it.
func (o bucketOrigin) answerCORS(h http.Header, r gateway.Request) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
	origin := r.Header.Get("Origin")
	for _, c := range o.cors {
		if _, ok := c.allows(origin); origin != "" && ok && slices.Contains(c.methods, r.Method) {
			c.answer(h, origin)
			h.Set("Access-Control-Allow-Methods", strings.Join(c.methods, ", "))
			return
		}
	}
}

func denied() gateway.Answer {
	return gateway.Answer{Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/xml"}},
		Body: []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>\n")}
}
