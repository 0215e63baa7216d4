// Package api is petpick's HTTP surface: what a request may say, and every answer's status, headers and body. It is plain
// net/http; which Lambda or server carries it is not its concern.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/pet"
)

// Common is what every handler of the surface needs.
type Common struct {
	// Indexes has an index for every label.
	Indexes map[pet.Label]*index.Index
	// PublicURL returns the base URL that users see, without trailing slash.
	PublicURL func(context.Context) (string, error)
	// Trace reads what the gateway in front says of a request.
	Trace func(context.Context) gateway.Trace
	Log   *slog.Logger
	// Served is the level at which a request that went well is logged. A line for each draw would cost more than the draw.
	Served slog.Level
}

// handler answers a request, or returns the error that says why not.
type handler func(w http.ResponseWriter, r *http.Request) error

// server routes requests, writes errors, and logs: once for each request.
type server struct {
	Common
	mux *http.ServeMux
}

func newServer(c Common, routes map[string]handler) *server {
	s := &server{Common: c, mux: http.NewServeMux()}
	for pattern, handle := range routes {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.(*answer).err = handle(w, r)
		})
	}
	return s
}

// setCommonHeaders sets what every answer of the surface carries. Pages anywhere may use the pictures, with or without an Origin
// header in the request: a copy that a browser cached for the one must do for the other.
func setCommonHeaders(h http.Header) {
	v := [...]string{"*", "cross-origin", "*", "nosniff", "no-store"} // one allocation, and not one for each
	h["Access-Control-Allow-Origin"] = v[0:1:1]
	h["Cross-Origin-Resource-Policy"] = v[1:2:2]
	h["Timing-Allow-Origin"] = v[2:3:3]
	h["X-Content-Type-Options"] = v[3:4:4]
	h["Cache-Control"] = v[4:5:5]
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	trace := s.Trace(r.Context())
	setCommonHeaders(w.Header())
	a := &answer{ResponseWriter: w, head: r.Method == http.MethodHead}
	pattern := s.dispatch(a, r, trace)
	if a.err != nil && a.status == 0 {
		problemOf(a.err).write(a, trace.RequestID)
	}
	s.log(r, a, pattern, trace, time.Since(start))
}

// dispatch runs the route's handler and returns its pattern. A panic becomes an error: it must not end the process, and with it
// the requests beside this one.
func (s *server) dispatch(a *answer, r *http.Request, trace gateway.Trace) string {
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	// ServeMux would redirect to a path's shortest form; nothing of ours is called "..", and an API does not guess.
	if p := r.URL.Path; p == "" || p[0] != '/' || path.Clean(p) != p {
		a.err = errNoRoute
		return ""
	}
	handle, pattern := s.mux.Handler(r)
	// What the template has no route for reaches us by $default, and is no route here either: the template decides. But HEAD is
	// GET without the body, and needs no route of its own.
	if known := pattern != "" && (trace.Route != gateway.DefaultRoute || r.Method == http.MethodHead); known {
		if strings.Contains(pattern, "{") { // only the mux itself sets what the names stand for
			handle = s.mux
		}
		handle.ServeHTTP(a, r)
		return pattern
	}
	a.err = errNoRoute
	if allow := s.allowed(r); pattern == "" && allow != "" {
		a.err = refuse(http.StatusMethodNotAllowed, r.Method+" is not allowed here; allowed: "+allow).with("Allow", allow)
	}
	return ""
}

var errNoRoute = refuse(http.StatusNotFound, "there is nothing at this address")

// allowed lists the methods that the path has, other than the request's own.
func (s *server) allowed(r *http.Request) string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		if m == r.Method {
			continue
		}
		if _, pattern := s.mux.Handler(&http.Request{Method: m, URL: r.URL, Host: r.Host}); pattern != "" {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}

func (s *server) log(r *http.Request, a *answer, pattern string, trace gateway.Trace, took time.Duration) {
	level := s.Served
	if a.status < 400 && !s.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", trace.RequestID), slog.String("method", r.Method), slog.String("route", pattern),
		slog.Int("status", a.status), slog.Duration("duration", took),
	}
	var p *Problem
	switch {
	case a.status >= 500:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", a.err))
	case a.status >= 400:
		// A client that asks about a request_id finds it in the log.
		level = max(level, slog.LevelInfo)
		if errors.As(a.err, &p) {
			attrs = append(attrs, slog.String("detail", p.Detail))
		} else {
			attrs = append(attrs, slog.Any("error", a.err))
		}
	}
	s.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// answer is the response under way: what it came to is known when the handler returns.
type answer struct {
	http.ResponseWriter
	head   bool // no body is sent
	status int
	err    error
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.head {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// parameters reads the named parameters of a query; each may be given once. Others are ignored, whatever they look like: pages add
// their own. One of ours that cannot be read is an error, for to ignore it would do something else than was asked.
func parameters(raw string, names ...string) (map[string]string, error) {
	found := map[string]string{}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || !slices.Contains(names, name) {
			continue
		}
		if _, twice := found[name]; twice {
			return nil, refuse(http.StatusBadRequest, name+" is given more than once")
		}
		if found[name], err = url.QueryUnescape(value); err != nil {
			return nil, refuse(http.StatusBadRequest, name+" is not well encoded in the query")
		}
	}
	return found, nil
}

// Record is a picture as the API describes it.
type Record struct {
	ID         string     `json:"id"`
	Label      pet.Label  `json:"label"`
	URL        string     `json:"url"`
	Type       string     `json:"type"`
	Bytes      int64      `json:"bytes"`
	Width      int        `json:"width"`
	Height     int        `json:"height"`
	Weight     pet.Weight `json:"weight"`
	UploadedAt time.Time  `json:"uploaded_at"`
}

func (c *Common) record(ctx context.Context, p index.Picture) (Record, error) {
	address, err := c.url(ctx, p.Label, p.ID)
	return Record{
		ID: p.ID.String(), Label: p.Label, URL: address, Type: p.ID.Type().MediaType(), Bytes: p.Bytes, Width: p.Width, Height: p.Height,
		Weight: p.Weight, UploadedAt: p.UploadedAt.UTC(),
	}, err
}

func (c *Common) url(ctx context.Context, l pet.Label, id pet.ID) (string, error) {
	base, err := c.PublicURL(ctx)
	if err != nil {
		return "", err
	}
	return base + "/" + pet.Key(l, id), nil
}
