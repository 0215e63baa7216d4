// Command random is the Lambda behind CloudFront that answers GET /random.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"petpick/src/api"
	"petpick/src/blob/s3blob"
	"petpick/src/config"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/metrics"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	handler, err := build(context.Background(), log)
	if err != nil {
		log.Error("start", slog.Any("error", err))
		os.Exit(1)
	}
	lambda.Start(handler)
}

func build(ctx context.Context, log *slog.Logger) (gateway.Function, error) {
	cfg, err := config.Load(os.Getenv)
	if err != nil {
		return nil, err
	}
	aws, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	s3 := s3blob.Client(aws, "")
	photos, store := s3blob.New(s3, cfg.PhotosBucket), s3blob.New(s3, cfg.IndexBucket)
	indexes := index.OpenAll(index.Config{Photos: photos, Index: store, Log: log})
	return counted(metrics.New(os.Stdout, cfg.Stage), indexes, gateway.ServeFunction(api.NewRandom(api.Random{
		Common: api.Common{
			Indexes:   indexes,
			PublicURL: config.PublicURL(aws, cfg.PublicURLParameter),
			// A line for each draw would cost more than the draw: only what went wrong is logged.
			Trace: gateway.TraceOf, Log: log, Served: slog.LevelDebug,
		},
		Photos: photos,
	}))), nil
}

// counted tells once a minute what the draws met.
func counted(lines *metrics.Writer, indexes index.All, serve gateway.Function) gateway.Function {
	totals := func() map[string]uint64 {
		c := indexes.Counts()
		return map[string]uint64{
			metrics.ColdStarts: 1, metrics.Refreshes: c.Refreshes, metrics.RefreshFailures: c.RefreshFailures, metrics.StaleDraws: c.StaleDraws,
		}
	}
	return func(ctx context.Context, e events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
		response, err := serve(ctx, e)
		_ = lines.Minutely(time.Now(), totals) // a draw does not fail for want of a log
		return response, err
	}
}
