package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// template is a CloudFormation template whose intrinsic functions are evaluated as far as one machine can: parameters have their
// defaults, and what only a deployment knows stays a reference, "${LogicalID}" or "${LogicalID.Attribute}".
type template struct {
	resources map[string]resource
	params    map[string]any
	conds     map[string]any
}

type resource struct {
	Type       string
	Condition  string
	Properties any

	DeletionPolicy, UpdateReplacePolicy string
	DependsOn                           any
}

// Resource is a resource of a template, with its intrinsic functions evaluated.
type Resource struct {
	Type                                string
	Properties                          any
	DeletionPolicy, UpdateReplacePolicy string
	// DependsOn is a logical ID or a list of them.
	DependsOn any
}

// Resources are those that a template makes with these parameters, which replace its defaults. What only a deployment knows stays a reference,
// "${LogicalID}" or "${LogicalID.Attribute}".
func Resources(src []byte, parameters map[string]any) (map[string]Resource, error) {
	t, err := parseTemplate(src, parameters)
	if err != nil {
		return nil, err
	}
	all := map[string]Resource{}
	for id, r := range t.resources {
		all[id] = Resource{r.Type, r.Properties, r.DeletionPolicy, r.UpdateReplacePolicy, r.DependsOn}
	}
	return all, nil
}

func parseTemplate(src []byte, parameters map[string]any) (*template, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(src, &doc); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	plain, err := fromYAML(&doc)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	top, ok := plain.(map[string]any)
	if !ok {
		return nil, errors.New("template: not a mapping")
	}
	t := &template{resources: map[string]resource{}, params: map[string]any{}}
	params, _ := top["Parameters"].(map[string]any)
	for name, p := range params {
		def, _ := p.(map[string]any)
		t.params[name] = def["Default"]
		if v, set := parameters[name]; set {
			t.params[name] = v
		}
	}
	t.conds, _ = top["Conditions"].(map[string]any)
	resources, _ := top["Resources"].(map[string]any)
	for id, v := range resources {
		var r resource
		if err := convert(v, &r); err != nil {
			return nil, fmt.Errorf("template: resource %s: %w", id, err)
		}
		if r.Condition != "" {
			there, err := t.condition(r.Condition)
			if err != nil {
				return nil, fmt.Errorf("template: resource %s: %w", id, err)
			}
			if !there {
				continue
			}
		}
		if r.Properties, err = t.eval(r.Properties); err != nil {
			return nil, fmt.Errorf("template: resource %s: %w", id, err)
		}
		t.resources[id] = r
	}
	return t, nil
}

// fromYAML turns the short forms, !Ref and its like, into the long ones.
func fromYAML(n *yaml.Node) (any, error) {
	var v any
	switch n.Kind {
	case yaml.DocumentNode:
		return fromYAML(n.Content[0])
	case yaml.AliasNode: // so its documentation says, of the format
		return nil, fmt.Errorf("line %d: CloudFormation takes no aliases", n.Line)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			e, err := fromYAML(c)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		v = list
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			e, err := fromYAML(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = e
		}
		v = m
	default:
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			v = n.Value
		} else if err := n.Decode(&v); err != nil {
			return nil, fmt.Errorf("line %d: %w", n.Line, err)
		}
	}
	if !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") {
		return v, nil
	}
	switch name := n.Tag[1:]; name {
	case "Ref", "Condition":
		return map[string]any{name: v}, nil
	case "GetAtt":
		if s, ok := v.(string); ok {
			id, attr, _ := strings.Cut(s, ".")
			v = []any{id, attr}
		}
		return map[string]any{"Fn::GetAtt": v}, nil
	default:
		return map[string]any{"Fn::" + name: v}, nil
	}
}

// noValue is what !Ref AWS::NoValue leaves: nothing.
type noValue struct{}

func (t *template) eval(v any) (any, error) {
	switch v := v.(type) {
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			r, err := t.eval(e)
			if err != nil {
				return nil, err
			}
			if _, none := r.(noValue); !none {
				out = append(out, r)
			}
		}
		return out, nil
	case map[string]any:
		if len(v) == 1 {
			for name, arg := range v {
				if name == "Ref" || name == "Condition" || strings.HasPrefix(name, "Fn::") {
					return t.call(name, arg)
				}
			}
		}
		out := map[string]any{}
		for k, e := range v {
			r, err := t.eval(e)
			if err != nil {
				return nil, err
			}
			if _, none := r.(noValue); !none {
				out[k] = r
			}
		}
		return out, nil
	}
	return v, nil
}

