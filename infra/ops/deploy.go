package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"petpick/infra"
)

func (t *tool) deploy(ctx context.Context, o options) error {
	parameters, err := readParameters("infra/params", t.stage)
	if err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return err
	}
	if err := build(ctx, ".", t.out); err != nil {
		return err
	}
	bucket, err := t.artifacts(ctx)
	if err != nil {
		return err
	}
	outputs, err := t.release(ctx, bucket, parameters)
	if err != nil {
		return err
	}
	token, err := t.firstToken(ctx, o.token)
	if err != nil {
		return err
	}
	// By CloudFront's name, which works before the DNS record of a domain does.
	if err := smoke(ctx, &http.Client{Timeout: 40 * time.Second}, outputs["EdgeUrl"], token, t.out); err != nil {
		return fmt.Errorf("the stack is there, but does not do what it should: `make logs STAGE=%s REGION=%s`\n%w", t.stage, t.region, err)
	}
	t.say("")
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		t.say("%-18s %s", name, outputs[name])
	}
	return nil
}

// release makes or updates the stack by the zips in build, and returns its outputs.
func (t *tool) release(ctx context.Context, bucket string, parameters []string) (map[string]string, error) {
	if err := t.do(ctx, "cloudformation", "package", "--template-file", "infra/template.yaml", "--s3-bucket", bucket, "--s3-prefix", t.stack(),
		"--output-template-file", "build/packaged.yaml"); err != nil {
		return nil, err
	}
	// Values as arguments: both versions of the command read those alike, and files differently. The bucket is for a template of over 51,200 bytes.
	t.say("the first deployment takes minutes, most of them CloudFront's")
	args := []string{"cloudformation", "deploy", "--template-file", "build/packaged.yaml", "--stack-name", t.stack(), "--s3-bucket", bucket, "--s3-prefix", t.stack(),
		"--capabilities", "CAPABILITY_IAM", "--no-fail-on-empty-changeset", "--tags", "project=petpick", "stage=" + t.stage, "--parameter-overrides"}
	if err := t.do(ctx, append(args, parameters...)...); err != nil {
		return nil, errors.Join(err, errors.New(t.reasons(ctx)))
	}
	return t.outputs(ctx)
}

// readParameters are all of the template's, by the stage's file or by their default: the deploy command would keep the last value of what it is
// not told, and what was taken out of the file would live on.
func readParameters(dir, stage string) ([]string, error) {
	path := filepath.Join(dir, stage+".json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: copy %s, and change what should differ", path, filepath.Join(dir, "dev.json"))
	}
	if err != nil {
		return nil, err
	}
	var set []string
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf(`%s: %w: it is a list such as ["LogDays=7"]`, path, err)
	}
	known, err := templateParameters(infra.Template)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for name, p := range known {
		values[name] = fmt.Sprint(p.Default)
	}
	var faults []error
	for _, pair := range append(set, "Stage="+stage) {
		name, value, ok := strings.Cut(pair, "=")
		p, is := known[name]
		switch {
		case !ok || !is:
			faults = append(faults, fmt.Errorf("%s: %q sets no parameter of the template", path, pair))
		case !p.takes(value):
			faults = append(faults, fmt.Errorf("%s: %s cannot be %q: %s", path, name, value, p.Description))
		}
		values[name] = value
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, name+"="+values[name])
	}
	return all, errors.Join(faults...)
}

type parameter struct {
	Description    string   `yaml:"Description"`
	Default        any      `yaml:"Default"`
	AllowedPattern string   `yaml:"AllowedPattern"`
	AllowedValues  []any    `yaml:"AllowedValues"`
	Type           string   `yaml:"Type"`
	MinValue       *float64 `yaml:"MinValue"`
	MaxValue       *float64 `yaml:"MaxValue"`
}

func (p parameter) takes(value string) bool {
	if p.AllowedPattern != "" && !regexp.MustCompile(p.AllowedPattern).MatchString(value) {
		return false
	}
	if n, err := strconv.ParseFloat(value, 64); p.Type == "Number" && (err != nil || p.MinValue != nil && n < *p.MinValue || p.MaxValue != nil && n > *p.MaxValue) {
		return false
	}
	return len(p.AllowedValues) == 0 || slices.ContainsFunc(p.AllowedValues, func(v any) bool { return fmt.Sprint(v) == value })
}

func templateParameters(template []byte) (map[string]parameter, error) {
	var top struct {
		Parameters map[string]parameter `yaml:"Parameters"`
	}
	err := yaml.Unmarshal(template, &top)
	return top.Parameters, err
}

