// Command upload is the Lambda behind API Gateway.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"petpick/src/access"
	"petpick/src/access/ssmtokens"
	"petpick/src/api"
	"petpick/src/blob/s3blob"
	"petpick/src/cdn"
	"petpick/src/config"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/metrics"
	"petpick/src/photo"
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

func build(ctx context.Context, log *slog.Logger) (gateway.API, error) {
	cfg, err := config.LoadUpload(os.Getenv)
	if err != nil {
		return nil, err
	}
	aws, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.OpenUploads {
		log.Warn("uploads are open to everyone, without a token: the stack's parameter OpenUploads says so")
	}
	s3 := s3blob.Client(aws, "")
	photos, store := s3blob.New(s3, cfg.PhotosBucket), s3blob.New(s3, cfg.IndexBucket)
	distribution := cdn.New(aws, "", config.Parameter(aws, cfg.DistributionParameter))
	indexes := index.OpenAll(index.Config{Photos: photos, Index: store, Forget: distribution.Forget, Log: log})
	return counted(metrics.New(os.Stdout, cfg.Stage), indexes, gateway.ServeAPI(api.NewPets(api.Pets{
		Common: api.Common{
			Indexes:   indexes,
			PublicURL: config.PublicURL(aws, cfg.PublicURLParameter),
			Trace:     gateway.TraceOf, Log: log, Served: slog.LevelInfo,
		},
		Photos: photo.NewInspector(), Purge: photos.Purge, Incoming: api.Incoming{Store: store, Presign: store.Presign},
		Access: access.NewKeyring(access.Config{Store: ssmtokens.New(aws, cfg.TokensPath), Log: log}), OpenUploads: cfg.OpenUploads,
	}))), nil
}

// counted tells what became of each upload, and of the folds meanwhile. An upload is logged anyway: a line more is little beside it.
func counted(lines *metrics.Writer, indexes index.All, serve gateway.API) gateway.API {
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		response, err := serve(ctx, e)
		if e.RouteKey == "POST /upload" || e.RouteKey == "POST /uploads/{ticket}/complete" {
			c := indexes.Counts()
			totals := map[string]uint64{metrics.FoldAttempts: c.FoldAttempts, metrics.FoldLosses: c.FoldLosses}
			_ = lines.Write(time.Now(), totals, metrics.Upload(response.StatusCode)) // an upload does not fail for want of a log
		}
		return response, err
	}
}
