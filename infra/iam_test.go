package infra_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"petpick/infra"
	"petpick/src/edge"
)

// What each function may do, and nothing else: a line is an action and what it may be done on.
var mayDo = map[string]string{
	"UploadFunction": `
		cloudfront:CreateInvalidation distribution
		logs:CreateLogStream          /petpick/dev/upload
		logs:PutLogEvents             /petpick/dev/upload
		s3:DeleteObject               photos/cat/* photos/dog/* index/journal/* index/removals/* index/incoming/*
		s3:DeleteObjectVersion        photos/cat/* photos/dog/*
		s3:GetObject                  photos/cat/* photos/dog/* photos/verdicts/* index/index/* index/journal/* index/incoming/*
		s3:ListBucket                 photos index
		s3:ListBucketVersions         photos
		s3:PutObject                  photos/cat/* photos/dog/* photos/verdicts/* index/index/* index/journal/* index/removals/* index/incoming/*
		ssm:GetParameter              public-url distribution-id
		ssm:GetParametersByPath       tokens`,
	"RandomFunction": `
		logs:CreateLogStream /petpick/dev/random
		logs:PutLogEvents    /petpick/dev/random
		s3:GetObject         photos/cat/* photos/dog/* photos/verdicts/* index/index/*
		s3:ListBucket        photos index
		ssm:GetParameter     public-url`,
	"TendFunction": `
		cloudfront:CreateInvalidation distribution
		logs:CreateLogStream          /petpick/dev/tend
		logs:PutLogEvents             /petpick/dev/tend
		s3:DeleteObject               photos/cat/* photos/dog/* index/journal/* index/removals/* index/index/*/segments/*
		s3:GetObject                  photos/cat/* photos/dog/* photos/verdicts/* index/index/* index/journal/*
		s3:ListBucket                 photos index
		s3:PutObject                  photos/verdicts/* index/index/* index/journal/*
		ssm:GetParameter              distribution-id`,
}

// called names things as a deployment would.
var called = map[string]string{
	"PhotosBucket.Arn": "photos", "IndexBucket.Arn": "index", "Distribution": "D",
	"UploadLogs.Arn": "/petpick/dev/upload", "RandomLogs.Arn": "/petpick/dev/random", "TendLogs.Arn": "/petpick/dev/tend",
}

var shortened = strings.NewReplacer("arn:aws:ssm:us-east-1:000000000000:parameter/petpick/dev/distribution", "distribution-id",
	"arn:aws:ssm:us-east-1:000000000000:parameter/petpick/dev/", "", "arn:aws:cloudfront::000000000000:distribution/D", "distribution")

func TestRoles(t *testing.T) {
	for function := range mayDo {
		for _, fault := range roleFaults(infra.Template, function) {
			t.Error(fault)
		}
	}
}

func allowed(template []byte, function string) (infra.Policy, error) {
	resources, err := edge.Resources(template, nil)
	if err != nil {
		return nil, err
	}
	return infra.Allowed(resources, function, called)
}

// roleFaults compares a role with the table, both ways.
func roleFaults(template []byte, function string) []string {
	policy, err := allowed(template, function)
	if err != nil {
		return []string{err.Error()}
	}
	got := map[string]bool{}
	for _, s := range policy {
		for _, a := range s.Actions {
			for _, r := range s.Resources {
				got[s.Effect+" "+a+" "+shortened.Replace(r)] = true
			}
		}
	}
	var faults []string
	for line := range strings.SplitSeq(strings.TrimSpace(mayDo[function]), "\n") {
		fields := strings.Fields(line)
		for _, r := range fields[1:] {
			line := "Allow " + fields[0] + " " + r
			if !got[line] {
				faults = append(faults, function+": missing: "+line)
			}
			delete(got, line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(got)) {
		faults = append(faults, function+": too much: "+line)
	}
	return faults
}

// The random function is for anyone to call: it may change nothing.
func TestRandomOnlyReads(t *testing.T) {
	policy, err := allowed(infra.Template, "RandomFunction")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range policy {
		for _, a := range s.Actions {
			if verb := a[strings.Index(a, ":")+1:]; !strings.HasPrefix(verb, "Get") && !strings.HasPrefix(verb, "List") && !strings.HasPrefix(a, "logs:") {
				t.Errorf("it may %s %v", a, s.Resources)
			}
		}
	}
}

func TestAllows(t *testing.T) {
	policy := infra.Policy{
		{Effect: "Allow", Actions: []string{"s3:Get*", "s3:PutObject"}, Resources: []string{"arn:aws:s3:::photos/cat/*", "arn:aws:s3:::photos/a+b"}},
		{Effect: "Deny", Actions: []string{"s3:*"}, Resources: []string{"arn:aws:s3:::photos/cat/secret"}},
	}
	for _, c := range []struct {
		action, resource string
		want             bool
	}{
		{"s3:GetObject", "arn:aws:s3:::photos/cat/x.jpg", true},
		{"S3:getobject", "arn:aws:s3:::photos/cat/x.jpg", true}, // actions have no case
		{"s3:GetObject", "arn:aws:s3:::photos/CAT/x.jpg", false},
		{"s3:GetObject", "arn:aws:s3:::photos/dog/x.jpg", false},
		{"s3:GetObject", "arn:aws:s3:::photos/cat/secret", false},
		{"s3:DeleteObject", "arn:aws:s3:::photos/cat/x.jpg", false},
		{"s3:PutObject", "arn:aws:s3:::photos/a+b", true},
		{"s3:PutObject", "arn:aws:s3:::photos/aab", false},
		{"s3:PutObject", "x arn:aws:s3:::photos/cat/x", false},
	} {
		if got := policy.Allows(c.action, c.resource); got != c.want {
			t.Errorf("%s %s: got %t", c.action, c.resource, got)
		}
	}
	if _, err := allowed(infra.Template, "NoFunction"); err == nil {
		t.Error("a function that is not there has a role")
	}
}