// ready says whether the stack can be made or updated now, and if not, what to do.
func (t *tool) ready(ctx context.Context) error {
	status, err := t.status(ctx)
	switch {
	case err != nil:
		return err
	case status == "ROLLBACK_COMPLETE" || status == "ROLLBACK_FAILED" || status == "CREATE_FAILED":
		return fmt.Errorf("%s: its first deployment failed (%s), and such a stack can only be deleted: `make destroy STAGE=%s REGION=%s`, then deploy again\n%s",
			t.stack(), status, t.stage, t.region, t.reasons(ctx))
	case status == "DELETE_FAILED":
		return fmt.Errorf("%s: it was not deleted to the end: `make destroy STAGE=%s REGION=%s` again, then deploy", t.stack(), t.stage, t.region)
	case status == "UPDATE_ROLLBACK_FAILED":
		return fmt.Errorf("%s: an update failed, and so did its undoing: `aws cloudformation continue-update-rollback --stack-name %s --region %s`, then deploy again\n%s",
			t.stack(), t.stack(), t.region, t.reasons(ctx))
	case strings.HasSuffix(status, "_IN_PROGRESS") && status != "REVIEW_IN_PROGRESS":
		return fmt.Errorf("%s: another deployment is under way (%s): wait for its end", t.stack(), status)
	}
	return nil
}

// reasons are the last failures that CloudFormation noted.
func (t *tool) reasons(ctx context.Context) string {
	out, err := t.aws(ctx, "cloudformation", "describe-stack-events", "--stack-name", t.stack(), "--max-items", "100",
		"--query", "StackEvents[?contains(ResourceStatus,'FAILED')].[LogicalResourceId,ResourceStatusReason]", "--output", "text")
	if err != nil {
		return "why: " + err.Error()
	}
	return "what failed, the last first (`Resource creation cancelled` is what followed from another):\n" + strings.TrimSpace(out)
}

// artifacts makes the bucket for zips and templates, or makes sure of it: private, by TLS only, versioned, without the rest of broken uploads.
func (t *tool) artifacts(ctx context.Context) (string, error) {
	bucket := fmt.Sprintf("petpick-artifacts-%s-%s", t.account, t.region)
	if _, err := t.aws(ctx, "s3api", "head-bucket", "--bucket", bucket, "--expected-bucket-owner", t.account); err != nil {
		if !strings.Contains(err.Error(), "404") {
			return "", fmt.Errorf("bucket %s: it is another account's, or may not be used: %w", bucket, err)
		}
		create := []string{"s3api", "create-bucket", "--bucket", bucket}
		if t.region != "us-east-1" { // which is no LocationConstraint
			create = append(create, "--create-bucket-configuration", "LocationConstraint="+t.region)
		}
		if err := t.do(ctx, create...); err != nil {
			return "", err
		}
	}
	arn := "arn:" + partition(t.region) + ":s3:::" + bucket
	for _, step := range [][]string{
		{"put-public-access-block", "--public-access-block-configuration", "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"},
		{"put-bucket-versioning", "--versioning-configuration", "Status=Enabled"},
		{"put-bucket-tagging", "--tagging", "TagSet=[{Key=project,Value=petpick}]"},
		// Zips that are in use stay, whatever their age: a stack that is rolled back asks for them.
		{"put-bucket-lifecycle-configuration", "--lifecycle-configuration",
			`{"Rules":[{"ID":"old","Status":"Enabled","Filter":{"Prefix":""},"NoncurrentVersionExpiration":{"NoncurrentDays":30},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":1}}]}`},
		{"put-bucket-policy", "--policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["` + arn + `","` + arn + `/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`},
	} {
		if err := t.do(ctx, append([]string{"s3api", step[0], "--bucket", bucket}, step[1:]...)...); err != nil {
			return "", err
		}
	}
	return bucket, nil
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// firstToken makes a token where nobody has one. Otherwise it returns the one that was given, which may be none.
func (t *tool) firstToken(ctx context.Context, given string) (string, error) {
	out, err := t.command(ctx, t.petpick, "token", "list", "--stage", t.stage, "--json")
	if err != nil {
		return "", err
	}
	var tokens []struct{ Expired bool }
	if err := json.Unmarshal([]byte(out), &tokens); err != nil {
		return "", fmt.Errorf("petpick token list: %w", err)
	}
	for _, tok := range tokens {
		if !tok.Expired {
			return given, nil
		}
	}
	if out, err = t.command(ctx, t.petpick, "token", "create", "--stage", t.stage, "--name", "first", "--scope", "upload,curate"); err != nil {
		return "", err
	}
	token := strings.TrimSpace(out)
	t.say("the first token, for uploads and curation; it is not shown again:\n\n  %s\n", token)
	return token, nil
}
