package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"petpick/src/blob/s3blob"
	"petpick/src/index"
)

func tendCommand() *cobra.Command {
	var cfg serveConfig
	cmd := &cobra.Command{
		Use:   "tend",
		Short: "Do the index's upkeep once",
		Long: `Folds what crashed writers left in the journal, merges segments, and deletes those that nothing lists.
petpick serve does it each minute, and on AWS a scheduled function does. Any number may run at once.`,
		Example: `  petpick tend
  petpick tend --s3-endpoint http://127.0.0.1:9000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			log := slog.New(tint.NewTextHandler(cmd.ErrOrStderr(), &tint.Options{TimeFormat: time.TimeOnly, NoColor: !isTerminal(cmd.ErrOrStderr())}))
			if cfg.s3Endpoint == "" { // the folder is one process's at a time
				unlock, err := lockData(&cfg)
				if err != nil {
					return fmt.Errorf("%w: it does its own upkeep", err)
				}
				defer unlock()
			}
			store, err := openStore(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.stop()) }()
			for label, idx := range index.OpenAll(index.Config{
				Photos: s3blob.New(store.client, cfg.photosBucket), Index: s3blob.New(store.client, cfg.indexBucket), Log: log,
			}) {
				if err := idx.Tend(cmd.Context()); err != nil {
					return fmt.Errorf("%s: %w", label, err)
				}
			}
			return nil
		},
	}
	storeFlags(cmd, &cfg)
	return cmd
}
