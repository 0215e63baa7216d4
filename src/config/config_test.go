package config_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"petpick/src/config"
)

func TestLoad(t *testing.T) {
	env := map[string]string{"PETPICK_STAGE": "dev", "PETPICK_PHOTOS_BUCKET": "p", "PETPICK_INDEX_BUCKET": "i", "PETPICK_PUBLIC_URL_PARAMETER": "/petpick/dev/url", "PETPICK_DISTRIBUTION_PARAMETER": "/petpick/dev/id"}
	cfg, err := config.Load(func(k string) string { return env[k] })
	if err != nil || cfg != (config.Config{Stage: "dev", PhotosBucket: "p", IndexBucket: "i", PublicURLParameter: "/petpick/dev/url", DistributionParameter: "/petpick/dev/id"}) {
		t.Errorf("got %+v, %v", cfg, err)
	}
	_, err = config.Load(func(string) string { return "" })
	for name := range env {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("nothing set: got %v, want %s named", err, name)
		}
	}
	env["PETPICK_INDEX_BUCKET"] = "p"
	if _, err = config.Load(func(k string) string { return env[k] }); err == nil {
		t.Error("one bucket for both was accepted")
	}
}

func TestLoadUpload(t *testing.T) {
	env := map[string]string{"PETPICK_STAGE": "dev", "PETPICK_PHOTOS_BUCKET": "p", "PETPICK_INDEX_BUCKET": "i", "PETPICK_PUBLIC_URL_PARAMETER": "/u", "PETPICK_DISTRIBUTION_PARAMETER": "/d"}
	for _, c := range []struct{ path, open, fault string }{
		{"/petpick/dev/tokens", "", ""}, {"/petpick/dev/tokens", "false", ""}, {"/petpick/dev/tokens", "true", ""},
		{"", "", "PETPICK_TOKENS_PATH"}, {"tokens", "", "PETPICK_TOKENS_PATH"},
		{"/t", "yes", "PETPICK_OPEN_UPLOADS"}, {"/t", "TRUE", "PETPICK_OPEN_UPLOADS"}, {"/t", " true", "PETPICK_OPEN_UPLOADS"},
	} {
		env["PETPICK_TOKENS_PATH"], env["PETPICK_OPEN_UPLOADS"] = c.path, c.open
		cfg, err := config.LoadUpload(func(k string) string { return env[k] })
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) || cfg.OpenUploads {
				t.Errorf("%+v: got %v, open %v", c, err, cfg.OpenUploads)
			}
			continue
		}
		if err != nil || cfg.TokensPath != c.path || cfg.OpenUploads != (c.open == "true") || cfg.PhotosBucket != "p" {
			t.Errorf("%+v: got %+v, %v", c, cfg, err)
		}
	}
	_, err := config.LoadUpload(func(string) string { return "" })
	if err == nil || !strings.Contains(err.Error(), "PETPICK_TOKENS_PATH") || !strings.Contains(err.Error(), "PETPICK_PHOTOS_BUCKET") {
		t.Errorf("nothing set: not every fault is named: %v", err)
	}
}

func TestPublicURL(t *testing.T) {
	answers := []struct {
		status int
		body   string
	}{
		{400, `{"__type":"ParameterNotFound"}`},
		{200, `{"Parameter":{"Name":"/u","Value":"not a url"}}`},
		{200, `{"Parameter":{"Name":"/u","Value":"https://d1.cloudfront.net/"}}`},
	}
	calls := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answers[min(calls, len(answers)-1)]
		calls++
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	}))
	defer s.Close()
	read := config.PublicURL(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	}, "/u")
	for i, want := range []string{"", "", "https://d1.cloudfront.net", "https://d1.cloudfront.net"} {
		if got, err := read(t.Context()); got != want || (err == nil) != (want != "") {
			t.Errorf("call %d: got %q, %v; want %q", i, got, err, want)
		}
	}
	if calls != 3 {
		t.Errorf("%d calls, want 3: a success is kept, a failure is not", calls)
	}
}

// A failure that may pass is tried again, one that will not is not; and what is sent is what SSM documents.
func TestParameterIsAskedForAgain(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		calls  int
	}{
		"throttled":    {400, `{"__type":"ThrottlingException"}`, 3},
		"out of order": {503, "", 3},
		"not allowed":  {400, `{"__type":"AccessDeniedException"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				body, _ := io.ReadAll(r.Body)
				if r.Method != "POST" || r.Header.Get("X-Amz-Target") != "AmazonSSM.GetParameter" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" ||
					string(body) != `{"Name":"/u"}` || !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/ssm/aws4_request") {
					t.Errorf("got %s %v %s", r.Method, r.Header, body)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer s.Close()
			cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(s.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
			if _, err := config.Parameter(cfg, "/u")(t.Context()); err == nil || calls != c.calls {
				t.Errorf("%d calls, want %d; %v", calls, c.calls, err)
			}
		})
	}
}
