package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"petpick/src/blob"
	"petpick/src/blob/s3blob"
	"petpick/src/index"
	"petpick/src/pet"
)

// errFaults ends fsck with status 1: it ran, and found something.
var errFaults = errors.New("faults found")

// onStore makes a command that works on the buckets' indexes, one label after the other.
func onStore(cmd *cobra.Command, work func(ctx context.Context, label pet.Label, idx *index.Index) error) *cobra.Command {
	var cfg serveConfig
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		stderr := cmd.ErrOrStderr()
		log := slog.New(tint.NewTextHandler(stderr, &tint.Options{TimeFormat: time.TimeOnly, NoColor: !colours(stderr)}))
		store, err := openFor(cmd.Context(), &cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.stop()) }()
		indexes := index.OpenAll(index.Config{
			Photos: s3blob.New(store.client, cfg.photosBucket), Index: s3blob.New(store.client, cfg.indexBucket), Forget: store.forget, Log: log,
		})
		var errs []error
		for _, label := range pet.Labels {
			if err := work(cmd.Context(), label, indexes[label]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", label, err))
			}
		}
		return errors.Join(errs...)
	}
	storeFlags(cmd, &cfg)
	stageFlag(cmd, &cfg.stage)
	for _, other := range []string{"data", "s3-endpoint", "s3-addr", "region", "photos-bucket", "index-bucket"} {
		cmd.MarkFlagsMutuallyExclusive("stage", other)
	}
	return cmd
}

// openFor opens a deployed stack, another S3 server, or the data folder, which is one process's at a time.
func openFor(ctx context.Context, cfg *serveConfig) (*store, error) {
	switch {
	case cfg.stage != "":
		return openStack(ctx, cfg)
	case cfg.s3Endpoint != "":
		return openStore(ctx, *cfg)
	}
	unlock, err := lockData(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: use the --s3-endpoint that it printed", err)
	}
	st, err := openStore(ctx, *cfg)
	if err != nil {
		unlock()
		return nil, err
	}
	stop := st.stop
	st.stop = func() error { defer unlock(); return stop() }
	return st, nil
}

func tendCommand() *cobra.Command {
	return onStore(&cobra.Command{
		Use:   "tend",
		Short: "Do the index's upkeep once",
		Long: `Folds what crashed writers left in the journal, merges segments, and deletes those that nothing lists.
petpick serve does it each minute, and on AWS a scheduled function does. Any number may run at once.`,
		Example: `  petpick tend
  petpick tend --s3-endpoint http://127.0.0.1:9000
  petpick tend --stage dev`,
	}, func(ctx context.Context, _ pet.Label, idx *index.Index) error { return idx.Tend(ctx) })
}

// expireIncoming deletes what was sent for tickets over a day ago. On AWS the bucket's lifecycle rule does; the embedded server has none.
func expireIncoming(ctx context.Context, s blob.Store, now time.Time) error {
	for after := ""; ; {
		page, err := s.List(ctx, "incoming/", after, 1000)
		if err != nil {
			return err
		}
		var old []string
		for _, o := range page.Objects {
			if after = o.Key; now.Sub(o.Modified) > 24*time.Hour {
				old = append(old, o.Key)
			}
		}
		if err := s.DeleteMany(ctx, old); err != nil || !page.More {
			return err
		}
	}
}

func fsckCommand() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Compare the index with the pictures",
		Long: `Compares the index with the photos bucket, picture by picture, and names every fault: one line each on standard output.
With --repair they are mended. It may run beside everything else.

The exit status is 0 when nothing is wrong (or everything was mended), 1 when faults are left, 2 when it could not run.`,
		Example: `  petpick fsck
  petpick fsck --repair --s3-endpoint http://127.0.0.1:9000
  petpick fsck --stage dev`,
	}
	onStore(cmd, func(ctx context.Context, label pet.Label, idx *index.Index) error {
		return reported(cmd, label, "checked", func(report func(index.Fault), progress func(int)) error {
			return idx.Check(ctx, repair, report, progress)
		})
	})
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what is found")
	return cmd
}

// reported runs a check, prints what it finds, and makes an error of what is left.
func reported(cmd *cobra.Command, label pet.Label, did string, check func(report func(index.Fault), progress func(int)) error) error {
	left := 0
	progress, done := counter(cmd.ErrOrStderr(), did+" "+string(label)+"s")
	defer done()
	err := check(func(f index.Fault) {
		if !f.Repaired {
			left++
		}
		printFault(cmd.OutOrStdout(), label, f)
	}, progress)
	if err == nil && left > 0 {
		err = fmt.Errorf("%d %w", left, errFaults)
	}
	return err
}

func printFault(w io.Writer, label pet.Label, f index.Fault) {
	state := "fault"
	if f.Repaired {
		state = "mended"
	}
	fmt.Fprintf(w, "%s %s/%s: %s\n", state, label, f.ID, f.What)
}

func reindexCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reindex",
		Short: "Make the index anew from the pictures",
		Long: `Makes the index anew from the photos bucket, whatever is left of the old one, and then checks it. It may run beside everything
else; uploads of the last half minute make it wait for as long. What cannot be read of the old index is replaced, but not what a newer
program wrote. The exit status is 1 when faults are left that only a person can mend.`,
		Example: `  petpick reindex
  petpick reindex --stage dev`,
	}
	onStore(cmd, func(ctx context.Context, label pet.Label, idx *index.Index) error {
		return reported(cmd, label, "read", func(report func(index.Fault), progress func(int)) error {
			return idx.Reindex(ctx, report, progress)
		})
	})
	return cmd
}

// counter shows on a terminal how far a command is; how many there are is known only at the end.
func counter(w io.Writer, what string) (add func(int), done func()) {
	if !isTerminal(w) {
		return func(int) {}, func() {}
	}
	bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("pictures"), progressbar.OptionThrottle(100*time.Millisecond))
	return func(n int) { _ = bar.Add(n) }, func() { _ = bar.Finish(); fmt.Fprintln(w) }
}
