// Package config reads what a deployment sets: environment variables, and one SSM parameter that cannot be one of them.
package config

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config is a function's environment.
type Config struct {
	// Stage names the deployment. PETPICK_STAGE, required.
	Stage string
	// PhotosBucket holds the pictures. PETPICK_PHOTOS_BUCKET, required.
	PhotosBucket string
	// IndexBucket holds what is derived from them. PETPICK_INDEX_BUCKET, required.
	IndexBucket string
	// PublicURLParameter is the SSM parameter with the base URL that users see, such as https://d111.cloudfront.net. The
	// distribution names the functions, so their environment cannot name the distribution: CloudFormation would refuse the
	// circle. PETPICK_PUBLIC_URL_PARAMETER, required.
	PublicURLParameter string
	// DistributionParameter is the SSM parameter with the distribution's id, for invalidations; a parameter for the same reason.
	// PETPICK_DISTRIBUTION_PARAMETER, required.
	DistributionParameter string
}

// Upload is the environment of the upload function.
type Upload struct {
	Config
	// TokensPath is the SSM path below which the tokens are. PETPICK_TOKENS_PATH, required.
	TokensPath string
	// OpenUploads lets everyone upload without a token. PETPICK_OPEN_UPLOADS, true or false, false when not set.
	OpenUploads bool
}

// LoadUpload is Load for the upload function.
func LoadUpload(getenv func(string) string) (Upload, error) {
	cfg, faults := Load(getenv)
	up := Upload{Config: cfg, TokensPath: getenv("PETPICK_TOKENS_PATH")}
	if !strings.HasPrefix(up.TokensPath, "/") {
		faults = errors.Join(faults, fmt.Errorf("PETPICK_TOKENS_PATH is %q: not a path such as /petpick/dev/tokens", up.TokensPath))
	}
	switch open := getenv("PETPICK_OPEN_UPLOADS"); open {
	case "true":
		up.OpenUploads = true
	case "false", "":
	default: // a slip of the pen must not open anything, nor pass unseen
		faults = errors.Join(faults, fmt.Errorf("PETPICK_OPEN_UPLOADS is %q: neither true nor false", open))
	}
	return up, faults
}

// Load reads the environment by getenv and reports every fault at once.
func Load(getenv func(string) string) (Config, error) {
	var faults []error
	required := func(name string) string {
		v := getenv(name)
		if v == "" {
			faults = append(faults, fmt.Errorf("%s is not set", name))
		}
		return v
	}
	cfg := Config{
		Stage:                 required("PETPICK_STAGE"),
		PhotosBucket:          required("PETPICK_PHOTOS_BUCKET"),
		IndexBucket:           required("PETPICK_INDEX_BUCKET"),
		PublicURLParameter:    required("PETPICK_PUBLIC_URL_PARAMETER"),
		DistributionParameter: required("PETPICK_DISTRIBUTION_PARAMETER"),
	}
	if cfg.PhotosBucket != "" && cfg.PhotosBucket == cfg.IndexBucket {
		faults = append(faults, errors.New("PETPICK_PHOTOS_BUCKET and PETPICK_INDEX_BUCKET are the same bucket: the index's bucket may be emptied, the photos' never"))
	}
	return cfg, errors.Join(faults...)
}

// PublicURL is a Parameter with a base URL: a redirect, which is relative, never pays for the call.
func PublicURL(cfg aws.Config, parameter string) func(context.Context) (string, error) {
	return read(cfg, parameter, CleanURL)
}

// Parameter reads an SSM parameter on the first call that succeeds, and keeps it.
func Parameter(cfg aws.Config, parameter string) func(context.Context) (string, error) {
	return read(cfg, parameter, func(s string) (string, error) { return s, nil })
}

func read(cfg aws.Config, parameter string, parse func(string) (string, error)) func(context.Context) (string, error) {
	var mu sync.Mutex
	var known string
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if known != "" {
			return known, nil
		}
		value, err := getParameter(ctx, cfg, parameter)
		if err != nil {
			return "", fmt.Errorf("SSM parameter %s: %w", parameter, err)
		}
		value, err = parse(value)
		if err != nil {
			return "", fmt.Errorf("SSM parameter %s: %w", parameter, err)
		}
		known = value
		return known, nil
	}
}

// CleanURL returns a base URL without trailing slash.
func CleanURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not a base URL such as https://example.com", s)
	}
	return strings.TrimRight(s, "/"), nil
}
