package edge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"petpick/infra"
	"petpick/src/api"
	"petpick/src/edge"
	"petpick/src/gateway"
	"petpick/src/pet"
)

// stage is the edge over the real template, with changes, in front of functions and a bucket that record what reaches them.
type stage struct {
	edge     *edge.Edge
	api      func(w http.ResponseWriter, r *http.Request)
	random   func(w http.ResponseWriter, r *http.Request)
	s3       func(w http.ResponseWriter, r *http.Request)
	calls    atomic.Int64
	clock    atomic.Int64
	mu       sync.Mutex // guards the writing of what is last
	lastAPI  events.APIGatewayV2HTTPRequest
	lastURL  events.LambdaFunctionURLRequest
	lastS3   *http.Request
	template string
}

func set(t *testing.T, replace ...string) (*stage, error) {
	t.Helper()
	st := &stage{template: string(infra.Template)}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(st.template, replace[i]) {
			t.Fatalf("the template has no %q: the test changes nothing", replace[i])
		}
		st.template = strings.ReplaceAll(st.template, replace[i], replace[i+1])
	}
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	st.api, st.random, st.s3 = ok, ok, ok
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { st.calls.Add(1); st.lastS3 = r; st.s3(w, r) }))
	t.Cleanup(s3.Close)
	var err error
	st.edge, err = edge.New(edge.Config{
		Template: []byte(st.template),
		Now:      func() time.Time { return time.Unix(1e9+st.clock.Load(), 0) },
		APIs: map[string]gateway.API{"UploadFunction": func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
			st.calls.Add(1)
			st.mu.Lock()
			st.lastAPI = e
			st.mu.Unlock()
			return gateway.ServeAPI(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { st.api(w, r) }))(ctx, e)
		}},
		Functions: map[string]gateway.Function{"RandomFunction": func(ctx context.Context, e events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
			st.calls.Add(1)
			st.mu.Lock()
			st.lastURL = e
			st.mu.Unlock()
			return gateway.ServeFunction(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { st.random(w, r) }))(ctx, e)
		}},
		Buckets: map[string]edge.Bucket{"PhotosBucket": {
			Endpoint: s3.URL, Name: "photos", Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		}},
	})
	return st, err
}

func must(t *testing.T, replace ...string) *stage {
	t.Helper()
	st, err := set(t, replace...)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (st *stage) do(method, target string, header ...string) *httptest.ResponseRecorder {
	return st.doContext(context.Background(), method, target, header...)
}

func (st *stage) doContext(ctx context.Context, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	st.edge.ServeHTTP(w, r)
	return w
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
	}
}

// What the template does not have is missing here.
func TestTheTemplateDecides(t *testing.T) {
	route := func(key string) string { return "RouteKey: " + key + "\n" }
	settings, elsewhere := "        POST /upload:\n", "        POST /elsewhere:\n" // of throttling
	st := must(t)
	st.do("POST", "/upload")
	if st.lastAPI.RouteKey != "POST /upload" {
		t.Errorf("route: got %q", st.lastAPI.RouteKey)
	}
	st = must(t, route("POST /upload"), route("POST /elsewhere"), settings, elsewhere)
	if st.do("POST", "/upload"); st.lastAPI.RouteKey != "$default" {
		t.Errorf("without its route POST /upload arrives as %q", st.lastAPI.RouteKey)
	}
	st = must(t, route("POST /upload"), route("POST /elsewhere"), settings, elsewhere, route("$default"), route("GET /x"))
	if w := st.do("POST", "/upload"); w.Code != 404 || st.calls.Load() != 0 || !strings.Contains(w.Body.String(), `"Not Found"`) {
		t.Errorf("without any route: %d %s, %d calls", w.Code, w.Body, st.calls.Load())
	}
	st = must(t, "- PathPattern: /random\n", "- PathPattern: /other\n")
	if st.do("GET", "/random?label=cat"); st.lastAPI.RawPath != "/random" {
		t.Error("without its behaviour /random does not go to the default origin")
	}
	st = must(t, `- !Sub "${PhotosBucket.Arn}/dog/*"`, `- !Sub "${PhotosBucket.Arn}/bird/*"`)
	if w := st.do("GET", "/dog/x.jpg"); w.Code != 403 {
		t.Errorf("a key that the bucket's policy does not grant: %d", w.Code)
	}
	st = must(t, "AllowedMethods: [GET, HEAD, OPTIONS]", "AllowedMethods: [GET, HEAD]")
	if w := st.do("OPTIONS", "/random"); w.Code != 403 {
		t.Errorf("a method that the behaviour does not allow: %d", w.Code)
	}
	st = must(t, "QueryStrings: [label, format]", "QueryStrings: [label]")
	if st.do("GET", "/random?label=cat&format=json&i=1"); st.lastURL.RawQueryString != "label=cat" {
		t.Errorf("query strings that the policy does not forward: %q", st.lastURL.RawQueryString)
	}
}

