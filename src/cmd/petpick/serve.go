package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/gofrs/flock"
	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"
	"golang.org/x/term"

	"petpick/infra"
	"petpick/src/access"
	"petpick/src/api"
	"petpick/src/blob/s3blob"
	"petpick/src/config"
	"petpick/src/edge"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/photo"
)

// serveConfig is what `petpick serve` can be told.
type serveConfig struct {
	addr, data, publicURL      string
	photosBucket, indexBucket  string
	s3Endpoint, s3Addr, region string
	logLevel                   string
	open                       bool
	stage                      string // of a deployed stack, instead of all the rest
}

func serveCommand() *cobra.Command {
	var cfg serveConfig
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the whole service on this machine",
		Long: `Runs the service on this machine: an S3 server, the functions, and the edge in front of them, as the
CloudFormation template in this program describes them. Pictures and index stay in the data folder.

On loopback the bearer token "dev" may do everything; petpick token makes others. With --open everyone may upload, without a token.`,
		Example: `  petpick serve
  petpick serve --addr 127.0.0.1:9090 --data /var/tmp/pets
  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… petpick serve --s3-endpoint http://127.0.0.1:9000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.addr, "addr", "127.0.0.1:8080", "address to listen on, on loopback")
	f.StringVar(&cfg.publicURL, "public-url", "", "base URL in absolute links (default http://ADDR)")
	f.BoolVar(&cfg.open, "open", false, "let everyone upload without a token; to curate still takes one")
	f.StringVar(&cfg.logLevel, "log-level", "info", "debug, info, warn or error")
	storeFlags(cmd, &cfg)
	return cmd
}

// storeFlags say where the buckets are.
func storeFlags(cmd *cobra.Command, cfg *serveConfig) {
	f := cmd.Flags()
	f.StringVar(&cfg.data, "data", ".petpick", "folder that keeps everything")
	f.StringVar(&cfg.s3Endpoint, "s3-endpoint", "", "use this S3-compatible server instead of the embedded one; credentials as for the aws command")
	f.StringVar(&cfg.s3Addr, "s3-addr", "127.0.0.1:0", "address of the embedded S3 server, on loopback; port 0 takes a free one")
	f.StringVar(&cfg.region, "region", "us-east-1", "region of the S3 server")
	f.StringVar(&cfg.photosBucket, "photos-bucket", "petpick-photos", "bucket of the pictures; made when missing")
	f.StringVar(&cfg.indexBucket, "index-bucket", "petpick-index", "bucket of the index; made when missing")
}

// loopback refuses an address that others can reach: everyone knows the token "dev".
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:8080: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("refusing to listen on %q: the token %q, which everyone knows, has every scope there; use 127.0.0.1, [::1] or localhost",
		addr, access.DevToken)
}

func serve(ctx context.Context, cfg serveConfig, stdout, stderr io.Writer) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// Decoding leaves much behind: collect it before it is more than a laptop can spare.
		debug.SetMemoryLimit(1 << 30)
	}
	if os.Getenv("GOGC") == "" {
		// The heap is small and a draw leaves 10 kB: the collector would run a hundred times a second. A ballast, of which nothing is ever
		// touched, makes it wait for 20 MB, and a low percentage for little more when much is in memory: while it is swept, connections wait.
		debug.SetGCPercent(50)
		ballast := make([]byte, 32<<20)
		defer runtime.KeepAlive(&ballast)
	}
	log := slog.New(tint.NewTextHandler(stderr, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !colours(stderr)}))
	if err := errors.Join(loopback(cfg.addr), loopback(cfg.s3Addr)); err != nil {
		return err
	}
	unlock, err := lockData(&cfg)
	if err != nil {
		return err
	}
	defer unlock()
	// Before anything is started: a port in use is the most usual mistake.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	if cfg.publicURL == "" {
		cfg.publicURL = "http://" + listener.Addr().String()
	}
	if cfg.publicURL, err = config.CleanURL(cfg.publicURL); err != nil {
		return fmt.Errorf("--public-url: %w", err)
	}
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.stop()) }()
	handler, forget, err := assemble(cfg, store, log)
	if err != nil {
		return err
	}
	banner(stdout, cfg, store)
	if cfg.open {
		log.Warn("uploads are open to everyone, without a token: --open says so")
	}
	upkeep, stopUpkeep := context.WithCancel(ctx)
	defer stopUpkeep()
	go tendEachMinute(upkeep, cfg, store, forget, log.With(slog.String("function", "tend")))
	return listen(ctx, listener, handler, store.done, log)
}

// lockData makes the data folder this process's own, and its path absolute: the S3 server changes the working directory.
func lockData(cfg *serveConfig) (unlock func(), err error) {
	if cfg.data, err = filepath.Abs(cfg.data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.data, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(cfg.data, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", cfg.data, err)
	}
	if !locked {
		return nil, fmt.Errorf("data folder %s: another petpick serves from it", cfg.data)
	}
	return func() { _ = lock.Unlock() }, nil
}

// forgetFunc makes the edge drop its copies of an object.
type forgetFunc func(ctx context.Context, key string) error

// assemble puts the functions behind the edge: each with stores and indexes of its own, as on Lambda.
func assemble(cfg serveConfig, store *store, log *slog.Logger) (http.Handler, forgetFunc, error) {
	var distribution *edge.Edge
	forget := func(_ context.Context, key string) error {
		distribution.Invalidate("/" + key)
		return nil
	}
	publicURL, err := environment(cfg)
	if err != nil {
		return nil, nil, err
	}
	photos, derived := s3blob.New(store.client, cfg.photosBucket), s3blob.New(store.client, cfg.indexBucket)
	common := func(function string) api.Common {
		return api.Common{
			Indexes: index.OpenAll(index.Config{
				Photos: photos, Index: derived, Forget: forget, Log: log,
			}),
			PublicURL: func(context.Context) (string, error) { return publicURL, nil },
			Trace:     gateway.TraceOf, Log: log.With(slog.String("function", function)), Served: slog.LevelInfo,
		}
	}
	distribution, err = edge.New(edge.Config{
		Template: infra.Template,
		APIs: map[string]gateway.API{"UploadFunction": gateway.ServeAPI(api.NewPets(api.Pets{
			Common: common("upload"), Photos: photo.NewInspector(), Purge: photos.Purge, OpenUploads: cfg.open,
			// Reading a folder costs nothing: no need to wait a minute for a token.
			Access:   access.NewKeyring(access.Config{Store: localTokens(cfg.data), Known: access.Dev(), Lag: time.Second, Log: log}),
			Incoming: api.Incoming{Store: derived, Presign: derived.Presign},
		}))},
		Functions: map[string]gateway.Function{"RandomFunction": gateway.ServeFunction(api.NewRandom(api.Random{
			Common: common("random"), Photos: photos,
		}))},
		Buckets: map[string]edge.Bucket{"PhotosBucket": {
			Endpoint: store.endpoint, Name: cfg.photosBucket, Region: cfg.region, Credentials: store.aws.Credentials, Client: store.http,
		}},
		Log: log,
	})
	return distribution, forget, err
}

// environment checks that every function finds in its environment what it needs, as the template sets it, and returns the public URL from the
// parameter that the environment names: what would stop a function on AWS stops this program.
func environment(cfg serveConfig) (publicURL string, err error) {
	resources, err := edge.Resources(infra.Template, nil)
	if err != nil {
		return "", err
	}
	names := map[string]string{"PhotosBucket": cfg.photosBucket, "IndexBucket": cfg.indexBucket}
	parameters := edge.ParametersOf(resources, names)
	for _, function := range []string{"UploadFunction", "RandomFunction", "TendFunction"} {
		s, err := edge.SettingsOf(resources, function, names)
		if err != nil {
			return "", err
		}
		f, err := config.Load(func(name string) string { return s.Environment[name] })
		if err != nil {
			return "", fmt.Errorf("%s: %w", function, err)
		}
		for _, name := range []string{f.PublicURLParameter, f.DistributionParameter} {
			if parameters[name] == "" {
				return "", fmt.Errorf("%s: the template has no SSM parameter %s", function, name)
			}
		}
		// No TLS here: the scheme is the local one's.
		publicURL = strings.ReplaceAll(parameters[f.PublicURLParameter], "https://${Distribution.DomainName}", cfg.publicURL)
	}
	return config.CleanURL(publicURL)
}

// tendEachMinute is the schedule of the tend function.
func tendEachMinute(ctx context.Context, cfg serveConfig, store *store, forget forgetFunc, log *slog.Logger) {
	indexes := index.OpenAll(index.Config{
		Photos: s3blob.New(store.client, cfg.photosBucket), Index: s3blob.New(store.client, cfg.indexBucket), Forget: forget, Log: log,
	})
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		for label, idx := range indexes {
			if err := idx.Tend(ctx); err != nil && ctx.Err() == nil {
				log.Error("upkeep failed: it is tried again in a minute", slog.Any("label", label), slog.Any("error", err))
			}
		}
		if err := expireIncoming(ctx, s3blob.New(store.client, cfg.indexBucket), time.Now()); err != nil && ctx.Err() == nil {
			log.Error("files in incoming were not expired", slog.Any("error", err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen serves until the context ends or the store does, and lets requests under way finish.
func listen(ctx context.Context, l net.Listener, h http.Handler, storeDone <-chan struct{}, log *slog.Logger) error {
	server := &http.Server{
		// A picture may take minutes over a slow line; what a slow sender holds here is little.
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 5 * time.Minute, WriteTimeout: 10 * time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 20 << 10, // as CloudFront
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(netutil.LimitListener(l, 1024)) }()
	select {
	case err := <-failed:
		return err
	case <-storeDone:
		return errors.New("the S3 server stopped by itself")
	case <-ctx.Done():
	}
	log.Info("stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		log.Warn("stopped with requests unfinished: none of them was acknowledged")
		return server.Close()
	}
	return nil
}

func banner(w io.Writer, cfg serveConfig, store *store) {
	warning := ""
	if cfg.open {
		warning = "OPEN:  everyone who reaches this address may upload, without a token (--open)\n"
	}
	fmt.Fprintf(w, `petpick is at %[1]s

  curl -H 'Authorization: Bearer dev' -F label=cat -F image=@cat.jpg %[1]s/upload
  curl -L -o random.jpg '%[1]s/random?label=cat'
  curl '%[1]s/random?label=cat&format=json'
  curl %[1]s/stats

%[8]sdata:  %[2]s
s3:    AWS_ACCESS_KEY_ID=%[3]s AWS_SECRET_ACCESS_KEY=%[4]s AWS_DEFAULT_REGION=%[5]s \
         aws --endpoint-url %[6]s s3 ls s3://%[7]s --recursive
stop:  Ctrl-C

`, cfg.publicURL, cfg.data, store.accessKey, store.shownSecret, cfg.region, store.endpoint, cfg.photosBucket, warning)
}

// colours are for terminals whose owner has not said no: no-color.org.
func colours(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

// isTerminal takes files of any kind: /dev/null is a device too, and nobody answers there.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// httpClient keeps enough connections for a crowd: opening one for each request would be most of its time.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
	})
}

// makeBucket is content with a bucket that is there.
func makeBucket(ctx context.Context, client *s3.Client, name string) error {
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(name)})
	var owned *types.BucketAlreadyOwnedByYou
	var exists *types.BucketAlreadyExists
	if err == nil || errors.As(err, &owned) {
		return nil
	}
	if errors.As(err, &exists) {
		if _, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(name)}); err == nil {
			return nil
		}
	}
	return fmt.Errorf("bucket %s: %w", name, err)
}
