// Package gateway turns the events of API Gateway (HTTP API, payload format 2.0) and of Lambda function URLs into net/http
// requests for a handler, and back: a Lambda uses one way, the local edge the other. It knows what the two services do to a
// request, and nothing of petpick's routes.
package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// API is a Lambda behind an HTTP API; Function is one behind a function URL.
type (
	API      func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error)
	Function func(context.Context, events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error)
)

// DefaultRoute is the route key of requests that no other route of the API takes.
const DefaultRoute = "$default"

// Trace is what the service in front says of a request.
type Trace struct {
	RequestID string
	// Route is the API's route key, such as "POST /upload"; empty behind a function URL.
	Route string
}

type traceKey struct{}

// TraceOf returns the trace of the request whose context this is.
func TraceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

// message is what the two kinds of events have in common.
type message struct {
	method, host, ip, query string
	path                    string // decoded
	rawPath                 string // as sent, where the service passes it on
	headers                 map[string]string
	cookies                 []string
	body                    string
	base64                  bool
	trace                   Trace
}

// ServeAPI makes a Lambda of a handler.
func ServeAPI(h http.Handler) API {
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		w := serve(ctx, h, message{
			method: e.RequestContext.HTTP.Method, host: e.RequestContext.DomainName, ip: e.RequestContext.HTTP.SourceIP,
			// An HTTP API has decoded rawPath already: to parse it as a URL would decode it twice.
			path: e.RawPath, query: e.RawQueryString, headers: e.Headers, cookies: e.Cookies, body: e.Body, base64: e.IsBase64Encoded,
			trace: Trace{RequestID: e.RequestContext.RequestID, Route: e.RouteKey},
		})
		body, encoded := w.text()
		return events.APIGatewayV2HTTPResponse{StatusCode: w.status, Headers: w.flat(), Body: body, IsBase64Encoded: encoded}, nil
	}
}

// ServeFunction makes a Lambda of a handler.
func ServeFunction(h http.Handler) Function {
	return func(ctx context.Context, e events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
		path, err := url.PathUnescape(e.RawPath) // a function URL passes the path on as it was sent
		if err != nil {
			path = e.RawPath
		}
		w := serve(ctx, h, message{
			method: e.RequestContext.HTTP.Method, host: e.RequestContext.DomainName, ip: e.RequestContext.HTTP.SourceIP,
			path: path, rawPath: e.RawPath, query: e.RawQueryString, headers: e.Headers, cookies: e.Cookies, body: e.Body, base64: e.IsBase64Encoded,
			trace: Trace{RequestID: e.RequestContext.RequestID},
		})
		body, encoded := w.text()
		return events.LambdaFunctionURLResponse{StatusCode: w.status, Headers: w.flat(), Body: body, IsBase64Encoded: encoded}, nil
	}
}

// The service ends a call at its deadline with an error of its own. A handler's time is over a twentieth earlier: 1.45 of 29 s, so that
// the answer is ours, with a Retry-After and a line in the log.
const spare = 20

func serve(ctx context.Context, h http.Handler, m message) *recorder {
	if deadline, ok := ctx.Deadline(); ok {
		// It comes before ctx ends by its own deadline, and the service ends it for no other reason: to follow it costs as much again.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(-time.Until(deadline)/spare))
		defer cancel()
	}
	body := []byte(m.body)
	if m.base64 {
		decoded, err := base64.StdEncoding.DecodeString(m.body)
		if err != nil { // the service encodes; this is no client's doing
			return &recorder{header: http.Header{}, status: http.StatusInternalServerError}
		}
		body = decoded
	}
	r := &http.Request{
		Method: m.method, URL: &url.URL{Path: m.path, RawPath: m.rawPath, RawQuery: m.query}, Host: m.host, RemoteAddr: m.ip,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: headerOf(m.headers), ContentLength: int64(len(body)), Body: http.NoBody,
	}
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if len(m.cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(m.cookies, "; "))
	}
	w := &recorder{header: make(http.Header, 8)}
	h.ServeHTTP(w, r.WithContext(context.WithValue(ctx, traceKey{}, m.trace)))
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w
}

// headerOf reads an event's headers. One allocation holds all values: a draw has little else to do.
func headerOf(flat map[string]string) http.Header {
	h, values := make(http.Header, len(flat)+1), make([]string, 0, len(flat))
	for name, value := range flat {
		values = append(values, value)
		h[http.CanonicalHeaderKey(name)] = values[len(values)-1 : len(values) : len(values)]
	}
	return h
}

// recorder is the http.ResponseWriter of a request that came as an event.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// flat joins what is repeated: an event has one value a name.
func (w *recorder) flat() map[string]string {
	flat := make(map[string]string, len(w.header))
	for name, values := range w.header {
		if len(values) == 1 {
			flat[name] = values[0]
		} else {
			flat[name] = strings.Join(values, ", ")
		}
	}
	return flat
}