var pseudo = map[string]string{
	"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "000000000000", "AWS::URLSuffix": "amazonaws.com",
	"AWS::StackName": "petpick",
}

func (t *template) ref(name string) any {
	if name == "AWS::NoValue" {
		return noValue{}
	}
	if v, ok := pseudo[name]; ok {
		return v
	}
	if v, ok := t.params[name]; ok {
		return v
	}
	return "${" + name + "}"
}

var placeholder = regexp.MustCompile(`\$\{([A-Za-z0-9:.]+)\}`)

func (t *template) call(name string, arg any) (any, error) {
	if name == "Fn::If" {
		list, _ := arg.([]any)
		if len(list) != 3 {
			return nil, errors.New("Fn::If takes three values")
		}
		cond, err := t.condition(fmt.Sprint(list[0]))
		if err != nil {
			return nil, err
		}
		if cond {
			return t.eval(list[1])
		}
		return t.eval(list[2])
	}
	arg, err := t.eval(arg)
	if err != nil {
		return nil, err
	}
	list, _ := arg.([]any)
	switch {
	case name == "Ref":
		return t.ref(fmt.Sprint(arg)), nil
	case name == "Condition":
		return t.condition(fmt.Sprint(arg))
	case name == "Fn::GetAtt" && len(list) == 2:
		if list[1] == "FunctionUrl" { // a URL, which templates take apart
			return fmt.Sprintf("https://${%v.FunctionUrl}/", list[0]), nil
		}
		return fmt.Sprintf("${%v.%v}", list[0], list[1]), nil
	case name == "Fn::Sub":
		text, vars := fmt.Sprint(arg), map[string]any{}
		if len(list) == 2 {
			text = fmt.Sprint(list[0])
			vars, _ = list[1].(map[string]any)
		}
		return placeholder.ReplaceAllStringFunc(text, func(p string) string {
			if v, ok := vars[p[2:len(p)-1]]; ok {
				return fmt.Sprint(v)
			}
			return fmt.Sprint(t.ref(p[2 : len(p)-1]))
		}), nil
	case name == "Fn::Split" && len(list) == 2:
		var parts []any
		for _, p := range strings.Split(fmt.Sprint(list[1]), fmt.Sprint(list[0])) {
			parts = append(parts, p)
		}
		return parts, nil
	case name == "Fn::Select" && len(list) == 2:
		from, _ := list[1].([]any)
		var i int
		if _, err := fmt.Sscan(fmt.Sprint(list[0]), &i); err != nil || i < 0 || i >= len(from) {
			return nil, fmt.Errorf("Fn::Select %v of %d", list[0], len(from))
		}
		return from[i], nil
	case name == "Fn::Join" && len(list) == 2:
		parts, _ := list[1].([]any)
		texts := make([]string, len(parts))
		for i, p := range parts {
			texts[i] = fmt.Sprint(p)
		}
		return strings.Join(texts, fmt.Sprint(list[0])), nil
	case name == "Fn::Equals" && len(list) == 2:
		return fmt.Sprint(list[0]) == fmt.Sprint(list[1]), nil
	case name == "Fn::Not" && len(list) == 1:
		b, _ := list[0].(bool)
		return !b, nil
	case name == "Fn::And" || name == "Fn::Or":
		all, some := true, false
		for _, e := range list {
			b, _ := e.(bool)
			all, some = all && b, some || b
		}
		return name == "Fn::And" && all || name == "Fn::Or" && some, nil
	}
	return nil, fmt.Errorf("%s is not understood here", name)
}

func (t *template) condition(name string) (bool, error) {
	expr, ok := t.conds[name]
	if !ok {
		return false, fmt.Errorf("no condition %s", name)
	}
	v, err := t.eval(expr)
	b, _ := v.(bool)
	return b, err
}

// each calls f for every resource of a type, in the order of their names.
func (t *template) each(kind string, f func(id string, r resource) error) error {
	var ids []string
	for id, r := range t.resources {
		if r.Type == kind {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	for _, id := range ids {
		if err := f(id, t.resources[id]); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	return nil
}

// target is the logical ID in a reference such as "${Api}.execute-api…" or "${PhotosBucket.RegionalDomainName}".
func target(s string) (string, bool) {
	m := placeholder.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	id, _, _ := strings.Cut(m[1], ".")
	return id, true
}

// convert moves plain values into a struct by its field names.
func convert(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}
