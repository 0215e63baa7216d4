package edge_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"petpick/infra"
	"petpick/src/api"
	"petpick/src/blob"
	"petpick/src/edge"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/pet"
)

// discarded is a response of which nothing is kept.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) WriteHeader(status int)      { d.status = status }
func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkRandom is a draw as `petpick serve` does it, without HTTP: from the viewer's request through the edge, the function's event, the
// function and its answer.
func BenchmarkRandom(b *testing.B) {
	photos, store := blob.NewMemory(nil), blob.NewMemory(nil)
	x := index.Open(index.Config{Label: "cat", Photos: photos, Index: store})
	if _, err := x.Add(b.Context(), index.Photo{ID: pet.ID{15: byte(pet.JPEG)}, Body: []byte{1}, Width: 1, Height: 1, Weight: 1}); err != nil {
		b.Fatal(err)
	}
	random := gateway.ServeFunction(api.NewRandom(api.Random{Common: api.Common{
		Indexes: index.OpenAll(index.Config{Photos: photos, Index: store}), PublicURL: func(context.Context) (string, error) { return "", nil },
		Trace: gateway.TraceOf, Log: slog.New(slog.DiscardHandler), Served: slog.LevelInfo,
	}}))
	e, err := edge.New(edge.Config{
		Template: infra.Template,
		APIs: map[string]gateway.API{"UploadFunction": func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
			return events.APIGatewayV2HTTPResponse{}, nil
		}},
		Functions: map[string]gateway.Function{"RandomFunction": random},
		Buckets: map[string]edge.Bucket{"PhotosBucket": {
			Endpoint: "http://127.0.0.1:1", Name: "photos", Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), "GET", "/random?label=cat", nil)
		w := &discarded{header: http.Header{}}
		if e.ServeHTTP(w, r); w.status != http.StatusFound {
			b.Fatal(w.status, w.header)
		}
	}
}

// BenchmarkRequest is what of it is the benchmark's own.
func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		httptest.NewRequestWithContext(b.Context(), "GET", "/random?label=cat", nil)
	}
}
