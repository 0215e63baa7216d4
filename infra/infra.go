// Package infra carries the CloudFormation template inside the program, so that `petpick serve` runs what is deployed, and reads of it
// what the functions may do.
package infra

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"petpick/src/edge"
)

// Template is template.yaml.
//
//go:embed template.yaml
var Template []byte

// Statement is one of a policy's. Actions and resources may have asterisks.
type Statement struct {
	Effect             string
	Actions, Resources []string
}

// Policy is all statements of a role.
type Policy []Statement

// Allowed returns what the role of a function allows, as a template's resources say. names are what a deployment calls things, such as
// "PhotosBucket.Arn": "arn:aws:s3:::photos"; what it does not name stays "${PhotosBucket.Arn}".
func Allowed(resources map[string]edge.Resource, function string, names map[string]string) (Policy, error) {
	var f struct{ Role string }
	if err := convert(resources[function].Properties, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", function, err)
	}
	role, ok := strings.CutSuffix(strings.TrimPrefix(f.Role, "${"), ".Arn}")
	if !ok || resources[role].Type != "AWS::IAM::Role" {
		return nil, fmt.Errorf("%s: its role %q is none of the template", function, f.Role)
	}
	var policy Policy
	for id, r := range resources {
		var documents []document
		var err error
		switch {
		case id == role:
			documents, err = inline(r)
		case r.Type == "AWS::IAM::Policy":
			documents, err = attached(r, role)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		for _, d := range documents {
			policy = append(policy, d.statements(names)...)
		}
	}
	return policy, nil
}

// Allows: a statement that denies overrules those that allow.
func (p Policy) Allows(action, resource string) bool {
	allowed := false
	for _, s := range p {
		if !s.Covers(action, resource) {
			continue
		}
		if s.Effect != "Allow" {
			return false
		}
		allowed = true
	}
	return allowed
}

// Unused lists what is allowed and no call makes use of, each action on each resource.
func (p Policy) Unused(used func(Statement) bool) (idle []Statement) {
	for _, s := range p {
		for _, action := range s.Actions {
			for _, resource := range s.Resources {
				if one := (Statement{s.Effect, []string{action}, []string{resource}}); s.Effect == "Allow" && !used(one) {
					idle = append(idle, one)
				}
			}
		}
	}
	return idle
}

// Covers says whether a statement speaks of an action on a resource.
func (s Statement) Covers(action, resource string) bool {
	return slices.ContainsFunc(s.Actions, func(p string) bool { return match(strings.ToLower(p), strings.ToLower(action)) }) &&
		slices.ContainsFunc(s.Resources, func(p string) bool { return match(p, resource) })
}

// match knows IAM's wildcards: the asterisk is any run of characters, the question mark any one.
func match(pattern, s string) bool {
	wild := strings.NewReplacer(`\*`, ".*", `\?`, ".")
	return regexp.MustCompile("(?s)^" + wild.Replace(regexp.QuoteMeta(pattern)) + "$").MatchString(s)
}

// document has all that a policy here may have: a condition, or what it must not be, would change what the rest means.
type document struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource oneOrMore
	}
}

func (d *document) UnmarshalJSON(b []byte) error {
	type plain document
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	return in.Decode((*plain)(d))
}

func (d document) statements(names map[string]string) []Statement {
	var all []Statement
	for _, s := range d.Statement {
		statement := Statement{Effect: s.Effect, Actions: s.Action}
		for _, r := range s.Resource {
			for name, actual := range names {
				r = strings.ReplaceAll(r, "${"+name+"}", actual)
			}
			statement.Resources = append(statement.Resources, r)
		}
		all = append(all, statement)
	}
	return all
}

func inline(r edge.Resource) ([]document, error) {
	var role struct {
		ManagedPolicyArns []string
		Policies          []struct{ PolicyDocument document }
	}
	if err := convert(r.Properties, &role); err != nil {
		return nil, err
	}
	if len(role.ManagedPolicyArns) > 0 {
		return nil, fmt.Errorf("managed policies %v: what they allow stands elsewhere, and changes", role.ManagedPolicyArns)
	}
	var all []document
	for _, p := range role.Policies {
		all = append(all, p.PolicyDocument)
	}
	return all, nil
}

func attached(r edge.Resource, role string) ([]document, error) {
	var policy struct {
		Roles          []string
		PolicyDocument document
	}
	if err := convert(r.Properties, &policy); err != nil || !slices.Contains(policy.Roles, "${"+role+"}") {
		return nil, err
	}
	return []document{policy.PolicyDocument}, nil
}

// oneOrMore is a text or a list of them.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(l))
	}
	*l = make(oneOrMore, 1)
	return json.Unmarshal(b, &(*l)[0])
}

// convert moves plain values into a struct by its field names.
func convert(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}