func TestTemplatesThatCannotWork(t *testing.T) {
	for name, c := range map[string][]string{
		"unknown managed cache policy":  {"4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "4135ea2d-0000-44a3-9df3-4b5a84be39ad"},
		"unknown managed origin policy": {"b689b0a8-53d0-40ab-baf2-68738e2966ac", "b689b0a8-0000-40ab-baf2-68738e2966ac"},
		"behaviour of no origin":        {"TargetOriginId: random", "TargetOriginId: rnadom"},
		"integration of no function":    {"IntegrationUri: !GetAtt UploadFunction.Arn", "IntegrationUri: !GetAtt UplaodFunction.Arn"},
		"another function":              {"TargetFunctionArn: !GetAtt RandomFunction.Arn", "TargetFunctionArn: !GetAtt UploadFunction.Arn"},
		"payload format":                {`PayloadFormatVersion: "2.0"`, `PayloadFormatVersion: "1.0"`},
		"stage with a name":             {"StageName: $default", "StageName: prod"},
		"function at another event":     {"EventType: viewer-request", "EventType: viewer-response"},
		"function not published":        {"AutoPublish: true", "AutoPublish: false"},
		"function that does not parse":  {"function handler(event) {", "function handler(event {"},
		"a bucket of no name":           {"DomainName: !GetAtt PhotosBucket.RegionalDomainName", "DomainName: !GetAtt PhotoBucket.RegionalDomainName"},
		"an unknown function":           {"!Select [2,", "!FindInMap [2,"},
		"a route key without method":    {"RouteKey: GET /stats", "RouteKey: /stats"},
		"no distribution":               {"AWS::CloudFront::Distribution", "AWS::CloudFront::StreamingDistribution"},
	} {
		if _, err := set(t, c...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := edge.New(edge.Config{Template: []byte("a: [")}); err == nil {
		t.Error("not YAML: accepted")
	}
}

// The labels and the size limit stand in one place in the code; the template repeats them, and this holds the two together.
func TestTheTemplateAgreesWithTheCode(t *testing.T) {
	st := must(t)
	var want []string
	for _, label := range pet.Labels {
		want = append(want, string(label))
		if st.do("GET", "/"+string(label)+"/x.jpg"); st.lastS3 == nil || st.lastS3.URL.Path != "/photos/"+string(label)+"/x.jpg" {
			t.Errorf("%s: pictures do not come from the bucket", label)
		}
	}
	for what, pattern := range map[string]string{
		"behaviours":          `PathPattern: /(\w+)/\*`,
		"the bucket's policy": `(?s)PicturesToTheDistribution.*?Condition`,
	} {
		var got []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(st.template, -1) {
			if len(m) > 1 {
				got = append(got, m[1])
				continue
			}
			for _, m := range regexp.MustCompile(`PhotosBucket.Arn}/(\w+)/`).FindAllStringSubmatch(m[0], -1) {
				got = append(got, m[1])
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s name %v, the code %v", what, got, want)
		}
	}
	send := func(n int) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/upload", strings.NewReader(strings.Repeat("x", n)))
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("t", 8000)) // headers take of the event, too
		w := httptest.NewRecorder()
		st.edge.ServeHTTP(w, r)
		return w
	}
	const largestForm = api.MaxInlineBytes + 100_000
	if w := send(largestForm); w.Code != 200 || len(st.lastAPI.Body) < largestForm {
		t.Errorf("a form with the largest picture: %d %s", w.Code, w.Body)
	}
	if w := send(4_650_000); w.Code != 200 {
		t.Errorf("the largest body that the edge lets through does not fit an event: %d %s", w.Code, w.Body)
	}
	if w := send(4_650_001); w.Code != 413 || !strings.Contains(w.Body.String(), fmt.Sprint(api.MaxInlineBytes)) {
		t.Errorf("one byte more: %d %s", w.Code, w.Body)
	}
}

func TestWhatReachesTheFunctions(t *testing.T) {
	st := must(t)
	st.do("GET", "/random?i=1&label=cat&label=dog&x=y&format=json", "Authorization", "Bearer t", "Cookie", "a=b", "Accept-Language", "de", "Host", "example.com")
	e := st.lastURL
	if e.RawQueryString != "label=cat&label=dog&format=json" || e.Headers["authorization"] != "" || len(e.Cookies) != 0 || e.Headers["accept-language"] != "" ||
		e.RequestContext.HTTP.Method != "GET" || e.RequestContext.RequestID == "" || e.RequestContext.DomainName == "example.com" {
		t.Errorf("random: got %+v", e)
	}
	st.do("GET", "/pets/cat/abc?x=1,2&x=3", "Authorization", "Bearer t", "Cookie", "a=b; c=d", "X-Thing", "1", "Connection", "close")
	a := st.lastAPI
	if a.RouteKey != "GET /pets/{label}/{id}" || a.PathParameters["label"] != "cat" || a.PathParameters["id"] != "abc" || a.RawQueryString != "x=1,2&x=3" ||
		a.Headers["authorization"] != "Bearer t" || a.Headers["x-thing"] != "1" || a.Headers["connection"] != "" || len(a.Cookies) != 2 || a.RequestContext.DomainName == "example.com" {
		t.Errorf("api: got %+v", a)
	}
	for method, route := range map[string]string{"GET": "GET /", "POST": "$default", "HEAD": "$default"} {
		if st.do(method, "/"); st.lastAPI.RouteKey != route {
			t.Errorf("%s /: got route %q, want %q", method, st.lastAPI.RouteKey, route)
		}
	}
	st.do("GET", "/cat/abc.jpg?x=1", "Authorization", "Bearer t", "Cookie", "a=b", "Range", "bytes=0-1")
	if r := st.lastS3; r.URL.Path != "/photos/cat/abc.jpg" || r.URL.RawQuery != "" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") || r.Header.Get("Cookie") != "" {
		t.Errorf("s3: got %s %v", r.URL, r.Header)
	}
}

func TestCORSIsConstant(t *testing.T) {
	st := must(t)
	st.api = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://set-by-the-function.example") // an HTTP API with CORS configured drops it
		w.WriteHeader(500)
	}
	st.s3 = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write([]byte("picture"))
	}
	for _, path := range []string{"/nothing", "/cat/a.jpg", "/cat/a.jpg"} {
		for _, header := range [][]string{nil, {"Origin", "https://example.com"}} {
			if w := st.do("GET", path, header...); strings.Join(w.Header().Values("Access-Control-Allow-Origin"), "|") != "*" {
				t.Errorf("%s %v: got %q", path, header, w.Header().Values("Access-Control-Allow-Origin"))
			}
		}
	}
	before := st.calls.Load()
	w := st.do("OPTIONS", "/upload", "Origin", "https://example.com", "Access-Control-Request-Method", "POST")
	if w.Code != 204 || st.calls.Load() != before || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("preflight: %d, %v", w.Code, w.Header())
	}
	st = must(t, `AllowOrigins: ["*"]`, `AllowOrigins: ["https://one.example"]`)
	if w := st.do("GET", "/nothing"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("an origin that the template does not allow was allowed")
	}
}

