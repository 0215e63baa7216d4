package s3blob_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
	"petpick/src/blob/s3blob"
	"petpick/src/blob/s3server"
)

// server is a real S3 server; PETPICK_TEST_S3_ENDPOINT names another one, with the usual AWS_ variables for its credentials.
var server struct{ endpoint, access, secret string }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		server.endpoint = os.Getenv("PETPICK_TEST_S3_ENDPOINT")
		server.access, server.secret = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		if server.endpoint == "" {
			dir, err := os.MkdirTemp("", "petpick-s3blob")
			if err != nil {
				panic(err)
			}
			defer os.RemoveAll(dir)
			server.access, server.secret = "test", "test-secret"
			s, err := s3server.Start(context.Background(), s3server.Config{
				Dir: dir, Addr: "127.0.0.1:0", AccessKey: server.access, SecretKey: server.secret,
			})
			if err != nil {
				panic(err)
			}
			defer s.Stop()
			server.endpoint = s.Endpoint
		}
		return m.Run()
	}())
}

func client(endpoint string) *s3.Client {
	return s3blob.Client(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(server.access, server.secret, ""),
	}, endpoint)
}

var buckets atomic.Int64

func TestContract(t *testing.T) {
	c := client(server.endpoint)
	blobtest.Contract(t, func(t *testing.T) blob.Store {
		bucket := fmt.Sprintf("contract-%d-%d", time.Now().UnixNano(), buckets.Add(1))
		if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
		return s3blob.New(c, bucket)
	})
}

// fault answers every request with status and code, and counts them.
func fault(t *testing.T, status int, code string) (blob.Store, *atomic.Int64) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as asked</Message></Error>", code)
	}))
	t.Cleanup(s.Close)
	return s3blob.New(client(s.URL), "bucket"), &calls
}

func TestFailuresAreToldApart(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		write  []error // all of these, and none of the others
		read   []error
	}{
		{500, "InternalError", []error{blob.ErrUnclear, blob.ErrUnavailable}, []error{blob.ErrUnavailable}},
		{503, "SlowDown", []error{blob.ErrUnclear, blob.ErrUnavailable}, []error{blob.ErrUnavailable}},
		{409, "ConditionalRequestConflict", []error{blob.ErrUnclear}, nil},
		{412, "PreconditionFailed", []error{blob.ErrChanged}, nil},
		{404, "NoSuchKey", []error{blob.ErrChanged}, []error{blob.ErrNotFound}},
		{429, "TooManyRequests", []error{blob.ErrUnclear, blob.ErrUnavailable}, []error{blob.ErrUnavailable}},
		{501, "NotImplemented", nil, nil},
		{416, "InvalidRange", nil, []error{blob.ErrRange}},
		{404, "NoSuchBucket", nil, nil},
		{403, "AccessDenied", nil, nil},
	} {
		t.Run(c.code, func(t *testing.T) {
			store, calls := fault(t, c.status, c.code)
			_, err := store.Swap(t.Context(), "k", `"e"`, []byte("x"), blob.Attr{Once: true})
			wantOnly(t, err, c.write)
			if n := calls.Load(); n != 1 {
				t.Errorf("Once: %d requests", n)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err = store.Get(ctx, "k", "")
			wantOnly(t, err, c.read)
		})
	}
}

// What each operation makes of a status that means something else for another.
func TestStatusesByOperation(t *testing.T) {
	store, _ := fault(t, 404, "NoSuchKey")
	_, err := store.Create(t.Context(), "k", nil, blob.Attr{Once: true})
	wantOnly(t, err, nil) // not ErrExists: nobody has it
	if err := store.Delete(t.Context(), "k"); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
	_, err = store.Head(t.Context(), "k")
	wantOnly(t, err, []error{blob.ErrNotFound})
	store, _ = fault(t, 412, "PreconditionFailed")
	_, err = store.Create(t.Context(), "k", nil, blob.Attr{Once: true})
	wantOnly(t, err, []error{blob.ErrExists})
	store, _ = fault(t, 503, "SlowDown")
	wantOnly(t, store.DeleteMany(t.Context(), []string{"k"}), []error{blob.ErrUnclear, blob.ErrUnavailable})
}

// A server that lies about a body's length, or does not tell it.
func TestBodyLengths(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter)
		want  string
		err   error
	}{
		"unknown": {func(w http.ResponseWriter) { w.(http.Flusher).Flush(); fmt.Fprint(w, "body") }, "body", nil},
		"short":   {func(w http.ResponseWriter) { w.Header().Set("Content-Length", "10"); fmt.Fprint(w, "body") }, "", blob.ErrUnavailable},
		"absurd": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "9000000000000000000")
			fmt.Fprint(w, "body")
		}, "", blob.ErrUnavailable},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.serve(w) }))
		defer s.Close()
		o, err := s3blob.New(client(s.URL), "bucket").Get(t.Context(), "k", "")
		if string(o.Body) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", name, o.Body, err, c.want, c.err)
		}
	}
}

func TestRetriesUnlessOnce(t *testing.T) {
	store, calls := fault(t, 500, "InternalError")
	_, err := store.Create(t.Context(), "k", []byte("x"), blob.Attr{})
	wantOnly(t, err, []error{blob.ErrUnclear, blob.ErrUnavailable})
	if n := calls.Load(); n < 2 {
		t.Errorf("got %d requests, want the SDK's retries", n)
	}
	calls.Store(0)
	wantOnly(t, store.Delete(t.Context(), "k"), []error{blob.ErrUnclear, blob.ErrUnavailable})
	if n := calls.Load(); n != 1 {
		t.Errorf("the deletion was sent %d times", n)
	}
}

func TestUnclearAfterALostAnswer(t *testing.T) {
	// The server takes the write and drops the connection: applied, and reported failed.
	var applied atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		applied.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	store := s3blob.New(client(s.URL), "bucket")
	_, err := store.Create(t.Context(), "k", []byte("x"), blob.Attr{Once: true})
	wantOnly(t, err, []error{blob.ErrUnclear, blob.ErrUnavailable})
	if n := applied.Load(); n != 1 {
		t.Errorf("Once: the write was sent %d times", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	_, err = store.Create(ctx, "k", []byte("x"), blob.Attr{})
	if !errors.Is(err, blob.ErrUnclear) {
		t.Errorf("got %v, want ErrUnclear after a timeout", err)
	}
}

func wantOnly(t *testing.T, err error, want []error) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, e := range []error{blob.ErrNotFound, blob.ErrExists, blob.ErrChanged, blob.ErrNotModified, blob.ErrRange, blob.ErrUnclear, blob.ErrUnavailable} {
		wanted := false
		for _, w := range want {
			wanted = wanted || w == e
		}
		if got := errors.Is(err, e); got != wanted {
			t.Errorf("is %q: got %v, want %v (%v)", e, got, wanted, err)
		}
	}
}
