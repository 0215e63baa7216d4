package stack_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"petpick/infra"
	"petpick/src/access/ssmtest"
	"petpick/src/stack"
)

// What the template writes is what Find reads, and the tokens are where the upload function looks for them, and may.
func TestFindReadsWhatTheTemplateWrites(t *testing.T) {
	value := regexp.MustCompile(`\{"stage":.*\}`).FindString(string(infra.Template))
	for from, to := range map[string]string{
		"${Stage}": "test", "${AWS::Region}": "eu-central-1", "${AWS::URLSuffix}": "amazonaws.com", "${Url}": "https://d1.cloudfront.net", "${Distribution}": "E1", "${Api}": "abc",
		"${PhotosBucket}": "photos", "${IndexBucket}": "index",
	} {
		value = strings.ReplaceAll(value, from, to)
	}
	ssm := ssmtest.Start(t)
	ssm.Set("/petpick/test/stack", value)
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(ssm.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	got, err := stack.Find(t.Context(), cfg, "test")
	want := stack.Stack{
		Stage: "test", Region: "eu-central-1", URL: "https://d1.cloudfront.net", APIURL: "https://abc.execute-api.eu-central-1.amazonaws.com", PhotosBucket: "photos", IndexBucket: "index",
		Distribution: "E1", TokensPath: "/petpick/test/tokens",
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, line := range []string{
		`Name: !Sub "/petpick/${Stage}/stack"`, `PETPICK_TOKENS_PATH: !Sub "/petpick/${Stage}/tokens"`,
		`Resource: !Sub "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/petpick/${Stage}/tokens"`, `PETPICK_OPEN_UPLOADS: !Ref OpenUploads`,
	} {
		if strings.Count(string(infra.Template), line) != 1 {
			t.Errorf("the template does not have once: %s", line)
		}
	}
	// One function asks for them, and none may write them.
	for action, n := range map[string]int{"ssm:GetParametersByPath": 1, "ssm:PutParameter": 0, "ssm:DeleteParameter": 0, "ssm:*": 0} {
		if got := strings.Count(string(infra.Template), action); got != n {
			t.Errorf("%s: %d times in the template, want %d", action, got, n)
		}
	}
	if !regexp.MustCompile(`(?s)\n  OpenUploads:\n    Type: String\n    Default: "false"\n`).Match(infra.Template) {
		t.Error("OpenUploads is not false by default")
	}
}

func TestFindRefuses(t *testing.T) {
	ssm := ssmtest.Start(t)
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(ssm.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	if _, err := stack.Find(t.Context(), cfg, "test"); !errors.Is(err, stack.ErrNotFound) || !strings.Contains(err.Error(), "us-east-1") {
		t.Errorf("nothing there: %v", err)
	}
	for _, stage := range []string{"", "../x", "Test", "a/b", strings.Repeat("a", 17)} {
		if _, err := stack.Find(t.Context(), cfg, stage); err == nil || errors.Is(err, stack.ErrNotFound) {
			t.Errorf("%q: %v", stage, err)
		}
	}
	for _, value := range []string{"", "{}", "not JSON", `{"stage":"test","region":"r","url":"u","api_url":"a","photos_bucket":"p","index_bucket":"i","distribution":"d"}`} {
		ssm.Set("/petpick/test/stack", value)
		if got, err := stack.Find(t.Context(), cfg, "test"); err == nil {
			t.Errorf("%q: %+v", value, got)
		}
	}
}
