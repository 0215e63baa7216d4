package cdn_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"petpick/src/cdn"
)

// What CloudFront gets is what its API documents: the path, once, under a reference of its own each time.
func TestForget(t *testing.T) {
	var bodies []string
	status := http.StatusCreated
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.Path != "/2020-05-31/distribution/E123/invalidation" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		bodies = append(bodies, string(body))
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Invalidation xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Id>I1</Id><Status>InProgress</Status></Invalidation>`)
	}))
	defer server.Close()
	cfg := aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	d := cdn.New(cfg, server.URL, func(context.Context) (string, error) { return "E123", nil })
	for range 2 {
		if err := d.Forget(t.Context(), "cat/0123.jpg"); err != nil {
			t.Fatal(err)
		}
	}
	if len(bodies) != 2 || bodies[0] == bodies[1] || !strings.Contains(bodies[0], "<Quantity>1</Quantity>") || !strings.Contains(bodies[0], "<Path>/cat/0123.jpg</Path>") {
		t.Errorf("got %q", bodies)
	}
	status = http.StatusForbidden
	if err := d.Forget(t.Context(), "cat/0123.jpg"); err == nil || !strings.Contains(err.Error(), "/cat/0123.jpg") {
		t.Errorf("refused: got %v", err)
	}
	unknown := errors.New("no such parameter")
	d = cdn.New(cfg, server.URL, func(context.Context) (string, error) { return "", unknown })
	if err := d.Forget(t.Context(), "cat/0123.jpg"); !errors.Is(err, unknown) {
		t.Errorf("without an id: got %v", err)
	}
}
