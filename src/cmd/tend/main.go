// Command tend is the scheduled Lambda that keeps the index in order: it folds what crashed writers left, merges segments, and deletes
// those that nothing lists.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"petpick/src/blob/s3blob"
	"petpick/src/cdn"
	"petpick/src/config"
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

func build(ctx context.Context, log *slog.Logger) (func(context.Context, json.RawMessage) error, error) {
	cfg, err := config.Load(os.Getenv)
	if err != nil {
		return nil, err
	}
	aws, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	s3 := s3blob.Client(aws, "")
	distribution := cdn.New(aws, "", config.Parameter(aws, cfg.DistributionParameter))
	indexes := index.OpenAll(index.Config{
		Photos: s3blob.New(s3, cfg.PhotosBucket), Index: s3blob.New(s3, cfg.IndexBucket), Forget: distribution.Forget, Log: log,
	})
	lines := metrics.New(os.Stdout, cfg.Stage)
	return func(ctx context.Context, _ json.RawMessage) error {
		var errs []error
		for _, idx := range indexes {
			errs = append(errs, idx.Tend(ctx))
		}
		if err := report(ctx, lines, indexes); err != nil { // upkeep was done, or not, whether or not it can be told
			log.WarnContext(ctx, "metrics not told", slog.Any("error", err))
		}
		return errors.Join(errs...)
	}, nil
}

// report tells how large the index is, and what is left to do.
func report(ctx context.Context, lines *metrics.Writer, indexes index.All) error {
	pictures := 0
	for label, idx := range indexes {
		s, err := idx.Stats(ctx)
		if err != nil {
			return fmt.Errorf("size of the index of %s: %w", label, err)
		}
		pictures += s.Pictures
	}
	c := indexes.Counts()
	return lines.Write(time.Now(), map[string]uint64{metrics.FoldAttempts: c.FoldAttempts, metrics.FoldLosses: c.FoldLosses},
		metrics.Group{Values: map[string]uint64{metrics.JournalBacklog: c.Backlog, metrics.Pictures: uint64(pictures)}})
}
