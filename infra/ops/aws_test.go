package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This test's binary is also the commands aws, petpick and go, of an account that is described by the environment.
func TestMain(m *testing.M) {
	switch os.Getenv("OPS_TEST_AS") {
	case "aws":
		os.Exit(fakeAWS(os.Args[1:]))
	case "petpick":
		os.Exit(fakePetpick(os.Args[1:]))
	case "go":
		os.Exit(fakeGo(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// account is what the commands answer with, and where they note how they were called.
type account struct {
	Version int
	Log     string
	// Status of the stack; "" when there is none.
	Status, URL, Region string
	Tokens              int
	// Fail names calls that fail, with what is said then.
	Fail map[string]string
}

func theAccount() (a account) {
	b, err := os.ReadFile(os.Getenv("OPS_TEST_ACCOUNT"))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		panic(err)
	}
	return a
}

func (a account) note(name string, args []string) {
	f, err := os.OpenFile(a.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, strings.Join(append([]string{name}, args...), " "))
}

func fakeAWS(args []string) int {
	a := theAccount()
	before, _ := os.ReadFile(a.Log)
	if a.Status == "" && strings.Contains(string(before), "cloudformation deploy") {
		a.Status = "CREATE_COMPLETE"
	}
	a.note("aws", args)
	die := func(text string) int {
		fmt.Fprintln(os.Stderr, text)
		return 255
	}
	call := strings.Join(args[:2], " ")
	line := strings.Join(args, " ")
	for what, why := range a.Fail {
		if strings.HasPrefix(line, what) {
			return die(why)
		}
	}
	if call == "logs tail" && a.Version == 1 {
		return die("aws: error: argument operation: Invalid choice")
	}
	if i := slices.Index(args, "--parameter-overrides"); i >= 0 { // version 1 takes nothing else
		for _, p := range args[i+1:] {
			if !strings.Contains(p, "=") {
				return die("value passed to --parameter-overrides must be of format Key=Value: " + p)
			}
		}
	}
	return a.answer(call, line, args)
}

func (a account) answer(call, line string, args []string) int {
	switch {
	case call == "configure get":
		fmt.Println(a.Region)
		if a.Region == "" {
			return 1
		}
	case call == "sts get-caller-identity":
		fmt.Println("123456789012")
	case call == "cloudformation describe-stacks" && a.Status == "":
		fmt.Fprintln(os.Stderr, "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id petpick-dev does not exist")
		return 254
	case strings.Contains(line, "StackStatus"):
		fmt.Println(a.Status)
	case strings.Contains(line, "Outputs"):
		fmt.Printf(`[{"OutputKey":"Url","OutputValue":%q},{"OutputKey":"EdgeUrl","OutputValue":%[1]q},{"OutputKey":"NextCommand","OutputValue":"petpick token create"}]`, a.URL)
	case call == "cloudformation describe-stack-resources" && strings.Contains(line, "EdgeLogBucket"):
	case call == "cloudformation describe-stack-resources":
		fmt.Println(strings.ToLower(regexp.MustCompile(`'(\w+)'`).FindStringSubmatch(line)[1]))
	case call == "cloudformation describe-stack-events":
		fmt.Println("PhotosBucket\tthe bucket could not be made")
	case call == "cloudformation package":
		return copyTemplate(args)
	case call == "ssm get-parameters-by-path":
		fmt.Println(`["/petpick/dev/tokens/a"]`)
	case call == "logs filter-log-events":
		fmt.Println(`["{\"msg\":\"hello\"}\n"]`)
	case call == "s3api list-object-versions":
		if b, err := os.ReadFile(a.Log); err == nil && strings.Contains(string(b), "delete-objects") { // they are gone; and nothing is what it prints then
			return 0
		}
		fmt.Println(`{"Versions":[{"Key":"cat/a.jpg","VersionId":"1"}],"DeleteMarkers":[{"Key":"cat/a.jpg","VersionId":"2"}]}`)
	}
	return 0
}

func copyTemplate(args []string) int {
	b, err := os.ReadFile(args[slices.Index(args, "--template-file")+1])
	if err == nil {
		err = os.WriteFile(args[slices.Index(args, "--output-template-file")+1], b, 0o600)
	}
	if err != nil {
		panic(err)
	}
	return 0
}

func fakePetpick(args []string) int {
	a := theAccount()
	a.note("petpick", args)
	switch args[1] {
	case "list":
		fmt.Println("[" + strings.TrimSuffix(strings.Repeat(`{"id":"x"},`, a.Tokens), ",") + "]")
	case "create":
		fmt.Fprintln(os.Stderr, "token x of first: it is not shown again")
		fmt.Println("dev")
	}
	return 0
}

// fakeGo builds at once; TestBuildIsReproducible builds what is deployed.
func fakeGo(args []string) int {
	program := args[slices.Index(args, "-o")+1]
	err := os.MkdirAll(filepath.Dir(program), 0o755)
	if err == nil {
		err = os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755)
	}
	if err != nil {
		panic(err)
	}
	return 0
}

// in makes a working directory like the repository, with the commands of an account on the PATH, and returns what reads their log.
func in(t *testing.T, a account) (log func() string) {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	copyTree(t, filepath.Join(root(), "infra"), filepath.Join(dir, "infra"), regexp.MustCompile(`template.yaml|json$`))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, as := range map[string]string{filepath.Join(bin, "aws"): "aws", filepath.Join(bin, "go"): "go", filepath.Join(dir, "build", "petpick"): "petpick"} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\nOPS_TEST_AS="+as+" exec "+self+" \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.Log = filepath.Join(bin, "log")
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	described := filepath.Join(bin, "account")
	if err := os.WriteFile(described, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OPS_TEST_ACCOUNT", described)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "PETPICK_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Chdir(dir)
	return func() string {
		b, err := os.ReadFile(a.Log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

// inOrder fails unless the log has all of these, one after the other.
func inOrder(t *testing.T, log string, calls ...string) {
	t.Helper()
	rest := log
	for _, call := range calls {
		i := strings.Index(rest, call)
		if i < 0 {
			t.Errorf("no %q after what was before it, in\n%s", call, log)
			return
		}
		rest = rest[i+len(call):]
	}
}

// A first deployment ends with a service that was tried, and a token; by either version of the aws command.
func TestDeploy(t *testing.T) {
	at := serve(t)
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("CLI v%d", version), func(t *testing.T) {
			log := in(t, account{Version: version, URL: at, Fail: map[string]string{"s3api head-bucket": "An error occurred (404) when calling the HeadBucket operation: Not Found"}})
			out, err := run1(t, "", "deploy", "--stage", "dev", "--region", "eu-central-1", "--account", "123456789012")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{"the first token", "\n  dev\n", "all is well", at, "petpick token create"} {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			inOrder(t, log(),
				"aws sts get-caller-identity",
				"aws s3api create-bucket --bucket petpick-artifacts-123456789012-eu-central-1 --create-bucket-configuration LocationConstraint=eu-central-1",
				"put-public-access-block", "put-bucket-versioning", "put-bucket-lifecycle-configuration", "put-bucket-policy",
				"aws cloudformation package --template-file infra/template.yaml --s3-bucket petpick-artifacts-123456789012-eu-central-1",
				"aws cloudformation deploy --template-file build/packaged.yaml --stack-name petpick-dev --s3-bucket petpick-artifacts-123456789012-eu-central-1",
				"--capabilities CAPABILITY_IAM", "--tags project=petpick stage=dev", "--parameter-overrides AlarmEmail= ", " LogDays=7 ", " Stage=dev ",
				"petpick token list --stage dev --json", "petpick token create --stage dev --name first --scope upload,curate")
			if n := pictures(t, at); n != 0 {
				t.Errorf("%d pictures are left", n)
			}
		})
	}
	t.Run("again", func(t *testing.T) {
		log := in(t, account{Version: 2, URL: at, Status: "UPDATE_COMPLETE", Tokens: 1, Region: "us-east-1"})
		out, err := run1(t, "", "deploy", "--stage", "dev")
		if err != nil || !strings.Contains(out, "no token: no upload was tried") {
			t.Fatalf("%v\n%s", err, out)
		}
		if calls := log(); strings.Contains(calls, "create-bucket") || strings.Contains(calls, "token create") {
			t.Errorf("made again:\n%s", calls)
		}
	})
	t.Run("what does not work is said", func(t *testing.T) {
		in(t, account{URL: proxy(t, at, nil, header("/random", "Cache-Control", "max-age=10"))})
		if out, err := run1(t, "", "deploy", "--stage", "dev", "--region", "us-east-1"); err == nil || !strings.Contains(err.Error(), "make logs STAGE=dev") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// Each failure says what to do, and stops before anything is made.
func TestDeployFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		account account
		args    []string
		want    string
	}{
		{"no stage", account{}, nil, "STAGE"},
		{"a stage that CloudFormation would refuse", account{}, []string{"--stage", "Dev_1"}, "STAGE"},
		{"no region", account{}, []string{"--stage", "dev"}, "REGION=us-east-1"},
		{"no credentials", account{Region: "us-east-1", Fail: map[string]string{"sts": "Unable to locate credentials"}}, []string{"--stage", "dev"}, "aws configure"},
		{"another account", account{Region: "us-east-1"}, []string{"--stage", "dev", "--account", "999999999999"}, "AWS_PROFILE"},
		{"no parameters", account{Region: "us-east-1"}, []string{"--stage", "test"}, "copy infra/params/dev.json"},
		{"a first deployment that failed", account{Region: "us-east-1", Status: "ROLLBACK_COMPLETE"}, []string{"--stage", "dev"}, "make destroy STAGE=dev REGION=us-east-1"},
		{"and why", account{Region: "us-east-1", Status: "ROLLBACK_COMPLETE"}, []string{"--stage", "dev"}, "the bucket could not be made"},
		{"an update under way", account{Region: "us-east-1", Status: "UPDATE_IN_PROGRESS"}, []string{"--stage", "dev"}, "wait"},
		{"an update that could not be undone", account{Region: "us-east-1", Status: "UPDATE_ROLLBACK_FAILED"}, []string{"--stage", "dev"}, "continue-update-rollback"},
		{"a deletion that stopped", account{Region: "us-east-1", Status: "DELETE_FAILED"}, []string{"--stage", "dev"}, "make destroy STAGE=dev"},
		{"CloudFormation is not allowed", account{Region: "us-east-1", Fail: map[string]string{"cloudformation describe-stacks": "AccessDenied"}}, []string{"--stage", "dev"}, "AccessDenied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := in(t, c.account)
			_, err := run1(t, "", append([]string{"deploy"}, c.args...)...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if _, missing := os.Stat(filepath.Join(filepath.Dir(os.Getenv("OPS_TEST_ACCOUNT")), "log")); missing == nil {
				if calls := log(); regexp.MustCompile(`create|s3api|cloudformation (deploy|package)`).MatchString(calls) {
					t.Errorf("something was made:\n%s", calls)
				}
			}
		})
	}
	t.Run("no aws command", func(t *testing.T) {
		in(t, account{})
		t.Setenv("PATH", t.TempDir())
		if _, err := run1(t, "", "deploy", "--stage", "dev"); err == nil || !strings.Contains(err.Error(), "https://docs.aws.amazon.com/cli") {
			t.Errorf("got %v", err)
		}
	})
	for name, c := range map[string]struct{ fail, said, want string }{
		"a bucket of somebody else": {"s3api head-bucket", "An error occurred (403) when calling the HeadBucket operation: Forbidden", "another account's"},
		"a stack that fails":        {"cloudformation deploy", "Failed to create/update the stack", "the bucket could not be made"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, account{Region: "us-east-1", Fail: map[string]string{c.fail: c.said}})
			if _, err := run1(t, "", "deploy", "--stage", "dev"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestDestroy(t *testing.T) {
	there := account{Region: "us-east-1", Status: "CREATE_COMPLETE"}
	t.Run("asks", func(t *testing.T) {
		for _, answer := range []string{"", "y\n", "prod\n"} {
			log := in(t, there)
			if out, err := run1(t, answer, "destroy", "--stage", "dev"); err == nil || !strings.Contains(out, "photosbucket") || strings.Contains(log(), "delete") {
				t.Errorf("%q: %v\n%s", answer, err, out)
			}
		}
	})
	t.Run("keeps the photos", func(t *testing.T) {
		log := in(t, there)
		out, err := run1(t, "dev\n", "destroy", "--stage", "dev")
		if err != nil || !strings.Contains(out, "the photos are kept, in the bucket photosbucket") {
			t.Errorf("%v\n%s", err, out)
		}
		inOrder(t, log(), "ssm delete-parameters --names /petpick/dev/tokens/a", "aws s3 rm s3://indexbucket --recursive", "delete-stack --stack-name petpick-dev", "wait stack-delete-complete")
		if strings.Contains(strings.ReplaceAll(log(), "LogicalResourceId=='PhotosBucket'", ""), "photosbucket") {
			t.Errorf("the photos were touched:\n%s", log())
		}
	})
	t.Run("deletes them when told", func(t *testing.T) {
		log := in(t, there)
		if out, err := run1(t, "dev\n", "destroy", "--stage", "dev", "--photos"); err == nil {
			t.Errorf("with the answer for the stack alone:\n%s", out)
		}
		if out, err := run1(t, "dev photos\n", "destroy", "--stage", "dev", "--photos"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		inOrder(t, log(), "wait stack-delete-complete", "list-object-versions --bucket photosbucket", "delete-objects --bucket photosbucket", "delete-bucket --bucket photosbucket")
	})
	t.Run("empties the index once more", func(t *testing.T) {
		failing := there
		failing.Fail = map[string]string{"cloudformation wait": "Waiter StackDeleteComplete failed: terminal failure state"}
		log := in(t, failing)
		if _, err := run1(t, "", "destroy", "--stage", "dev", "--yes"); err == nil || !strings.Contains(err.Error(), "could not be made") {
			t.Errorf("got %v", err)
		}
		inOrder(t, log(), "s3 rm", "delete-stack", "wait", "s3 rm", "delete-stack", "wait")
	})
	t.Run("nothing there", func(t *testing.T) {
		in(t, account{Region: "us-east-1"})
		if _, err := run1(t, "dev\n", "destroy", "--stage", "dev"); err == nil || !strings.Contains(err.Error(), "no stack") {
			t.Errorf("got %v", err)
		}
	})
}

func TestLogs(t *testing.T) {
	log := in(t, account{Version: 1, Region: "us-east-1"})
	if out, err := run1(t, "", "logs", "--stage", "dev", "--function", "api"); err != nil || !strings.Contains(out, `{"msg":"hello"}`) {
		t.Errorf("%v\n%s", err, out)
	}
	inOrder(t, log(), "logs filter-log-events --log-group-name /aws/vendedlogs/petpick/dev/api --start-time 1")
	if _, err := run1(t, "", "logs", "--stage", "dev", "--function", "cat"); err == nil {
		t.Error("there is no function cat")
	}
}

// knownToMoto gives the template in the working directory the names of what moto does not make, where it would fail for want of them.
func knownToMoto(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile("infra/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, value := range map[string]string{"${Distribution.DomainName}": "d111111abcdef8.cloudfront.net", "!Ref Distribution\n": "EDFDVBD6EXAMPLE\n"} {
		if !strings.Contains(text, name) {
			t.Fatalf("the template has no %q", name)
		}
		text = strings.ReplaceAll(text, name, value)
	}
	if err := os.WriteFile("infra/template.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// motoMakes are the types of which moto makes something; of all others it only says that it did.
var motoMakes = map[string][]string{ // type: the command that finds one, with its name for %s
	"AWS::S3::Bucket":            {"s3api", "head-bucket", "--bucket", "%s"},
	"AWS::IAM::Role":             {"iam", "get-role", "--role-name", "%s"},
	"AWS::Lambda::Function":      {"lambda", "get-function", "--function-name", "%s"},
	"AWS::Logs::LogGroup":        {"logs", "describe-log-streams", "--log-group-name", "%s"},
	"AWS::Events::Rule":          {"events", "describe-rule", "--name", "%s"},
	"AWS::SSM::Parameter":        {"ssm", "get-parameter", "--name", "%s"},
	"AWS::CloudWatch::Dashboard": {"cloudwatch", "get-dashboard", "--dashboard-name", "%s"},
}

// The real aws command deploys to moto what moto knows of AWS: each of it is there afterwards.
func TestMoto(t *testing.T) {
	server, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("SKIPPED: moto_server is not installed (pip install 'moto[server]'): nothing was deployed to it")
	}
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("SKIPPED: the aws command is not installed: nothing was deployed to moto")
	}
	in(t, account{})
	bin, _, _ := strings.Cut(os.Getenv("PATH"), string(os.PathListSeparator))
	if err := errors.Join(os.Remove(filepath.Join(bin, "aws")), os.Symlink(aws, filepath.Join(bin, "aws"))); err != nil { // the real one
		t.Fatal(err)
	}
	address := free(t)
	host, port, _ := strings.Cut(address, ":")
	moto := exec.Command(server, "-H", host, "-p", port)
	if err := moto.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = moto.Process.Kill(); _ = moto.Wait() })
	if err := answers(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config")
	// By this name, and the bucket in the path, moto finds the template that is given to it by its URL.
	if err := os.WriteFile(config, []byte("[default]\ns3 =\n  addressing_style = path\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://localhost:" + port, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CONFIG_FILE": config, "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	if err := os.Unsetenv("AWS_PROFILE"); err != nil { // empty it would be a name
		t.Fatal(err)
	}
	var out strings.Builder
	m := &tool{out: &out, err: &out, in: strings.NewReader("")}
	if err := m.login(t.Context(), options{stage: "dev", region: "eu-central-1"}); err != nil {
		t.Fatal(err)
	}
	knownToMoto(t)
	parameters, err := readParameters("infra/params", "dev")
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := m.artifacts(t.Context())
	if err == nil {
		// moto takes a Deny for one whatever its condition, and would let nobody upload.
		_, err = m.aws(t.Context(), "s3api", "delete-bucket-policy", "--bucket", bucket)
	}
	if err == nil {
		err = build(t.Context(), ".", io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.release(t.Context(), bucket, parameters); err != nil { // moto shows no outputs of a stack that came by a change set
		t.Fatalf("%v\n%s", err, out.String())
	}
	status, err := m.status(t.Context())
	if err != nil || !strings.HasSuffix(status, "_COMPLETE") {
		t.Fatalf("%s %v", status, err)
	}
	said, err := m.aws(t.Context(), "cloudformation", "describe-stack-resources", "--stack-name", m.stack(), "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		StackResources []struct{ LogicalResourceId, PhysicalResourceId, ResourceType string }
	}
	if err := json.Unmarshal([]byte(said), &list); err != nil {
		t.Fatal(err)
	}
	found, permissions := map[string]int{}, 0
	for _, r := range list.StackResources {
		find := slices.Clone(motoMakes[r.ResourceType])
		if find == nil {
			continue
		}
		find[len(find)-1] = fmt.Sprintf(find[len(find)-1], r.PhysicalResourceId)
		if _, err := m.aws(t.Context(), find...); err != nil {
			t.Errorf("%s: %v", r.LogicalResourceId, err)
		}
		found[r.ResourceType]++
		if r.ResourceType == "AWS::Lambda::Function" { // whose permissions have no other place
			said, err := m.aws(t.Context(), "lambda", "get-policy", "--function-name", r.PhysicalResourceId, "--query", "Policy", "--output", "text")
			if err != nil {
				t.Errorf("permissions of %s: %v", r.LogicalResourceId, err)
			}
			permissions += strings.Count(said, `"Sid"`)
		}
	}
	if want := 4; permissions != want {
		t.Errorf("functions have %d permissions, want %d", permissions, want)
	}
	for kind, want := range map[string]int{
		"AWS::S3::Bucket": 2, "AWS::IAM::Role": 3, "AWS::Lambda::Function": 3, "AWS::Logs::LogGroup": 4, "AWS::Events::Rule": 1, "AWS::SSM::Parameter": 3,
		"AWS::CloudWatch::Dashboard": 1,
	} {
		if found[kind] != want {
			t.Errorf("%s: %d are there, want %d", kind, found[kind], want)
		}
	}
	t.Logf("%d resources of the stack, of which these were looked up: %v", len(list.StackResources), found)
}
