package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// logs prints what a function wrote lately. `aws logs tail` would be nicer, and is not in version 1.
func (t *tool) logs(ctx context.Context, o options) error {
	group := "/petpick/" + t.stage + "/" + o.function
	switch o.function {
	case "upload", "random", "tend":
	case "api":
		group = "/aws/vendedlogs" + group
	default:
		return fmt.Errorf("FUNCTION=%s: want upload, random, tend or api", o.function)
	}
	out, err := t.aws(ctx, "logs", "filter-log-events", "--log-group-name", group, "--start-time", strconv.FormatInt(time.Now().Add(-o.since).UnixMilli(), 10),
		"--query", "events[].message", "--output", "json")
	if err != nil {
		return fmt.Errorf("no log %s: is STAGE=%s deployed in %s?\n%w", group, t.stage, t.region, err)
	}
	var lines []string
	if err := json.Unmarshal([]byte(out), &lines); err != nil {
		return err
	}
	for _, line := range lines {
		t.say("%s", strings.TrimRight(line, "\n"))
	}
	if len(lines) == 0 {
		t.say("%s: nothing in the last %s", group, o.since)
	}
	return nil
}

// destroy deletes the stack. CloudFormation deletes no bucket that has something in it: what is derived is emptied first, and once more when a
// function was still writing.
func (t *tool) destroy(ctx context.Context, o options) error {
	status, err := t.status(ctx)
	if err != nil {
		return err
	}
	if status == "" {
		return fmt.Errorf("there is no stack %s in %s of account %s: REGION or AWS_PROFILE is another?", t.stack(), t.region, t.account)
	}
	photos, err := t.resource(ctx, "PhotosBucket")
	if err != nil {
		return err
	}
	if err := t.confirm(o, photos); err != nil {
		return err
	}
	// Before the stack, whose deletion takes minutes in which much can happen: the next run finds no stack, and does not get here.
	if err := t.forgetTokens(ctx); err != nil {
		return err
	}
	t.say("the photos are in the bucket %s", firstOf(photos, "(none)"))
	for attempt := 1; ; attempt++ {
		if err := t.emptyDerived(ctx); err != nil {
			return err
		}
		if err := t.do(ctx, "cloudformation", "delete-stack", "--stack-name", t.stack()); err != nil {
			return err
		}
		err := t.do(ctx, "cloudformation", "wait", "stack-delete-complete", "--stack-name", t.stack())
		if err == nil {
			break
		}
		if attempt == 2 {
			return errors.Join(err, errors.New(t.reasons(ctx)))
		}
	}
	if photos == "" {
		return nil
	}
	if !o.photos {
		t.say("the photos are kept, in the bucket %s; a new stack takes them over as OPERATIONS.md says (Restore)", photos)
		return nil
	}
	return t.deletePhotos(ctx, photos)
}

func (t *tool) confirm(o options, photos string) error {
	if o.yes {
		return nil
	}
	question := fmt.Sprintf("This deletes the stack %s in %s of account %s. The photos (%s) are kept.\nType %s to go on: ", t.stack(), t.region, t.account, photos, t.stage)
	answer := t.stage
	if o.photos {
		answer = t.stage + " photos"
		question = fmt.Sprintf("This deletes the stack %s in %s of account %s, AND ALL PHOTOS in %s, for good.\nType %q to go on: ", t.stack(), t.region, t.account, photos, answer)
	}
	fmt.Fprint(t.out, question)
	line, _ := bufio.NewReader(t.in).ReadString('\n') // at its end it is empty, which is no
	if strings.TrimSpace(line) != answer {
		return errors.New("nothing was deleted")
	}
	return nil
}

func (t *tool) emptyDerived(ctx context.Context) error {
	for _, id := range []string{"IndexBucket", "EdgeLogBucket"} {
		bucket, err := t.resource(ctx, id)
		if err != nil {
			return err
		}
		if bucket == "" {
			continue
		}
		if err := t.do(ctx, "s3", "rm", "s3://"+bucket, "--recursive", "--only-show-errors"); err != nil {
			return err
		}
	}
	return nil
}

// forgetTokens: they are no part of the stack, and would open the next one of this name.
func (t *tool) forgetTokens(ctx context.Context) error {
	out, err := t.aws(ctx, "ssm", "get-parameters-by-path", "--path", "/petpick/"+t.stage+"/tokens", "--query", "Parameters[].Name", "--output", "json")
	if err != nil {
		return err
	}
	var names []string
	if err := json.Unmarshal([]byte(out), &names); err != nil {
		return err
	}
	for some := range slices.Chunk(names, 10) { // what a call takes
		if err := t.do(ctx, append([]string{"ssm", "delete-parameters", "--names"}, some...)...); err != nil {
			return err
		}
	}
	return nil
}

// deletePhotos deletes every version, and then the bucket.
func (t *tool) deletePhotos(ctx context.Context, bucket string) error {
	dir, err := os.MkdirTemp("", "petpick-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "delete.json")
	for {
		out, err := t.aws(ctx, "s3api", "list-object-versions", "--bucket", bucket, "--max-items", "1000", "--output", "json")
		if err != nil {
			return err
		}
		type version struct{ Key, VersionId string }
		var page struct{ Versions, DeleteMarkers []version }
		if err := json.Unmarshal([]byte(firstOf(strings.TrimSpace(out), "{}")), &page); err != nil {
			return err
		}
		all := append(page.Versions, page.DeleteMarkers...)
		if len(all) == 0 {
			return t.do(ctx, "s3api", "delete-bucket", "--bucket", bucket)
		}
		b, err := json.Marshal(map[string]any{"Objects": all[:min(1000, len(all))], "Quiet": true})
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return err
		}
		out, err = t.aws(ctx, "s3api", "delete-objects", "--bucket", bucket, "--delete", "file://"+file, "--output", "json")
		if err == nil && strings.Contains(out, `"Errors"`) {
			err = fmt.Errorf("some photos were not deleted: %s", out)
		}
		if err != nil {
			return err
		}
	}
}
