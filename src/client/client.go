// Package client speaks to petpick over HTTP, for the operator's command: requests that may be repeated are, what went wrong is told in
// the service's own words, and the token goes to nobody else. It knows nothing of files, flags or terminals.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"petpick/src/pet"
)

// Config says whom to speak to.
type Config struct {
	// URL is the service's base: https, or http to this machine. Without a token, http to any.
	URL string
	// Token is sent as a bearer token to URL, and to nobody else; empty sends none.
	Token string
	// Attempts at a request whose failure may pass; 0 means 3.
	Attempts int
	// MaxWait is the longest pause between two attempts, also when the service asks for a longer one: then there is none. 0 means 10 s.
	MaxWait time.Duration
}

// Client is safe for concurrent use.
type Client struct {
	base     *url.URL
	token    string
	attempts int
	maxWait  time.Duration
	http     *http.Client
}

const (
	attemptTime = 2 * time.Minute // for one attempt, and what its body takes
	slowest     = 16 << 10        // bytes per second of a body: less is taken for none
	firstWait   = 200 * time.Millisecond
	maxAnswer   = 8 << 20 // bytes; a page of 1,000 records has about 350 kB
)

// Host is the service's, with its port.
func (c *Client) Host() string { return c.base.Host }

// New checks the configuration. It makes no call.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("%q is not an address such as https://pets.example", cfg.URL)
	}
	if cfg.Token != "" && base.Scheme == "http" && !Loopback(base) {
		return nil, fmt.Errorf("refusing to send a token to %s over plain http: anyone on the way could read it; use https", base.Host)
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token has a space or another character that no token has")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	transport.ResponseHeaderTimeout = time.Minute // the API answers, or gives up, within 30 s
	return &Client{
		base: base, token: cfg.Token, attempts: cmp.Or(cfg.Attempts, 3), maxWait: cmp.Or(cfg.MaxWait, 10*time.Second),
		// No address of the service redirects but GET /random without a format. One that does is another host, which must not see the token.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Loopback says whether an address is this machine's.
func Loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// Error is an answer that says no.
type Error struct {
	Status    int
	Detail    string
	RequestID string
	// RetryAfter is how long the service wants not to be asked again; 0 when it does not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s (%d", Printable(e.Detail), e.Status)
	if e.RequestID != "" {
		s += ", request " + Printable(e.RequestID)
	}
	return s + ")"
}

// ErrUnreachable: no answer came, after all attempts.
var ErrUnreachable = errors.New("no answer")

// StatusOf is the status of an answer that says no, else 0.
func StatusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// Printable is a text from elsewhere as a terminal can bear it.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8Replacement || !unicode.IsPrint(r) {
			return utf8Replacement
		}
		return r
	}, s)
}

const utf8Replacement = '\uFFFD'

// Record is a picture as the service describes it.
type Record struct {
	ID         string      `json:"id"`
	Label      string      `json:"label"`
	URL        string      `json:"url"`
	Type       string      `json:"type"`
	Bytes      int64       `json:"bytes"`
	Width      int         `json:"width"`
	Height     int         `json:"height"`
	Weight     json.Number `json:"weight"`
	UploadedAt time.Time   `json:"uploaded_at"`
	// ETag is known of a record that was asked for by itself.
	ETag string `json:"etag,omitempty"`
}

// Page is a part of a list; the last has no cursor.
type Page struct {
	Pets   []Record `json:"pets"`
	Cursor string   `json:"cursor"`
}

// Receipt says what a removal has done.
type Receipt struct {
	ID           string   `json:"id"`
	Label        string   `json:"label"`
	IndexVersion uint64   `json:"index_version"`
	Bytes        string   `json:"bytes"`
	OldVersions  string   `json:"old_versions"`
	Invalidated  string   `json:"invalidated"`
	Blocked      bool     `json:"blocked"`
	Limits       []string `json:"limits"`
}

// Stats is each label in numbers.
type Stats struct {
	Labels map[string]struct {
		Pictures     int         `json:"pictures"`
		Weight       json.Number `json:"weight"`
		IndexVersion uint64      `json:"index_version"`
	} `json:"labels"`
}

// Draw asks for a random picture's record.
func (c *Client) Draw(ctx context.Context, label pet.Label) (rec Record, err error) {
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/random", query: url.Values{"label": {string(label)}, "format": {"json"}}, public: true}, &rec)
	return rec, err
}

// Stats asks for the numbers.
func (c *Client) Stats(ctx context.Context) (s Stats, err error) {
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/stats", public: true}, &s)
	return s, err
}

// Show asks for a picture's record.
func (c *Client) Show(ctx context.Context, label pet.Label, id pet.ID) (rec Record, err error) {
	header, err := c.call(ctx, request{method: http.MethodGet, path: petPath(label, id), public: true}, &rec)
	rec.ETag = header.Get("ETag")
	return rec, err
}

