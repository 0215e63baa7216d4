package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// tool calls the aws command for one stage of one account and region.
type tool struct {
	in       io.Reader
	out, err io.Writer
	petpick  string // the operator's command

	stage, region, account string
}

func (t *tool) stack() string { return "petpick-" + t.stage }

func (t *tool) say(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

// login finds out where it would work, and says what to do when it cannot.
func (t *tool) login(ctx context.Context, o options) error {
	if !stagePattern.MatchString(o.stage) {
		return fmt.Errorf("STAGE %q: it must be lower-case letters, digits and hyphens, at most 16, such as dev", o.stage)
	}
	t.stage = o.stage
	if _, err := exec.LookPath("aws"); err != nil {
		return errors.New("the aws command is not installed: see https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html")
	}
	t.region = firstOf(o.region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	if t.region == "" {
		configured, _ := t.aws(ctx, "configure", "get", "region") // fails when nothing is set
		t.region = strings.TrimSpace(configured)
	}
	if t.region == "" {
		return errors.New("no region: say REGION=us-east-1 (where CloudFront's alarm and log are to be had), or another")
	}
	account, err := t.aws(ctx, "sts", "get-caller-identity", "--query", "Account", "--output", "text")
	if err != nil {
		return fmt.Errorf("no credentials that AWS takes: `aws configure`, `aws sso login`, or set AWS_PROFILE\n%w", err)
	}
	t.account = strings.TrimSpace(account)
	if o.account != "" && o.account != t.account {
		return fmt.Errorf("these credentials are of account %s, not of %s: set AWS_PROFILE to the right one", t.account, o.account)
	}
	t.say("account %s, region %s, stack %s", t.account, t.region, t.stack())
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// aws runs the command and returns what it printed.
func (t *tool) aws(ctx context.Context, args ...string) (string, error) {
	return t.command(ctx, "aws", args...)
}

func (t *tool) command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "AWS_PAGER=", "AWS_REGION="+t.region, "AWS_DEFAULT_REGION="+t.region)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args[:min(2, len(args))], " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// do runs a step that is worth showing.
func (t *tool) do(ctx context.Context, args ...string) error {
	t.say("  aws %s", strings.Join(args[:min(3, len(args))], " "))
	_, err := t.aws(ctx, args...)
	return err
}

// status of the stack, "" when there is none.
func (t *tool) status(ctx context.Context) (string, error) {
	out, err := t.aws(ctx, "cloudformation", "describe-stacks", "--stack-name", t.stack(), "--query", "Stacks[0].StackStatus", "--output", "text")
	if err != nil && strings.Contains(err.Error(), "does not exist") {
		return "", nil
	}
	return strings.TrimSpace(out), err
}

// outputs of the stack.
func (t *tool) outputs(ctx context.Context) (map[string]string, error) {
	out, err := t.aws(ctx, "cloudformation", "describe-stacks", "--stack-name", t.stack(), "--query", "Stacks[0].Outputs", "--output", "json")
	if err != nil {
		return nil, err
	}
	var list []struct{ OutputKey, OutputValue string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("outputs of %s: %w", t.stack(), err)
	}
	values := map[string]string{}
	for _, o := range list {
		values[o.OutputKey] = o.OutputValue
	}
	return values, nil
}

// resource is a resource's name on AWS, "" when the stack has none of it.
func (t *tool) resource(ctx context.Context, id string) (string, error) {
	out, err := t.aws(ctx, "cloudformation", "describe-stack-resources", "--stack-name", t.stack(),
		"--query", "StackResources[?LogicalResourceId=='"+id+"' && ResourceStatus!='DELETE_COMPLETE'].PhysicalResourceId", "--output", "text")
	return strings.TrimSpace(out), err
}
