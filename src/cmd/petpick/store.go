package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"petpick/src/blob/s3blob"
	"petpick/src/blob/s3server"
	"petpick/src/cdn"
)

// store is the S3 server that everything is kept in: the embedded one, or another.
type store struct {
	aws                    aws.Config
	client                 *s3.Client
	http                   *http.Client
	endpoint               string
	accessKey, shownSecret string
	stop                   func() error
	done                   <-chan struct{} // closed when the embedded server ends; nil for another
	forget                 forgetFunc      // of a deployed stack's distribution; nil for others
}

func openStore(ctx context.Context, cfg serveConfig) (*store, error) {
	st := &store{http: &http.Client{Transport: httpClient().GetTransport()}, stop: func() error { return nil }}
	var err error
	if cfg.s3Endpoint != "" {
		err = st.connect(ctx, cfg)
	} else {
		err = st.embed(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	st.client = s3blob.Client(st.aws, st.endpoint)
	for _, bucket := range []string{cfg.photosBucket, cfg.indexBucket} {
		if err := makeBucket(ctx, st.client, bucket); err != nil {
			return nil, errors.Join(err, st.stop())
		}
	}
	return st, nil
}

// openStack opens the buckets of a deployed stack, names them in cfg, and makes none.
func openStack(ctx context.Context, cfg *serveConfig) (*store, error) {
	aws, found, err := findStage(ctx, cfg.stage)
	if err != nil {
		return nil, err
	}
	cfg.photosBucket, cfg.indexBucket = found.PhotosBucket, found.IndexBucket
	distribution := cdn.New(aws, "", func(context.Context) (string, error) { return found.Distribution, nil })
	return &store{aws: aws, client: s3blob.Client(aws, ""), forget: distribution.Forget, stop: func() error { return nil }}, nil
}

// connect uses another server, with the credentials that the aws command would use.
func (st *store) connect(ctx context.Context, cfg serveConfig) error {
	var err error
	st.aws, err = awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(cfg.region), awsconfig.WithHTTPClient(httpClient()))
	if err != nil {
		return err
	}
	creds, err := st.aws.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("--s3-endpoint needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile: %w", err)
	}
	st.endpoint, st.accessKey, st.shownSecret = strings.TrimRight(cfg.s3Endpoint, "/"), creds.AccessKeyID, "…" // theirs: not ours to print
	return nil
}

// embed starts a server in this process, over the data folder.
func (st *store) embed(ctx context.Context, cfg serveConfig) error {
	secret, err := localSecret(filepath.Join(cfg.data, "s3-secret"))
	if err != nil {
		return err
	}
	st.accessKey, st.shownSecret = "petpick", secret
	server, err := s3server.Start(ctx, s3server.Config{
		Dir: filepath.Join(cfg.data, "s3"), Addr: cfg.s3Addr, AccessKey: st.accessKey, SecretKey: secret,
	})
	if err != nil {
		return err
	}
	st.endpoint, st.stop, st.done = server.Endpoint, server.Stop, server.Done()
	st.aws = aws.Config{
		Region: cfg.region, HTTPClient: httpClient(), Credentials: credentials.NewStaticCredentialsProvider(st.accessKey, secret, ""),
	}
	return nil
}

// localSecret is made once for a data folder, readable by its owner only.
func localSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := rand.Text()
	// To a name of its own first: a crash must not leave half a secret.
	if err := os.WriteFile(path+".new", []byte(secret), 0o600); err != nil {
		return "", err
	}
	return secret, os.Rename(path+".new", path)
}
