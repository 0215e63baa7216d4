// Command petpick runs the whole service on one machine, and is the operator's tool.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// commands is the program with all its verbs.
func commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "petpick",
		Short: "A random picture of a cat or a dog, drawn by weight",
		// Errors are printed here, once; usage helps with a wrong flag, not with a port in use.
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(serveCommand(), tokenCommand(), tendCommand(), fsckCommand(), reindexCommand(), versionCommand())
	root.AddCommand(uploadCommand(), randomCommand(), lsCommand(), showCommand(), weightCommand(), rmCommand(), statsCommand())
	return root
}

// run is the program: the exit status is 0, 1 for an error, which is printed, and as they say for fsck and upload.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := commands()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "petpick:", err)
	if e := (exit{}); errors.As(err, &e) {
		return e.status
	}
	if cmd.Name() == "upload" || cmd.Name() == "fsck" && !onlyFaults(err) {
		return 2
	}
	return 1
}

// onlyFaults: every label was checked. Where one could not be, faults of the other do not hide it.
func onlyFaults(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !onlyFaults(e) })
	}
	return errors.Is(err, errFaults)
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" && (version == "" || version == "(devel)") {
						version = s.Value
					}
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "petpick", version)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"version":…}`)
	return cmd
}