func TestPicturesAreCached(t *testing.T) {
	st := must(t)
	st.s3 = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("X-Amz-Meta-Weight", "1000")
		fmt.Fprint(w, "0123456789")
	}
	if w := st.do("GET", "/cat/a.png"); w.Code != 200 || w.Body.String() != "0123456789" || w.Header().Get("X-Cache") != "Miss from cloudfront" || w.Header().Get("X-Amz-Meta-Weight") != "" {
		t.Errorf("first: %d %v", w.Code, w.Header())
	}
	st.clock.Add(1000)
	for i, c := range []struct {
		header []string
		code   int
		body   string
	}{
		{nil, 200, "0123456789"}, {[]string{"Range", "bytes=3-5"}, 206, "345"}, {[]string{"If-None-Match", `"e"`}, 304, ""}, {[]string{"Accept-Encoding", "br"}, 200, "0123456789"},
	} {
		w := st.do("GET", fmt.Sprintf("/cat/a.png?i=%d", i), c.header...) // the query is not in the key
		if w.Code != c.code || w.Body.String() != c.body || w.Header().Get("X-Cache") != "Hit from cloudfront" || w.Header().Get("Age") != "1000" || w.Header().Get("Content-Type") != "image/png" && c.code != 304 {
			t.Errorf("%v: got %d %q %v", c.header, w.Code, w.Body, w.Header())
		}
	}
	if w := st.do("HEAD", "/cat/a.png"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if n := st.calls.Load(); n != 1 {
		t.Errorf("%d requests to S3, want 1", n)
	}
	st.clock.Add(366 * 24 * 3600)
	if w := st.do("GET", "/cat/a.png"); w.Header().Get("X-Cache") != "Miss from cloudfront" {
		t.Error("a year later it is still a hit")
	}
}