// text is the body as JSON can carry it.
func (w *recorder) text() (string, bool) {
	if b := w.body.Bytes(); !utf8.Valid(b) || strings.HasPrefix(w.header.Get("Content-Type"), "image/") {
		return base64.StdEncoding.EncodeToString(b), true
	}
	return w.body.String(), false
}

// Textual says whether the services pass a body of this media type on as text. Bytes that are not UTF-8 do not survive that.
func Textual(contentType string) bool {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	media = strings.TrimSpace(media)
	return strings.HasPrefix(media, "text/") || media == "application/json" || media == "application/javascript" || media == "application/xml" ||
		strings.HasSuffix(media, "+json") || strings.HasSuffix(media, "+xml")
}

// Request is a viewer's request on its way to a Lambda, as the local edge sends it.
type Request struct {
	Method, Host, IP string
	Path, RawPath    string
	Query            string
	Header           http.Header
	Body             []byte
	Trace            Trace
	PathParameters   map[string]string
}

// APIEvent is the event that an HTTP API makes of a request.
func APIEvent(r Request) events.APIGatewayV2HTTPRequest {
	headers, cookies := flattenRequest(r.Header)
	body, encoded := encodeBody(r)
	return events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: r.Trace.Route, RawPath: r.Path, RawQueryString: r.Query, Headers: headers, Cookies: cookies,
		QueryStringParameters: flattenQuery(r.Query), PathParameters: r.PathParameters, Body: body, IsBase64Encoded: encoded,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: r.Trace.Route, Stage: DefaultRoute, RequestID: r.Trace.RequestID, DomainName: r.Host,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: r.Method, Path: r.Path, Protocol: "HTTP/1.1", SourceIP: r.IP, UserAgent: r.Header.Get("User-Agent"),
			},
		},
	}
}

// FunctionEvent is the event that a function URL makes of a request.
func FunctionEvent(r Request) events.LambdaFunctionURLRequest {
	headers, cookies := flattenRequest(r.Header)
	body, encoded := encodeBody(r)
	return events.LambdaFunctionURLRequest{
		Version: "2.0", RawPath: r.RawPath, RawQueryString: r.Query, Headers: headers, Cookies: cookies,
		QueryStringParameters: flattenQuery(r.Query), Body: body, IsBase64Encoded: encoded,
		RequestContext: events.LambdaFunctionURLRequestContext{
			RequestID: r.Trace.RequestID, DomainName: r.Host,
			HTTP: events.LambdaFunctionURLRequestContextHTTPDescription{
				Method: r.Method, Path: r.RawPath, Protocol: "HTTP/1.1", SourceIP: r.IP, UserAgent: r.Header.Get("User-Agent"),
			},
		},
	}
}

func encodeBody(r Request) (string, bool) {
	if len(r.Body) == 0 {
		return "", false
	}
	if Textual(r.Header.Get("Content-Type")) {
		return strings.ToValidUTF8(string(r.Body), "\uFFFD"), false
	}
	return base64.StdEncoding.EncodeToString(r.Body), true
}

func flattenRequest(h http.Header) (map[string]string, []string) {
	headers := make(map[string]string, len(h))
	var cookies []string
	for name, values := range h {
		if name == "Cookie" {
			for _, v := range values {
				for c := range strings.SplitSeq(v, ";") {
					cookies = append(cookies, strings.TrimSpace(c))
				}
			}
			continue
		}
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return headers, cookies
}

// flattenQuery is how the events repeat the query; our own code reads the raw one, since a comma may be part of a value.
func flattenQuery(raw string) map[string]string {
	if raw == "" {
		return nil
	}
	flat := map[string]string{}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if pair == "" || err1 != nil || err2 != nil || strings.Contains(pair, ";") { // as url.ParseQuery
			continue
		}
		if before, again := flat[name]; again {
			value = before + "," + value
		}
		flat[name] = value
	}
	return flat
}

// Answer is a Lambda's response on its way back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// APIAnswer reads an HTTP API's response.
func APIAnswer(r events.APIGatewayV2HTTPResponse) (Answer, error) {
	return answer(r.StatusCode, r.Headers, r.Cookies, r.Body, r.IsBase64Encoded)
}

// FunctionAnswer reads a function URL's response.
func FunctionAnswer(r events.LambdaFunctionURLResponse) (Answer, error) {
	return answer(r.StatusCode, r.Headers, r.Cookies, r.Body, r.IsBase64Encoded)
}

func answer(status int, headers map[string]string, cookies []string, body string, encoded bool) (Answer, error) {
	a := Answer{Status: status, Header: headerOf(headers), Body: []byte(body)}
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	for _, c := range cookies {
		a.Header.Add("Set-Cookie", c)
	}
	if encoded {
		b, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return Answer{}, err
		}
		a.Body = b
	}
	return a, nil
}
