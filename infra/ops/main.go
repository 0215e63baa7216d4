// Command ops deploys petpick to AWS, tries it there, shows its logs and takes it away again. It calls the aws command, of version 1 or 2, so
// that credentials are found as everywhere, and so that each step can be done by hand; it prints what it calls.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "ops:", err)
		os.Exit(1)
	}
}

const usage = `usage: ops build                                    the functions' zips, in build/
       ops deploy  --stage dev [--region R] [--account A]  make or update the stack
       ops smoke   --url URL [--token T]             try every route; PETPICK_TOKEN is a token as well
       ops logs    --stage dev [--function upload] [--since 15m]
       ops destroy --stage dev [--photos] [--yes]    delete the stack; the photos are kept without --photos`

// options are the flags of all verbs.
type options struct {
	stage, region, account string
	url, token             string
	function               string
	since                  time.Duration
	photos, yes            bool
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	o := options{token: os.Getenv("PETPICK_TOKEN")} // not as a flag's default, which the help would print
	f := flag.NewFlagSet("ops "+args[0], flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.stage, "stage", "", "name of the deployment")
	f.StringVar(&o.region, "region", "", "AWS region; else as for the aws command")
	f.StringVar(&o.account, "account", "", "refuse any other AWS account")
	f.StringVar(&o.url, "url", "", "base URL of a deployment")
	f.Func("token", "token with the scope upload, or upload and curate; else PETPICK_TOKEN", func(s string) error { o.token = s; return nil })
	f.StringVar(&o.function, "function", "upload", "upload, random, tend or api")
	f.DurationVar(&o.since, "since", 15*time.Minute, "how far back")
	f.BoolVar(&o.photos, "photos", false, "delete the photos as well, for good")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q: what is it?\n%s", f.Arg(0), usage)
	}
	t := &tool{out: stdout, err: stderr, in: stdin, petpick: "build/petpick"}
	switch args[0] {
	case "build":
		return build(ctx, ".", stdout)
	case "smoke":
		return trySmoke(ctx, o, stdout)
	case "deploy", "logs", "destroy":
	default:
		return errors.New(usage)
	}
	if err := t.login(ctx, o); err != nil {
		return err
	}
	switch args[0] {
	case "deploy":
		return t.deploy(ctx, o)
	case "logs":
		return t.logs(ctx, o)
	}
	return t.destroy(ctx, o)
}

func trySmoke(ctx context.Context, o options, stdout io.Writer) error {
	if o.url == "" {
		return errors.New("smoke needs --url, such as http://127.0.0.1:8080 of `make run`, whose token is dev")
	}
	return smoke(ctx, &http.Client{Timeout: 40 * time.Second}, o.url, o.token, stdout)
}

var stagePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)
