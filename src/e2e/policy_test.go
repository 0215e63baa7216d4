package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"petpick/src/edge"
)

// call is what a function did, in IAM's words.
type call struct{ action, resource string }

// oneOrMore is a value that JSON policies write as one or as a list.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

// statement is one of a role's. What is not listed here must not be there: it would change what the others mean.
type statement struct {
	Sid, Effect      string
	Action, Resource oneOrMore
}

type document struct {
	Version   string
	Statement []statement
}

// role is the statements that the template gives a function, in its role and in policies of their own.
func role(resources map[string]edge.Resource, id string, names map[string]string) ([]statement, error) {
	var all []statement
	add := func(v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		for name, actual := range names {
			b = bytes.ReplaceAll(b, []byte("${"+name+"}"), []byte(actual))
		}
		var d document
		in := json.NewDecoder(bytes.NewReader(b))
		in.DisallowUnknownFields()
		if err := in.Decode(&d); err != nil {
			return fmt.Errorf("policy of %s: %w", id, err)
		}
		all = append(all, d.Statement...)
		return nil
	}
	for _, r := range resources {
		p, _ := r.Properties.(map[string]any)
		switch r.Type {
		case "AWS::IAM::Policy":
			roles, _ := p["Roles"].([]any)
			if !slices.Contains(roles, any("${"+id+"}")) {
				continue
			}
			if err := add(p["PolicyDocument"]); err != nil {
				return nil, err
			}
		case "AWS::IAM::ManagedPolicy":
			return nil, fmt.Errorf("managed policies are not understood here")
		}
	}
	p, _ := resources[id].Properties.(map[string]any)
	if p["ManagedPolicyArns"] != nil {
		return nil, fmt.Errorf("%s: managed policies are not understood here", id)
	}
	inline, _ := p["Policies"].([]any)
	for _, policy := range inline {
		m, _ := policy.(map[string]any)
		if err := add(m["PolicyDocument"]); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no statements", id)
	}
	return all, nil
}

// permits: some statement allows it and none denies it.
func permits(statements []statement, c call) bool {
	allowed := false
	for _, s := range statements {
		if matchesAny(s.Action, c.action, true) && matchesAny(s.Resource, c.resource, false) {
			if s.Effect != "Allow" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// unused lists what statements allow and no call made use of: each action on each resource.
func unused(statements []statement, calls map[call]bool) (idle []string) {
	for _, s := range statements {
		for _, action := range s.Action {
			if service, _, _ := strings.Cut(action, ":"); service == "logs" || service == "xray" {
				continue // Lambda's own calls, in the function's name
			}
			for _, resource := range s.Resource {
				used := false
				for c := range calls {
					used = used || matches(action, c.action, true) && matches(resource, c.resource, false)
				}
				if s.Effect == "Allow" && !used {
					idle = append(idle, action+" on "+resource)
				}
			}
		}
	}
	slices.Sort(idle)
	return idle
}

func matchesAny(patterns []string, s string, fold bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, s, fold) })
}

// matches knows IAM's wildcards: * is any run of characters, ? any one. Actions have no case.
func matches(pattern, s string, fold bool) bool {
	if fold {
		pattern, s = strings.ToLower(pattern), strings.ToLower(s)
	}
	if pattern == "" {
		return s == ""
	}
	switch pattern[0] {
	case '*':
		for i := 0; i <= len(s); i++ {
			if matches(pattern[1:], s[i:], false) {
				return true
			}
		}
		return false
	case '?':
		return s != "" && matches(pattern[1:], s[1:], false)
	}
	return s != "" && s[0] == pattern[0] && matches(pattern[1:], s[1:], false)
}
