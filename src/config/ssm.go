package config

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// getParameter is SSM's GetParameter, without the SDK's package for SSM: to begin with, that one builds the shapes of all of SSM's operations,
// which is a quarter of what the random function's start takes (`make e2e` measures it). A failure that may pass is tried again, twice.
func getParameter(ctx context.Context, cfg aws.Config, name string) (value string, err error) {
	pause := 100 * time.Millisecond
	for try := 1; ; try++ {
		var passing bool
		value, passing, err = askParameter(ctx, cfg, name)
		if err == nil || !passing || try == 3 {
			return value, err
		}
		select {
		case <-time.After(pause << try):
		case <-ctx.Done():
			return "", err
		}
	}
}

// askParameter asks once; passing says that asking again may help.
func askParameter(ctx context.Context, cfg aws.Config, name string) (value string, passing bool, err error) {
	body, err := json.Marshal(map[string]string{"Name": name})
	if err != nil {
		return "", false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ssmEndpoint(cfg), bytes.NewReader(body))
	if err != nil {
		return "", false, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonSSM.GetParameter")
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", true, err
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(hash[:]), "ssm", cfg.Region, time.Now()); err != nil {
		return "", false, err
	}
	var client aws.HTTPClient = http.DefaultClient
	if cfg.HTTPClient != nil {
		client = cfg.HTTPClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", true, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a value has at most 8 KB
	if err != nil {
		return "", true, err
	}
	var out struct {
		Type      string `json:"__type"`
		Parameter struct{ Value string }
	}
	err = json.Unmarshal(body, &out)
	if resp.StatusCode != http.StatusOK {
		passing = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || strings.Contains(out.Type, "Throttling")
		return "", passing, fmt.Errorf("status %d %s", resp.StatusCode, out.Type)
	}
	return out.Parameter.Value, false, err
}

// ssmEndpoint heeds the variables that the SDK would.
func ssmEndpoint(cfg aws.Config) string {
	domain := "amazonaws.com"
	if strings.HasPrefix(cfg.Region, "cn-") {
		domain += ".cn"
	}
	return cmp.Or(os.Getenv("AWS_ENDPOINT_URL_SSM"), aws.ToString(cfg.BaseEndpoint), "https://ssm."+cfg.Region+"."+domain)
}