// CloudFront keeps errors; under CachingDisabled the key has no query, so that one caller's error would answer everyone. The
// template turns that off, and the edge would show it if it did not.
func TestErrorCaching(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    int
		replace []string
		kept    bool
	}{
		{"400, as in the template", 400, nil, false},
		{"500, as in the template", 500, nil, false},
		{"400 without a custom response", 400, []string{"          - { ErrorCode: 400, ErrorCachingMinTTL: 0 }\n", ""}, true},
		{"503 without a custom response", 503, []string{"          - { ErrorCode: 503, ErrorCachingMinTTL: 0 }\n", ""}, true},
		{"404 honours no-store", 404, []string{"          - { ErrorCode: 404, ErrorCachingMinTTL: 0 }\n", ""}, false},
		{"429 is never kept", 429, nil, false},
		{"400 kept for 60 s", 400, []string{"ErrorCode: 400, ErrorCachingMinTTL: 0", "ErrorCode: 400, ErrorCachingMinTTL: 60"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := must(t, c.replace...)
			st.random = status(c.code)
			if w := st.do("GET", "/random?label=bird"); w.Code != c.code {
				t.Fatalf("got %d", w.Code)
			}
			st.random = status(302)
			want := 302
			if c.kept {
				want = c.code
			}
			if w := st.do("GET", "/random?label=cat"); w.Code != want {
				t.Errorf("the next caller gets %d, want %d", w.Code, want)
			}
			st.clock.Add(61)
			if w := st.do("GET", "/random?label=cat"); w.Code != 302 {
				t.Errorf("a minute later: %d", w.Code)
			}
		})
	}
}

func TestDrawsAreNeverCached(t *testing.T) {
	st := must(t)
	n := 0
	st.random = func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Location", fmt.Sprint("/cat/", n))
		w.WriteHeader(302)
	}
	for i := 1; i <= 3; i++ {
		if w := st.do("GET", "/random?label=cat"); w.Header().Get("Location") != fmt.Sprint("/cat/", i) {
			t.Errorf("draw %d: got %s", i, w.Header().Get("Location"))
		}
	}
}

// On AWS a function hears nothing of a viewer who leaves, and ends what it has begun.
func TestAViewerWhoLeavesEndsNoFunction(t *testing.T) {
	st := must(t)
	ctx, leave := context.WithCancel(t.Context())
	heard := make(chan error, 1)
	st.api = func(_ http.ResponseWriter, r *http.Request) {
		leave()
		heard <- r.Context().Err()
	}
	st.edge.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/upload", strings.NewReader("x")))
	if err := <-heard; st.calls.Load() != 1 || err != nil {
		t.Errorf("%d calls; the function heard %v", st.calls.Load(), err)
	}
}

func TestAnswersOfAWSItself(t *testing.T) {
	st := must(t)
	st.s3 = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }
	if w := st.do("GET", "/cat/nothing.jpg"); w.Code != 403 || !strings.Contains(w.Body.String(), "AccessDenied") {
		t.Errorf("a picture that is not there: %d %s", w.Code, w.Body)
	}
	if w := st.do("POST", "/random"); w.Code != 403 || w.Header().Get("Server") != "CloudFront" {
		t.Errorf("POST /random: %d %v", w.Code, w.Header())
	}
	st.api = func(http.ResponseWriter, *http.Request) { panic("not caught") }
	big := func(n int, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/upload", strings.NewReader(strings.Repeat("x", n)))
		if header == nil {
			r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		}
		w := httptest.NewRecorder()
		st.edge.ServeHTTP(w, r)
		return w
	}
	if w := big(11 << 20); w.Code != 413 || !strings.Contains(w.Body.String(), `"message"`) {
		t.Errorf("11 MB without a length: %d %s", w.Code, w.Body)
	}
	if w := big(5 << 20); w.Code != 413 || !strings.Contains(w.Body.String(), `"message"`) {
		t.Errorf("5 MB without a length, over Lambda's event: %d %s", w.Code, w.Body)
	}
	if w := big(5<<20, "with a length"); w.Code != 413 || w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), "POST /uploads") {
		t.Errorf("5 MB: %d %v %s", w.Code, w.Header(), w.Body)
	}
}