// List asks for a page of a label's pictures; an empty cursor for the first.
func (c *Client) List(ctx context.Context, label pet.Label, limit int, cursor string) (p Page, err error) {
	query := url.Values{"label": {string(label)}, "limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/pets", query: query}, &p)
	return p, err
}

// Weigh changes a picture's weight; with an ETag, of the record that has it only.
func (c *Client) Weigh(ctx context.Context, label pet.Label, id pet.ID, weight pet.Weight, ifMatch string) (rec Record, err error) {
	header, err := c.call(ctx, request{
		method: http.MethodPatch, path: petPath(label, id), header: conditional(ifMatch), mediaType: "application/json", body: []byte(`{"weight":` + weight.String() + `}`),
	}, &rec)
	rec.ETag = header.Get("ETag")
	return rec, err
}

// Remove takes a picture down; with an ETag, of the record that has it only.
func (c *Client) Remove(ctx context.Context, label pet.Label, id pet.ID, block, purge bool, ifMatch string) (r Receipt, err error) {
	query := url.Values{"block": {strconv.FormatBool(block)}, "purge": {strconv.FormatBool(purge)}}
	_, err = c.call(ctx, request{method: http.MethodDelete, path: petPath(label, id), query: query, header: conditional(ifMatch)}, &r)
	return r, err
}

// Fetch writes a picture's bytes, which everyone may see, from wherever its record says they are.
func (c *Client) Fetch(ctx context.Context, rec Record, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, timeFor(rec.Bytes))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rec.URL, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(req, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

func petPath(label pet.Label, id pet.ID) string { return "/pets/" + string(label) + "/" + id.String() }

func conditional(ifMatch string) http.Header {
	if ifMatch == "" {
		return nil
	}
	return http.Header{"If-Match": {ifMatch}}
}

// request is one that may be sent more than once: the service's changes can all be repeated. But for one with If-Match, of which an attempt whose
// answer was lost may have made the very change that keeps the next from matching.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	mediaType    string
	body         []byte
	public       bool // needs no token
}

// call sends a request until it is answered for good, and decodes the answer.
func (c *Client) call(ctx context.Context, r request, out any) (http.Header, error) {
	for try := 1; ; try++ {
		header, err := c.once(ctx, r, out)
		wait, again := c.pauseAfter(err, try)
		if r.header.Get("If-Match") != "" && StatusOf(err) != http.StatusTooManyRequests {
			again = false
		}
		if !again || ctx.Err() != nil || pause(ctx, wait) != nil {
			return header, err
		}
	}
}

// timeFor is how long an attempt may take with so many bytes. Several files share what may be a slow line.
func timeFor(bytes int64) time.Duration {
	return attemptTime + time.Duration(bytes/slowest)*time.Second
}

func (c *Client) once(ctx context.Context, r request, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, timeFor(int64(len(r.body))))
	defer cancel()
	target := c.base.JoinPath(r.path)
	target.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.mediaType != "" {
		req.Header.Set("Content-Type", r.mediaType)
	}
	if c.token != "" && !r.public {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(req, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return resp.Header, refusal(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, unreachable(req, err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("%s does not answer as petpick does: %w", c.base.Host, err)
	}
	return resp.Header, nil
}

// unreachable leaves the request's address out of an error: that of a large upload has a signature in it.
func unreachable(req *http.Request, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%w from %s: %w", ErrUnreachable, req.URL.Host, err)
}

// refusal reads what an answer says of its reasons.
func refusal(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, Detail: http.StatusText(resp.StatusCode)}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	if resp.StatusCode/100 == 3 {
		e.Detail = fmt.Sprintf("%s sends its visitors on to %q: if that is the service, give its address", resp.Request.URL.Host, resp.Header.Get("Location"))
		return e
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var p struct {
		Detail    string `json:"detail"`
		Message   string `json:"message"` // API Gateway's word for it
		RequestID string `json:"request_id"`
	}
	var x struct{ Message string } // S3's
	switch {
	case json.Unmarshal(body, &p) == nil:
		e.Detail, e.RequestID = cmp.Or(p.Detail, p.Message, e.Detail), p.RequestID
	case xml.Unmarshal(body, &x) == nil:
		e.Detail = cmp.Or(x.Message, e.Detail)
	}
	return e
}

// pauseAfter says whether an attempt may be followed by another, and after how long. A 409 is one that time mends only when it says when.
func (c *Client) pauseAfter(err error, try int) (time.Duration, bool) {
	if err == nil || try >= c.attempts {
		return 0, false
	}
	wait := min(firstWait<<min(try-1, 10), c.maxWait)
	wait = wait/2 + rand.N(wait/2+1) // a crowd that was refused must not come back as one
	var e *Error
	if !errors.As(err, &e) {
		return wait, errors.Is(err, ErrUnreachable)
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	case http.StatusConflict:
		if e.RetryAfter == 0 {
			return 0, false
		}
	default:
		return 0, false
	}
	return max(wait, e.RetryAfter), e.RetryAfter <= c.maxWait
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
