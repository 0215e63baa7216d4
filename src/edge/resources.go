package edge

import (
	"fmt"
	"maps"
	"slices"
)

// Settings are what a function is given beside its code.
type Settings struct {
	Environment map[string]string
	Timeout     int // in seconds
	MemorySize  int // in MB
	Role        string
}

// SettingsOf returns the settings of a function. names are what only a deployment knows, such as "PhotosBucket": a variable that wants one
// that is not there is an error.
func SettingsOf(resources map[string]Resource, function string, names map[string]string) (Settings, error) {
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
		s.Environment[name] = named(fmt.Sprint(c.Environment.Variables[name]), names)
		if id, open := target(s.Environment[name]); open {
			return Settings{}, fmt.Errorf("template: %s: %s wants %s, which is not known here", function, name, id)
		}
	}
	return s, nil
}

// ParametersOf returns the values of the SSM parameters that the template makes, by their names.
func ParametersOf(resources map[string]Resource, names map[string]string) map[string]string {
	values := map[string]string{}
	for _, r := range resources {
		if p, ok := r.Properties.(map[string]any); ok && r.Type == "AWS::SSM::Parameter" {
			values[fmt.Sprint(p["Name"])] = named(fmt.Sprint(p["Value"]), names)
		}
	}
	return values
}

// named puts names in the place of references.
func named(s string, names map[string]string) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		if name, known := names[p[2:len(p)-1]]; known {
			return name
		}
		return p
	})
}
