package src_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed is the import rule: what each package of ours may import of ours. What is not here may be imported by nobody.
//
//	cmd/* ──> api ──> index ──> truth ──> blob <── s3blob ──> S3 SDK
//	  │        └────> photo, access, gateway
//	  ├──> gateway  access  config  s3blob
//	  └──> edge, s3server (cmd/petpick only)
var allowed = map[string][]string{
	"pet":           {},
	"blob":          {},
	"blob/blobtest": {"blob"},
	"blob/s3blob":   {"blob"},
	"blob/s3server": {},
	"box":           {},
	"parallel":      {},
	"sorted":        {},
	"truth":         {"blob", "box", "parallel", "pet", "sorted"},
	"index":         {"blob", "box", "index/journal", "index/root", "index/segment", "index/view", "parallel", "pet", "sorted", "truth"},
	"index/journal": {"blob", "box", "pet"},
	"index/root":    {"box", "index/segment", "pet"},
	"index/segment": {"blob", "box", "parallel", "pet"},
	"index/view":    {"blob", "box", "index/root", "index/segment", "parallel", "pet"},
	"photo":         {"pet"},
	"access":        {},
	"stack":         {},
	"config":        {},
	"client":        {"pet"},
	"cdn":           {},
	"gateway":       {},
	"metrics":       {},
	"api":           {"access", "blob", "gateway", "index", "pet", "photo"},
	"edge":          {"gateway"},
	"cmd/upload":    {"access", "access/ssmtokens", "api", "blob/s3blob", "cdn", "config", "gateway", "index", "metrics", "photo"},
	"cmd/random":    {"api", "blob/s3blob", "config", "gateway", "index", "metrics"},
	"cmd/tend":      {"blob/s3blob", "cdn", "config", "index", "metrics"},
	"cmd/petpick": {
		"access", "access/ssmtokens", "api", "blob", "blob/s3blob", "blob/s3server", "cdn", "client", "config", "edge", "gateway", "index", "pet", "photo", "stack", "infra",
	},

	"access/ssmtokens": {"access"},
	"access/ssmtest":   {},

	"e2e":             {},
	"index/drawtest":  {},
	"photo/phototest": {},
}

// foreign is where modules of others may come in, beside the standard library; a name covers what is below it.
var foreign = map[string][]string{
	"blob/s3blob":      {"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"},
	"blob/s3server":    {"github.com/versity/versitygw", "github.com/pkg/xattr"},
	"parallel":         {"golang.org/x/sync"},
	"photo":            {"golang.org/x/image", "golang.org/x/sync"},
	"config":           {"github.com/aws/aws-sdk-go-v2/aws"},
	"cdn":              {"github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/service/cloudfront"},
	"stack":            {"github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/service/ssm"},
	"gateway":          {"github.com/aws/aws-lambda-go/events"},
	"edge":             {"go.yaml.in/yaml", "github.com/dop251/goja", "github.com/aws/aws-sdk-go-v2/aws", "golang.org/x/sync", "golang.org/x/time"},
	"cmd/upload":       {"github.com/aws/aws-lambda-go", "github.com/aws/aws-sdk-go-v2/config"},
	"cmd/random":       {"github.com/aws/aws-lambda-go", "github.com/aws/aws-sdk-go-v2/config"},
	"cmd/tend":         {"github.com/aws/aws-lambda-go", "github.com/aws/aws-sdk-go-v2/config"},
	"access/ssmtokens": {"github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/service/ssm"},
	"cmd/petpick": {
		"github.com/aws/aws-sdk-go-v2", "github.com/gofrs/flock", "github.com/lmittmann/tint", "github.com/schollz/progressbar", "github.com/spf13/cobra", "golang.org/x/net", "golang.org/x/term",
	},
}

// unreachable must not be in a program at all, not even through another module.
var unreachable = map[string][]string{
	"cmd/random": {"github.com/aws/aws-sdk-go-v2/service/ssm", "github.com/versity", "github.com/dop251/goja", "github.com/spf13", "go.yaml.in", "html/template", "text/template"},
	"cmd/upload": {"github.com/versity", "github.com/dop251/goja", "github.com/spf13", "go.yaml.in", "html/template", "text/template"},
}

func TestImportRule(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-tags", "lambda.norpc", "-json=ImportPath,Imports,Deps", "petpick/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, "petpick/src/")
		if !ok {
			continue
		}
		mayImport, known := allowed[name]
		if !known {
			t.Errorf("%s has no line in the import rule", name)
		}
		for _, imp := range p.Imports {
			own, isOwn := strings.CutPrefix(imp, "petpick/")
			own = strings.TrimPrefix(own, "src/")
			switch {
			case isOwn && !slices.Contains(mayImport, own):
				t.Errorf("%s imports %s", name, own)
			case !isOwn && strings.Contains(strings.Split(imp, "/")[0], ".") && !covered(imp, foreign[name]):
				t.Errorf("%s imports %s", name, imp)
			}
		}
		for _, dep := range p.Deps {
			if covered(dep, unreachable[name]) {
				t.Errorf("%s reaches %s", name, dep)
			}
		}
	}
}

func covered(path string, by []string) bool {
	return slices.ContainsFunc(by, func(b string) bool { return path == b || strings.HasPrefix(path, b+"/") })
}
