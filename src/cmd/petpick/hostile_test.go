package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"petpick/src/access"
	"petpick/src/photo/phototest"
)

// Everything that a client can get wrong: its status, a problem document, nothing stored, memory flat, and the server goes on.
func TestHostileUploads(t *testing.T) {
	data := t.TempDir()
	s := start(t, data)
	s.upload(t, "cat", "1", phototest.JPEG(1, 8, 8))
	good := string(phototest.JPEG(2, 8, 8))
	text := "just text, named cat.jpg"
	noise := strings.Repeat("\xff\xd8\xff\xe0 5 MB of something that begins like a JPEG ", 120_000)
	manyParts := []string{"label", "cat", "image", good}
	for i := range 2000 {
		manyParts = append(manyParts, "field"+strconv.Itoa(i), "x")
	}
	wholeForm := func(fields ...string) request {
		contentType, body := form(fields...)
		return request{header: map[string]string{"Content-Type": contentType}, body: body.String()}
	}
	rawForm := func(contentType, body string) request {
		return request{header: map[string]string{"Content-Type": contentType}, body: body}
	}
	with := func(r request, query string) request { r.query = query; return r }
	const boundary = "multipart/form-data; boundary=B"
	openPart := "--B\r\nContent-Disposition: form-data; name=\"label\"\r\n\r\ncat\r\n--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x\"\r\n"
	halfJPEG := phototest.JPEG(3, 64, 64)

	for _, c := range []struct {
		name   string
		req    request
		status int
		detail string
	}{
		{"no label", wholeForm("image", good), 400, "label"},
		{"label=CAT", wholeForm("label", "CAT", "image", good), 400, "label"},
		{"label= cat ", wholeForm("label", " cat ", "image", good), 400, "label"},
		{"label=bird", wholeForm("label", "bird", "image", good), 400, "label"},
		{"empty label", wholeForm("label", "", "image", good), 400, "label"},
		{"label with NUL", wholeForm("label", "cat\x00", "image", good), 400, "label"},
		{"label twice", wholeForm("label", "cat", "label", "cat", "image", good), 400, "more than once"},
		{"label in form and query", with(wholeForm("label", "cat", "image", good), "label=cat"), 400, "more than once"},
		{"label twice in the query", request{body: good, query: "label=cat&label=dog"}, 400, "more than once"},
		{"weight twice", request{body: good, query: "label=cat&weight=1&weight=1"}, 400, "more than once"},
		{"weight abc", wholeForm("label", "cat", "weight", "abc", "image", good), 400, "weight"},
		{"weight -1", wholeForm("label", "cat", "weight", "-1", "image", good), 400, "weight"},
		{"weight 1e9", wholeForm("label", "cat", "weight", "1e9", "image", good), 400, "weight"},
		{"weight NaN", wholeForm("label", "cat", "weight", "NaN", "image", good), 400, "weight"},
		{"weight 0.0001", wholeForm("label", "cat", "weight", "0.0001", "image", good), 400, "weight"},
		{"weight 16777.216", wholeForm("label", "cat", "weight", "16777.216", "image", good), 400, "weight"},
		{"empty weight", wholeForm("label", "cat", "weight", "", "image", good), 400, "weight"},
		{"endless weight", wholeForm("label", "cat", "weight", strings.Repeat("1", 1<<20), "image", good), 400, "longer than"},
		{"no picture", wholeForm("label", "cat"), 400, "no field image"},
		{"two pictures", wholeForm("label", "cat", "image", good, "file", good), 400, "more than one picture"},
		{"empty picture", wholeForm("label", "cat", "image", ""), 400, "empty"},
		{"empty body", request{query: "label=cat"}, 400, "empty"},
		{"no boundary", rawForm("multipart/form-data", openPart), 400, "boundary"},
		{"malformed Content-Type", rawForm("multipart/form-data; boundary", openPart), 400, "boundary"},
		{"not a form", rawForm(boundary, "garbage"), 400, "malformed"},
		{"empty form", rawForm(boundary, ""), 400, "malformed"},
		{"form without parts", rawForm(boundary, "--B--\r\n"), 400, "no field image"},
		{"form cut in a part's header", rawForm(boundary, openPart), 400, "malformed"},
		{"form cut in the picture", rawForm(boundary, openPart+"\r\n"+good), 400, "malformed"},
		{"endless header", rawForm(boundary, openPart+"X: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"+good+"\r\n--B--\r\n"), 400, "headers"},
		{"10,000 headers", rawForm(boundary, openPart+strings.Repeat("X: y\r\n", 9_000)+"\r\n"+good+"\r\n--B--\r\n"), 400, "headers"},
		{"2,000 parts", wholeForm(manyParts...), 400, "more than 16 parts"},
		{"text named cat.jpg", wholeForm("label", "cat", "image", text), 415, "content decides"},
		{"html as image/jpeg", request{header: map[string]string{"Content-Type": "image/jpeg"}, body: "<html><script>alert(1)</script>", query: "label=cat"}, 415, ""},
		{"picture as text/plain", request{header: map[string]string{"Content-Type": "text/plain"}, body: good, query: "label=cat"}, 415, "taken for text"},
		{"picture as json", request{header: map[string]string{"Content-Type": "application/json"}, body: good, query: "label=cat"}, 415, "taken for text"},
		{"half a JPEG", wholeForm("label", "cat", "image", string(halfJPEG[:len(halfJPEG)/2])), 422, "truncated"},
		{"60,000 x 60,000", wholeForm("label", "cat", "image", string(phototest.PNGClaiming(60_000, 60_000))), 422, "50 million"},
		{"animated", wholeForm("label", "cat", "image", string(phototest.File("animated.webp"))), 422, "animated"},
		{"4.6 MB picture", wholeForm("label", "cat", "image", noise[:4_600_000]), 413, "POST /uploads"},
		{"5 MB form", wholeForm("label", "cat", "image", noise[:5_000_000]), 413, "POST /uploads"},
		{"5 MB body", request{body: noise[:5_000_000], query: "label=cat"}, 413, "POST /uploads"},
		{"wrong method", request{method: "PUT", body: good, query: "label=cat"}, 405, "POST"},
		{"GET", request{method: "GET"}, 405, "POST"},
		{"unknown path", request{path: "/nothing", body: good}, 404, ""},
		{"no token", request{header: map[string]string{"Authorization": ""}, body: good, query: "label=cat"}, 401, "token"},
		{"a wrong token", request{header: map[string]string{"Authorization": "Bearer devx"}, body: good, query: "label=cat"}, 401, "token"},
		{"basic authentication", request{header: map[string]string{"Authorization": "Basic ZGV2OmRldg=="}, body: good, query: "label=cat"}, 401, "token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := listFiles(t, data)
			method, path := "POST", "/upload"
			if c.req.method != "" {
				method = c.req.method
			}
			if c.req.path != "" {
				path = c.req.path
			}
			header := map[string]string{"Authorization": "Bearer dev"}
			for k, v := range c.req.header {
				header[k] = v
			}
			r, err := s.do(method, path+"?"+c.req.query, header, strings.NewReader(c.req.body))
			if err != nil {
				t.Fatal(err)
			}
			wantProblem(t, r, c.status, c.detail)
			if c.status == 401 && r.header.Get("WWW-Authenticate") == "" || c.status == 405 && r.header.Get("Allow") != "POST" {
				t.Errorf("headers: %v", r.header)
			}
			if after := listFiles(t, data); after != before {
				t.Errorf("something was stored:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
	if r := s.get(t, "/random?label=cat"); r.status != 302 {
		t.Errorf("afterwards a draw gives %d", r.status)
	}
	// 24 MB of bodies above, and pictures that claim gigabytes.
	if peak := peakMemory(t, s.cmd.Process.Pid); peak > 400<<20 {
		t.Errorf("the server's memory peaked at %d MB", peak>>20)
	}
}

type request struct {
	method, path, query string
	header              map[string]string
	body                string
}

func wantProblem(t *testing.T, r reply, status int, detail string) {
	t.Helper()
	if r.status != status {
		t.Fatalf("got %d %.300s, want %d", r.status, r.body, status)
	}
	var p struct {
		Type, Title, Detail string
		Status              int
		RequestID           string `json:"request_id"`
	}
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Fatalf("%.300q: %v", r.body, err)
	}
	if p.Status != status || p.Type != "about:blank" || p.Title != http.StatusText(status) || p.RequestID == "" || !strings.Contains(p.Detail, detail) {
		t.Errorf("got %+v, want %d with %q", p, status, detail)
	}
	for header, want := range map[string]string{
		"Content-Type": "application/problem+json", "Cache-Control": "no-store", "Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff",
	} {
		if got := r.header.Get(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

func listFiles(t *testing.T, dir string) string {
	t.Helper()
	var files strings.Builder
	err := filepath.WalkDir(filepath.Join(dir, "s3", "buckets"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintln(&files, path, info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files.String()
}

func peakMemory(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc here to read a process's memory from")
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kb << 10
}

// Bodies that no function gets to see: the answers are AWS's own, not ours, and the connection survives them or is closed cleanly.
func TestBodiesThatNoFunctionSees(t *testing.T) {
	s := start(t, t.TempDir())
	t.Run("endless", func(t *testing.T) { // chunked: no length gives it away
		r, err := s.do("POST", "/upload?label=cat", asDev, io.LimitReader(endless{}, 20<<20))
		if err != nil || r.status != 413 {
			t.Errorf("got %d %s %v, want 413", r.status, r.body, err)
		}
	})
	t.Run("endless form", func(t *testing.T) {
		body := io.MultiReader(strings.NewReader("--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x\"\r\n\r\n"), io.LimitReader(endless{}, 20<<20))
		r, err := s.do("POST", "/upload", map[string]string{"Authorization": "Bearer dev", "Content-Type": "multipart/form-data; boundary=B"}, body)
		if err != nil || r.status != 413 {
			t.Errorf("got %d %s %v, want 413", r.status, r.body, err)
		}
	})
	t.Run("wrong Content-Length", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /upload?label=cat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dev\r\nContent-Length: 1000\r\n\r\nshort")
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 400 {
			t.Errorf("got %v, %v; want 400", resp, err)
		}
	})
	t.Run("not HTTP", func(t *testing.T) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", strings.TrimPrefix(s.url, "http://"), &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
			t.Error("a TLS handshake succeeded")
		}
	})
	t.Run("long URL", func(t *testing.T) {
		if r := s.get(t, "/random?label=cat&x="+strings.Repeat("x", 9000)); r.status != 414 {
			t.Errorf("got %d", r.status)
		}
	})
	t.Run("10,000 parameters", func(t *testing.T) {
		if r := s.get(t, "/random?label=cat"+strings.Repeat("&i", 4000)); r.status != 404 {
			t.Errorf("got %d, want 404: no picture", r.status)
		}
	})
	for _, path := range []string{
		"/cat/../verdicts/cat/x", "/cat/%2e%2e/verdicts/cat/x", "/cat/..%2fverdicts", "/cat/%00.jpg", "/cat/%ff%fe.jpg", "/cat//x.jpg", "/cat/", "/index/cat/root",
		"/verdicts/cat/x", "/pets/cat/..", "/pets/cat/%00", "/pets/CAT/" + strings.Repeat("0", 31) + "1", "/pets/cat/" + strings.Repeat("z", 32), "//upload", "/upload/", "/random/", "/RANDOM",
	} {
		t.Run("GET "+path, func(t *testing.T) {
			want := []int{403, 404}
			if path == "/pets/cat/.." { // which is /pets, and for curators
				want = []int{401}
			}
			if r := s.get(t, path); !slices.Contains(want, r.status) {
				t.Errorf("got %d %.100s", r.status, r.body)
			}
		})
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} { // CloudFront's own 403, by the behaviour's methods
		if r, err := s.do(method, "/random?label=cat", asDev, nil); err != nil || r.status != 403 {
			t.Errorf("%s /random: %d %v", method, r.status, err)
		}
	}
	if r := s.get(t, "/healthz"); r.status != 200 {
		t.Errorf("afterwards: %d", r.status)
	}
}

// raw sends bytes and reads what comes back until the server closes. Without an answer the status is 0.
func (s *server) raw(t *testing.T, request string) (r reply) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, request) // it may close before it has read all
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Fatalf("%.200q: no answer and no end within 30 s", request)
	}
	if err != nil {
		return reply{}
	}
	defer resp.Body.Close()
	r = reply{status: resp.StatusCode, header: resp.Header}
	r.body, _ = io.ReadAll(resp.Body)
	return r
}

// sized is the rest of a request, from its length on.
func sized(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

// sweep sends hostile requests to one route. %M is its method, %P its path.
var sweep = []struct{ name, request string }{
	{"path ..", "%M %P/.. HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path /..", "%M /..%P HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path up and down", "%M %P/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path %2e%2e", "%M %P/%2e%2e/%2e%2e/tokens HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path %252e", "%M %P/%252e%252e/ HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path %2f", "%M /%2f%P HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path %5c", "%M %P%5c..%5c..%5cs3-secret HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path \\", "%M %P\\..\\s3-secret HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path %00", "%M %P%00.jpg HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path NUL", "%M %P\x00 HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path overlong UTF-8", "%M %P/%c0%ae%c0%ae/%c0%af HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path not UTF-8", "%M %P/\xff\xfe HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path %zz", "%M %P%zz HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path //", "%M /%P HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path ;", "%M %P;a=b/..;/ HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path CRLF", "%M %P%0d%0aX-Injected:%201 HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"path long", "%M %P/" + strings.Repeat("a", 8000) + " HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"whole URL", "%M http://evil.example%P HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"whole URL of another", "%M http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"star", "%M * HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"query CRLF", "%M %P?label=cat%0d%0aX-Injected:%201&%0d%0a=1 HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"query twice", "%M %P?label=cat&label=dog&weight=1&weight=2&limit=1&limit=2&cursor=a&cursor=b&block=true&block=false HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"query arrays", "%M %P?label[]=cat&label[0]=dog&label%00=cat HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"query of 4,000 parameters", "%M %P?" + strings.Repeat("a&", 4000) + " HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"query of 10,000 parameters", "%M %P?" + strings.Repeat("a&", 10_000) + " HTTP/1.1\r\nHost: x\r\n%A\r\n"},
	{"host evil", "%M %P?label=cat&format=text HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher\r\n%A\r\n"},
	{"host missing", "%M %P HTTP/1.1\r\n%A\r\n"},
	{"host twice", "%M %P HTTP/1.1\r\nHost: x\r\nHost: y\r\n%A\r\n"},
	{"host CR", "%M %P HTTP/1.1\r\nHost: x\rX-Injected: 1\r\n%A\r\n"},
	{"method override", "%M %P HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /pets\r\nX-Rewrite-URL: /pets\r\n%A\r\n"},
	{"header folded", "%M %P HTTP/1.1\r\nHost: x\r\nX: a\r\n X-Injected: 1\r\n%A\r\n"},
	{"header NUL", "%M %P HTTP/1.1\r\nHost: x\r\nX: \x00\r\n%A\r\n"},
	{"header CR", "%M %P HTTP/1.1\r\nHost: x\r\nIf-None-Match: a\rX-Injected: 1\r\n%A\r\n"},
	{"header space", "%M %P HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer dev\r\n\r\n"},
	{"header without colon", "%M %P HTTP/1.1\r\nHost: x\r\nAuthorization\r\n%A\r\n"},
	{"header endless", "%M %P HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n%A\r\n"},
	{"10,000 headers", "%M %P HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 10_000) + "%A\r\n"},
	{"Origin CR", "%M %P HTTP/1.1\r\nHost: x\r\nOrigin: https://x%0d%0aX-Injected: 1\r\nAccess-Control-Request-Method: DELETE\r\n%A\r\n"},
	{"token twice", "%M %P HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y\r\n\r\n"},
	{"token in the query", "%M %P?access_token=dev&token=dev HTTP/1.1\r\nHost: x\r\nCookie: token=dev; Authorization=Bearer dev\r\n\r\n"},
	{"HTTP/1.0", "%M %P HTTP/1.0\r\n%A\r\n"},
	{"HTTP/0.9", "%M %P\r\n"},
	{"HTTP/9.9", "%M %P HTTP/9.9\r\nHost: x\r\n%A\r\n"},
	{"length negative", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Length: -1\r\n\r\n"},
	{"length +5", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Length: +5\r\n\r\nhello"},
	{"length of another world", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Length: 99999999999999999999\r\n\r\nhello"},
	{"lengths that differ", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
	{"length too short", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Length: 3\r\n\r\nDELETE /pets HTTP/1.1\r\n\r\n"},
	{"length and chunks", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"chunks malformed", "%M %P HTTP/1.1\r\nHost: x\r\n%ATransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"},
	{"coding unknown", "%M %P HTTP/1.1\r\nHost: x\r\n%ATransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{"range endless", "%M %P HTTP/1.1\r\nHost: x\r\nRange: bytes=" + strings.Repeat("0-0,", 2000) + "0-\r\n%A\r\n"},
	{"form of 10,000 fields", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Type: multipart/form-data; boundary=B\r\n" +
		sized(strings.Repeat("--B\r\nContent-Disposition: form-data;name=a\r\n\r\nx\r\n", 10_000)+"--B--")},
	{"form that says things twice", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Type: multipart/form-data; boundary=B\r\n" +
		sized(strings.Repeat("--B\r\nContent-Disposition: form-data;name=label\r\n\r\ncat\r\n", 2)+"--B--")},
	{"JSON that says things twice", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Type: application/json\r\n" +
		sized(`{"label":"cat","label":"dog","weight":1,"weight":2,"bytes":-10}`)},
	{"JSON that is deep", "%M %P HTTP/1.1\r\nHost: x\r\n%AContent-Type: application/json\r\n" + sized(strings.Repeat(`[{"a":`, 666))},
}

// Every route meets every trick, with no token, with one that may upload, and with one that may curate, and every verb: no 5xx but a 503, no
// header of the client's making, nothing done, nothing of the house in an answer.
func TestHostileSweep(t *testing.T) {
	data := t.TempDir()
	s := start(t, data)
	rec := s.upload(t, "cat", "1", phototest.JPEG(1, 8, 8))
	secret, err := os.ReadFile(filepath.Join(data, "s3-secret"))
	if err != nil {
		t.Fatal(err)
	}
	tokens := []string{"", "Authorization: Bearer " + issue(t, data, "up", "upload") + "\r\n", "Authorization: Bearer " + issue(t, data, "cur", "curate") + "\r\n"}
	before, sent := listFiles(t, data), 0
	check := func(name, request string, may bool) {
		t.Helper()
		sent++
		r := s.raw(t, request)
		// Go's server itself says so of what is not HTTP/1.
		own := r.status == http.StatusNotImplemented && strings.HasSuffix(name, "coding unknown") || r.status == http.StatusHTTPVersionNotSupported && strings.HasSuffix(name, "HTTP/9.9")
		home := bytes.HasPrefix(r.body, []byte("<!doctype html>")) // what /pets/.. comes to, and anyone may see
		if r.status >= 500 && r.status != 503 && !own || r.status/100 == 2 && !may && !home {
			t.Errorf("%s: %d %.200s", name, r.status, r.body)
		}
		if r.header.Get("X-Injected") != "" || bytes.Contains(r.body, secret) || bytes.Contains(r.body, []byte(`"sha256"`)) || bytes.Contains(r.body, []byte("evil.example")) || bytes.Contains(r.body, []byte("root:")) {
			t.Errorf("%s: %d %v %.300s", name, r.status, r.header, r.body)
		}
	}
	for _, key := range routeKeys(t) {
		row := routes[key]
		method, _, isRoute := strings.Cut(key, " ")
		if !isRoute {
			method = "GET"
		}
		path, those := strings.ReplaceAll(row.path, nobody, rec.ID), tokens
		if row.scope == access.Curate { // who may curate may: here are those who may not
			those = tokens[:2]
		}
		for i, trick := range sweep {
			token := those[(i+sent)%len(those)]
			check(key+" "+trick.name, strings.NewReplacer("%M", method, "%P", path, "%A", "Connection: close\r\n"+token).Replace(trick.request), row.scope == "")
		}
		for _, verb := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "BREW", "get", "G\x00T", strings.Repeat("X", 30_000)} {
			may := row.scope == "" && (verb == "GET" || verb == "HEAD" || verb == "OPTIONS") || strings.HasPrefix(path, "/pets/") && (verb == "GET" || verb == "HEAD")
			check(key+" by "+verb[:min(len(verb), 8)], verb+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", may)
		}
	}
	if after := listFiles(t, data); after != before {
		t.Errorf("something was stored:\n%s\nbefore:\n%s", after, before)
	}
	if r := s.get(t, "/pets/cat/"+rec.ID); r.status != 200 {
		t.Errorf("afterwards the picture is %d %s", r.status, r.body)
	}
	t.Logf("%d requests", sent)
}

// Clients that send a little and then nothing hold no function and no file, and those that do not even get through their headers are put out.
func TestSlowClients(t *testing.T) {
	data := t.TempDir()
	s := start(t, data, "--log-level", "debug")
	s.upload(t, "cat", "1", phototest.JPEG(1, 8, 8))
	before := listFiles(t, data)
	dial := func(begin string) net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var headers []net.Conn
	for range 200 {
		headers = append(headers, dial("POST /upload?label=dog HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dev\r\nX-Slow: "))
		dial("POST /upload?label=dog HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dev\r\nContent-Length: 1000000\r\n\r\n\xff\xd8\xff")
	}
	for i := range 20 { // nobody else notices
		began := time.Now()
		s.upload(t, "cat", "1", phototest.JPEG(uint64(10+i), 8, 8))
		if r := s.get(t, "/random?label=cat"); r.status != 302 {
			t.Errorf("a draw beside slow clients: %d", r.status)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("beside slow clients an upload and a draw took %v", took)
		}
	}
	for _, conn := range headers {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err, ok := err.(net.Error); ok && err.Timeout() {
			t.Fatal("a client whose headers do not end is there still after 30 s")
		}
		if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 408")) && !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Errorf("got %q", answer)
		}
	}
	s.kill()
	if files := listFiles(t, data); strings.Contains(files, "/dog/") || strings.Count(files, "/cat/") <= strings.Count(before, "/cat/") {
		t.Errorf("before:\n%s\nafterwards:\n%s", before, files)
	}
	if got := strings.Count(s.log.String(), `route="POST /upload"`); got != 21 {
		t.Errorf("the function was called %d times, want 21", got)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte{'x'}, len(b))), nil }

func TestBadDraws(t *testing.T) {
	s := start(t, t.TempDir())
	for query, status := range map[string]int{
		"": 400, "?label=": 400, "?label=CAT": 400, "?label=%20cat%20": 400, "?label=bird": 400, "?label=cat&label=cat": 400, "?label=cat&label=dog": 400, "?Label=cat": 400,
		"?label=cat&format=xml": 400, "?label=cat&format=": 400, "?label=cat&format=json&format=json": 400, "?label=cat%00": 400, "?label=%zz": 400,
		"?label=cat": 404, "?label=dog&format=json": 404, "?label=dog&unknown=1&unknown=2": 404,
	} {
		r := s.get(t, "/random"+query)
		if r.status != status {
			t.Errorf("%q: got %d, want %d", query, r.status, status)
		}
		wantProblem(t, r, status, "")
	}
}

func TestStoreGone(t *testing.T) {
	first := start(t, t.TempDir())
	m := strings.Fields(first.banner)
	env := map[string]string{}
	endpoint := ""
	for i, f := range m {
		if k, v, ok := strings.Cut(f, "="); ok && strings.HasPrefix(k, "AWS_") {
			env[k] = v
		}
		if f == "--endpoint-url" {
			endpoint = m[i+1]
		}
	}
	for k, v := range env {
		t.Setenv(k, v)
	}
	s := start(t, t.TempDir(), "--s3-endpoint", endpoint)
	rec := s.upload(t, "cat", "1", phototest.JPEG(1, 8, 8))
	if r := s.get(t, "/random?label=cat"); r.status != 302 {
		t.Fatal(r.status)
	}
	first.kill()
	// What is in memory goes on; everything else says so, and when to come back.
	for range 20 {
		if r := s.get(t, "/random?label=cat"); r.status != 302 || !strings.Contains(r.header.Get("Location"), rec.ID) {
			t.Errorf("draw: %d", r.status)
		}
	}
	for name, do := range map[string]func() (reply, error){
		"upload":       func() (reply, error) { return s.uploadForm("label", "cat", "image", string(phototest.JPEG(2, 8, 8))) },
		"record":       func() (reply, error) { return s.do("GET", "/pets/cat/"+rec.ID, nil, nil) },
		"empty label":  func() (reply, error) { return s.do("GET", "/random?label=dog", nil, nil) },
		"json":         func() (reply, error) { return s.do("GET", "/random?label=cat&format=json", nil, nil) },
		"format=image": func() (reply, error) { return s.do("GET", "/random?label=cat&format=image", nil, nil) },
	} {
		r, err := do()
		if err != nil {
			t.Fatal(err)
		}
		if wantProblem(t, r, 503, ""); r.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", name)
		}
	}
	if r := s.get(t, "/cat/"+rec.ID+".png"); r.status != 502 {
		t.Errorf("a picture that is not at the edge: %d", r.status)
	}
}
