package edge_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"petpick/infra"
	"petpick/src/edge"
)

// Each route has a bucket of its own, of the size and the rate that the stage gives it or all.
func TestThrottling(t *testing.T) {
	settings := regexp.MustCompile(`(?m)^      DefaultRouteSettings:\n(?:        .*\n)+(?:      #.*\n)*(?:      RouteSettings:\n(?:        .*\n)+)?`)
	st := must(t, string(settings.Find(infra.Template)), `      DefaultRouteSettings: { ThrottlingBurstLimit: 3, ThrottlingRateLimit: 1 }
      RouteSettings:
        POST /upload: { ThrottlingBurstLimit: 1, ThrottlingRateLimit: "0.5" }
`)
	ask := func(method, path string, want ...int) {
		t.Helper()
		for i, code := range want {
			w := st.do(method, path)
			if w.Code != code {
				t.Errorf("%s %s, request %d: got %d, want %d", method, path, i+1, w.Code, code)
			}
			if code == 429 && (w.Body.String() != `{"message":"Too Many Requests"}` || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("X-Cache") != "Error from cloudfront") {
				t.Errorf("%s %s: got %s %v", method, path, w.Body, w.Header())
			}
		}
	}
	ask("GET", "/stats", 200, 200, 200, 429, 429)
	ask("GET", "/healthz", 200)
	ask("POST", "/upload", 200, 429)
	st.clock.Add(1)
	ask("GET", "/stats", 200, 429)
	ask("POST", "/upload", 429)
	st.clock.Add(1)
	ask("POST", "/upload", 200, 429)
	if n := st.calls.Load(); n != 7 {
		t.Errorf("%d calls of functions, want 7", n)
	}
	// A draw knows no throttling but concurrency.
	ask("GET", "/random?label=cat", 200, 200, 200, 200, 200)
}

// What Lambda says in a function's place: its error, its concurrency, its time, its size. The two callers make different statuses of it.
func TestLambdaInTheFunctionsPlace(t *testing.T) {
	type handler = func(entered chan<- struct{}, release <-chan struct{}, w http.ResponseWriter)
	busy := func(entered chan<- struct{}, release <-chan struct{}, _ http.ResponseWriter) { // whatever its deadline
		entered <- struct{}{}
		<-release
	}
	slow := func(chan<- struct{}, <-chan struct{}, http.ResponseWriter) { time.Sleep(60 * time.Millisecond) } // too late for its 20 ms
	reserved := []string{"Handler: bootstrap\n", "Handler: bootstrap\n      ReservedConcurrentExecutions: 1\n"}
	for _, setting := range regexp.MustCompile(`\n +ReservedConcurrentExecutions:.*`).FindAllString(string(infra.Template), -1) {
		reserved = append([]string{setting, ""}, reserved...) // the template's own goes
	}
	for name, c := range map[string]struct {
		replace             []string
		handler             handler
		first               bool // one call is under way
		api, random         int
		apiBody, randomBody string
	}{
		"a panic": {
			nil, func(chan<- struct{}, <-chan struct{}, http.ResponseWriter) { panic("at the disco") }, false, 500, 502, `{"message":"Internal Server Error"}`, "Internal Server Error",
		},
		"too large an answer": {
			nil, func(_ chan<- struct{}, _ <-chan struct{}, w http.ResponseWriter) { _, _ = w.Write(make([]byte, 7<<20)) }, false, 500, 502, `{"message":"Internal Server Error"}`, "Internal Server Error",
		},
		"reserved concurrency": {
			reserved, busy, true, 500, 429, `{"message":"Internal Server Error"}`, `{"message":"Rate Exceeded."}`,
		},
		"the function's time, behind an API": {
			[]string{"Timeout: 29 ", "Timeout: 0.02 "}, busy, false, 500, 0, `{"message":"Internal Server Error"}`, "",
		},
		"the function's time, behind its URL": {
			[]string{"Timeout: 10\n", "Timeout: 0.02\n"}, slow, false, 0, 502, "", "Internal Server Error",
		},
		"the API's time": {
			[]string{"TimeoutInMillis: 30000", "TimeoutInMillis: 20"}, busy, false, 503, 0, `{"message":"Service Unavailable"}`, "",
		},
		"the edge's time": {
			[]string{"OriginProtocolPolicy: https-only\n", "OriginProtocolPolicy: https-only\n              OriginReadTimeout: 0.02\n"}, busy, false, 504, 504, "<!doctype html>", "<!doctype html>",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for path, want := range map[string]struct {
				code int
				body string
			}{"/stats": {c.api, c.apiBody}, "/random?label=cat": {c.random, c.randomBody}} {
				if want.code == 0 {
					continue
				}
				st := must(t, c.replace...) // one each: a function may outlive the answer
				entered, release := make(chan struct{}, 1), make(chan struct{})
				handle := func(w http.ResponseWriter, _ *http.Request) { c.handler(entered, release, w) }
				st.api, st.random = handle, handle
				var first sync.WaitGroup
				if c.first {
					first.Go(func() {
						if w := st.do("GET", path); w.Code != 200 {
							t.Errorf("%s: the first call got %d", path, w.Code)
						}
					})
					<-entered
				}
				if w := st.do("GET", path); w.Code != want.code || !strings.HasPrefix(w.Body.String(), want.body) {
					t.Errorf("%s: got %d %.60q, want %d %q", path, w.Code, w.Body, want.code, want.body)
				}
				close(release)
				first.Wait()
			}
		})
	}
}

// A function's environment comes from the template, and must be known.
func TestSettings(t *testing.T) {
	resources, err := edge.Resources(infra.Template, map[string]any{"Stage": "prod"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"PhotosBucket": "photos-1", "IndexBucket": "index-1", "Distribution.DomainName": "d1.example"}
	s, err := edge.SettingsOf(resources, "RandomFunction", names)
	if err != nil || s.Environment["PETPICK_PHOTOS_BUCKET"] != "photos-1" || s.Environment["PETPICK_PUBLIC_URL_PARAMETER"] != "/petpick/prod/public-url" ||
		s.Environment["PETPICK_STAGE"] != "prod" || s.Timeout != 10 || s.MemorySize != 256 || s.Role != "${RandomRole.Arn}" {
		t.Errorf("got %+v, %v", s, err)
	}
	if p := edge.ParametersOf(resources, names); p["/petpick/prod/public-url"] != "https://d1.example" {
		t.Errorf("parameters: got %v", p)
	}
	delete(names, "IndexBucket")
	for _, function := range []string{"RandomFunction", "NoFunction", "PhotosBucket"} {
		if s, err := edge.SettingsOf(resources, function, names); err == nil {
			t.Errorf("%s: got %+v, want an error", function, s)
		}
	}
}

// The client that goes away does not end the function, as it would not on AWS.
func TestTheFunctionOutlivesTheClient(t *testing.T) {
	st := must(t)
	entered, gone, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	st.api = func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-gone
		ended <- r.Context().Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.doContext(ctx, "GET", "/stats")
	}()
	<-entered
	cancel()
	<-done
	close(gone)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the function's context ended with the client: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the function did not end")
	}
}

// TestAnAnswerIsNotTakenForADeadline: the end of a call and its answer come at one moment, and the answer counts.
func TestAnAnswerIsNotTakenForADeadline(t *testing.T) {
	st := must(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5_000 {
				if w := st.do("GET", "/random?label=cat"); w.Code != http.StatusOK {
					t.Errorf("got %d %s", w.Code, w.Body)
					return
				}
			}
		})
	}
	wg.Wait()
}
