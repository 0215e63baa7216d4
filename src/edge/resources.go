package edge

import (
	"fmt"
	"maps"
	"slices"
)

// Resource is a resource of the template, evaluated.
type Resource struct {
	Type                                string
	Properties                          any
	DeletionPolicy, UpdateReplacePolicy string
	// DependsOn is a logical ID or a list of them.
	DependsOn any
}

// Resources evaluates the template's resources as a deployment would, names being what only that knows: the value of "PhotosBucket", of
// "PhotosBucket.Arn", of a parameter. What has no name stays a reference, "${Distribution}".
func Resources(src []byte, names map[string]any) (map[string]Resource, error) {
	t, err := parseTemplate(src, names)
	if err != nil {
		return nil, err
	}
	all := map[string]Resource{}
	for id, r := range t.resources {
		all[id] = Resource{r.Type, r.Properties, r.DeletionPolicy, r.UpdateReplacePolicy, r.DependsOn}
	}
	return all, nil
}

// Settings are what a function is given beside its code.
type Settings struct {
	Environment map[string]string
	Timeout     int // in seconds
	MemorySize  int // in MB
	Role        string
}

// SettingsOf returns the settings of a function. An environment that only a deployment knows is an error.
func SettingsOf(resources map[string]Resource, function string) (Settings, error) {
	r := resources[function]
	if r.Type != "AWS::Lambda::Function" {
		return Settings{}, fmt.Errorf("template: there is no function %s", function)
	}
	c := struct {
		Timeout, MemorySize int
		Role                string
		Environment         struct{ Variables map[string]any }
	}{Timeout: 3, MemorySize: 128} // Lambda's defaults
	if err := convert(r.Properties, &c); err != nil {
		return Settings{}, fmt.Errorf("template: %s: %w", function, err)
	}
	s := Settings{Environment: map[string]string{}, Timeout: c.Timeout, MemorySize: c.MemorySize, Role: c.Role}
	for _, name := range slices.Sorted(maps.Keys(c.Environment.Variables)) {
		s.Environment[name] = fmt.Sprint(c.Environment.Variables[name])
		if id, open := target(s.Environment[name]); open {
			return Settings{}, fmt.Errorf("template: %s: %s wants %s, which is not known here", function, name, id)
		}
	}
	return s, nil
}

// ParametersOf returns the values of the SSM parameters that the template makes, by their names.
func ParametersOf(resources map[string]Resource) map[string]string {
	values := map[string]string{}
	for _, r := range resources {
		if p, ok := r.Properties.(map[string]any); ok && r.Type == "AWS::SSM::Parameter" {
			values[fmt.Sprint(p["Name"])] = fmt.Sprint(p["Value"])
		}
	}
	return values
}
