package infra_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"go.yaml.in/yaml/v3"

	"petpick/infra"
	"petpick/src/edge"
	"petpick/src/gateway"
)

// What a linter of schemas cannot know of the template, or does not look at. TestMistakes shows that each is seen.
func TestTemplate(t *testing.T) {
	for _, fault := range check(infra.Template) {
		t.Error(fault)
	}
}

// check returns the faults of a template.
func check(src []byte) []string {
	c := &checker{}
	c.starts(src)
	// Once with nothing that is optional, once with all of it.
	for _, params := range []map[string]any{nil, everything} {
		resources, err := edge.Resources(src, params)
		if err != nil {
			return []string{err.Error()}
		}
		c.resources = resources
		c.references()
		c.buckets()
		c.policies()
		c.functions()
		c.throttling()
		c.api()
		c.invocations()
		c.parameters()
		c.distribution()
		c.edgePolicies()
		c.alarms()
		c.others()
		c.dashboard()
	}
	c.source(src)
	slices.Sort(c.faults)
	return slices.Compact(c.faults)
}

var everything = map[string]any{
	"AlarmEmail": "a@example.com", "MonthlyBudget": 10, "DomainName": "pets.example.com", "CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/0",
	"WebAclArn": "arn:aws:wafv2:us-east-1:000000000000:global/webacl/w/0", "OriginShieldRegion": "eu-central-1", "EdgeLogDays": 30,
	"RandomConcurrency": 5, "UploadConcurrency": 5, "Tracing": "Active",
}

type checker struct {
	resources map[string]edge.Resource
	faults    []string
}

func (c *checker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *checker) want(id, what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.fault("%s: %s is %v, want %v", id, what, got, want)
	}
}

// of are the resources of a type, in order, with a function that reads their properties.
func of[T any](c *checker, kind string, f func(id string, r edge.Resource, p T)) {
	n := 0
	for _, id := range slices.Sorted(maps.Keys(c.resources)) {
		r := c.resources[id]
		if r.Type != kind {
			continue
		}
		n++
		b, err := json.Marshal(r.Properties)
		var p T
		if err == nil {
			err = json.Unmarshal(b, &p)
		}
		if err != nil {
			c.fault("%s: %v", id, err)
			continue
		}
		f(id, r, p)
	}
	if n == 0 && !optional[kind] {
		c.fault("there is no %s", kind)
	}
}

var optional = map[string]bool{"AWS::CloudFront::CachePolicy": true, "AWS::SNS::TopicPolicy": true, "AWS::SNS::Topic": true, "AWS::Budgets::Budget": true}

// starts: the local edge serves by the template.
func (c *checker) starts(src []byte) {
	unused := errors.New("not called")
	_, err := edge.New(edge.Config{
		Template: src,
		APIs: map[string]gateway.API{"UploadFunction": func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
			return events.APIGatewayV2HTTPResponse{}, unused
		}},
		Functions: map[string]gateway.Function{"RandomFunction": func(context.Context, events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
			return events.LambdaFunctionURLResponse{}, unused
		}},
		Buckets: map[string]edge.Bucket{"PhotosBucket": {}},
	})
	if err != nil {
		c.fault("the edge: %v", err)
	}
}

var reference = regexp.MustCompile(`\$\{([A-Za-z0-9:]+)(?:\.([A-Za-z0-9.]+))?\}`)

// attributes are those that the template may ask for.
var attributes = map[string][]string{
	"AWS::S3::Bucket":                {"", "Arn", "RegionalDomainName"},
	"AWS::IAM::Role":                 {"", "Arn"},
	"AWS::Lambda::Function":          {"", "Arn"},
	"AWS::Lambda::Url":               {"FunctionUrl"},
	"AWS::Logs::LogGroup":            {"", "Arn"},
	"AWS::Logs::DeliveryDestination": {"Arn"},
	"AWS::Events::Rule":              {"Arn"},
	"AWS::CloudFront::Function":      {"FunctionMetadata.FunctionARN"},
	"AWS::CloudFront::Distribution":  {"", "DomainName"},
}

// references: everything that is named is there, and has what is asked of it.
func (c *checker) references() {
	for id, r := range c.resources {
		walk(r.Properties, func(s string) {
			for _, m := range reference.FindAllStringSubmatch(s, -1) {
				to, ok := c.resources[m[1]]
				known, listed := attributes[to.Type]
				if !ok || listed && !slices.Contains(known, m[2]) || !listed && m[2] != "" {
					c.fault("%s: %s leads nowhere", id, m[0])
				}
			}
		})
		for _, d := range list(r.DependsOn) {
			if _, ok := c.resources[d]; !ok {
				c.fault("%s: depends on %s, which is not there", id, d)
			}
		}
	}
}

func walk(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, e := range v {
			walk(e, f)
		}
	case map[string]any:
		for _, e := range v {
			walk(e, f)
		}
	}
}

// list is a text, or a list of them.
func list(v any) []string {
	var all []string
	walk(v, func(s string) { all = append(all, s) })
	return all
}

func (c *checker) buckets() {
	type bucket struct {
		PublicAccessBlockConfiguration map[string]bool
		OwnershipControls              struct{ Rules []map[string]string }
		BucketEncryption               struct {
			ServerSideEncryptionConfiguration []any
		}
		VersioningConfiguration map[string]string
		LifecycleConfiguration  struct {
			Rules []struct {
				Prefix, Status                 string
				ExpirationInDays               int
				NoncurrentVersionExpiration    map[string]int
				AbortIncompleteMultipartUpload map[string]int
			}
		}
	}
	of(c, "AWS::S3::Bucket", func(id string, r edge.Resource, b bucket) {
		for _, block := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
			c.want(id, block, b.PublicAccessBlockConfiguration[block], true)
		}
		c.want(id, "ownership", b.OwnershipControls.Rules, "[map[ObjectOwnership:BucketOwnerEnforced]]")
		c.want(id, "rules of encryption", len(b.BucketEncryption.ServerSideEncryptionConfiguration), 1)
		rules := fmt.Sprintf("%+v", b.LifecycleConfiguration.Rules)
		if !strings.Contains(rules, "DaysAfterInitiation:1") || strings.Contains(rules, "Disabled") {
			c.fault("%s: the rest of a broken upload stays: %s", id, rules)
		}
		switch id {
		case "PhotosBucket":
			c.want(id, "DeletionPolicy and UpdateReplacePolicy", r.DeletionPolicy+" "+r.UpdateReplacePolicy, "RetainExceptOnCreate Retain")
			c.want(id, "versioning", b.VersioningConfiguration["Status"], "Enabled")
			if strings.Contains(rules, "ExpirationInDays:0") && !strings.Contains(rules, "NoncurrentDays:7") {
				c.fault("%s: old versions stay: %s", id, rules)
			}
			for _, rule := range b.LifecycleConfiguration.Rules {
				c.want(id, "expiry of pictures", rule.ExpirationInDays, 0)
			}
		case "IndexBucket":
			for _, rule := range b.LifecycleConfiguration.Rules {
				if rule.ExpirationInDays > 0 && rule.Prefix != "incoming/" {
					c.fault("%s: the index expires: %+v", id, rule)
				}
			}
			if !strings.Contains(rules, "{Prefix:incoming/ Status:Enabled ExpirationInDays:1") {
				c.fault("%s: what nobody completes stays: %s", id, rules)
			}
		}
	})
}

type statement struct {
	Effect                      string
	Principal, Action, Resource any
	Condition                   map[string]map[string]any
}

type policyDocument struct {
	Version   string
	Statement []statement
}

// The words of policies that the template uses. A misspelled one is valid for a linter, and grants nothing or everything.
var (
	conditions = map[string][]string{
		"Bool":         {"aws:SecureTransport"},
		"StringEquals": {"AWS:SourceArn", "aws:SourceArn", "aws:SourceAccount"},
		"ArnLike":      {"aws:SourceArn"},
	}
	principals = []string{"lambda.amazonaws.com", "cloudfront.amazonaws.com", "apigateway.amazonaws.com", "events.amazonaws.com", "cloudwatch.amazonaws.com", "delivery.logs.amazonaws.com"}
	actions    = []string{
		"s3:*", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucket", "s3:ListBucketVersions",
		"ssm:GetParameter", "ssm:GetParametersByPath", "logs:CreateLogStream", "logs:PutLogEvents", "cloudfront:CreateInvalidation", "sts:AssumeRole", "sns:Publish",
		"xray:PutTraceSegments", "xray:PutTelemetryRecords",
	}
	arns = regexp.MustCompile(`^(\$\{\w+Bucket\.Arn\}(/[\w*/]+)?|\$\{\w+Logs\.Arn\}|\$\{AlarmTopic\}|arn:aws:(ssm:us-east-1:000000000000:parameter/petpick/dev/|cloudfront::000000000000:distribution/\$\{Distribution\}).*)$`)
)

func (c *checker) policies() {
	tlsOnly := map[string]bool{}
	of(c, "AWS::S3::BucketPolicy", func(id string, _ edge.Resource, p struct {
		Bucket         string
		PolicyDocument policyDocument
	}) {
		own := strings.TrimSuffix(p.Bucket, "}") + ".Arn}"
		c.words(id, p.PolicyDocument, func(resource string) bool { return resource == own || strings.HasPrefix(resource, own+"/") })
		tlsOnly[p.Bucket] = deniesPlainHTTP(p.PolicyDocument, own, own+"/*")
		for _, s := range p.PolicyDocument.Statement {
			if s.Effect == "Allow" && strings.Contains(fmt.Sprint(s.Action), "List") {
				c.fault("%s: grants listing: keys would be told", id)
			}
			if s.Effect == "Allow" && !strings.Contains(fmt.Sprint(s.Condition), "Source") {
				c.fault("%s: anyone's distribution may use it: %v", id, s)
			}
		}
	})
	of(c, "AWS::S3::Bucket", func(id string, _ edge.Resource, _ struct{}) {
		c.want(id, "a policy that denies HTTP without TLS", tlsOnly["${"+id+"}"], true)
	})
	role := func(resource string) bool { return arns.MatchString(resource) }
	of(c, "AWS::IAM::Role", func(id string, _ edge.Resource, p struct {
		AssumeRolePolicyDocument policyDocument
		Policies                 []struct{ PolicyDocument policyDocument }
	}) {
		c.words(id, p.AssumeRolePolicyDocument, nil)
		c.want(id, "who may take it", fmt.Sprint(p.AssumeRolePolicyDocument.Statement[0].Principal), "map[Service:lambda.amazonaws.com]")
		for _, p := range p.Policies {
			c.words(id, p.PolicyDocument, role)
		}
	})
	of(c, "AWS::IAM::Policy", func(id string, _ edge.Resource, p struct{ PolicyDocument policyDocument }) {
		c.words(id, p.PolicyDocument, role)
	})
	of(c, "AWS::SNS::TopicPolicy", func(id string, _ edge.Resource, p struct{ PolicyDocument policyDocument }) {
		c.words(id, p.PolicyDocument, func(resource string) bool { return resource == "${AlarmTopic}" })
		c.want(id, "denies HTTP without TLS", deniesPlainHTTP(p.PolicyDocument, "${AlarmTopic}"), true)
	})
}

func deniesPlainHTTP(d policyDocument, resources ...string) bool {
	return slices.ContainsFunc(d.Statement, func(s statement) bool {
		return s.Effect == "Deny" && s.Principal == "*" && fmt.Sprint(s.Condition) == "map[Bool:map[aws:SecureTransport:false]]" && fmt.Sprint(list(s.Resource)) == fmt.Sprint(resources)
	})
}

func (c *checker) words(id string, d policyDocument, resource func(string) bool) {
	c.want(id, "policy version", d.Version, "2012-10-17")
	for _, s := range d.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			c.fault("%s: effect %q", id, s.Effect)
		}
		for _, a := range list(s.Action) {
			if !slices.Contains(actions, a) || s.Effect == "Allow" && strings.HasSuffix(a, "*") {
				c.fault("%s: action %q", id, a)
			}
		}
		for _, p := range list(s.Principal) {
			if !slices.Contains(principals, p) && (p != "*" || s.Effect != "Deny") {
				c.fault("%s: principal %q", id, p)
			}
		}
		for _, r := range list(s.Resource) {
			if r == "*" && !slices.ContainsFunc(list(s.Action), func(a string) bool { return !strings.HasPrefix(a, "xray:Put") }) {
				continue // X-Ray has nothing to name
			}
			if resource == nil || !resource(r) {
				c.fault("%s: resource %q", id, r)
			}
		}
		for operator, keys := range s.Condition {
			for key := range keys {
				if !slices.Contains(conditions[operator], key) {
					c.fault("%s: condition %s %q", id, operator, key)
				}
			}
		}
	}
}

type function struct {
	Runtime, Handler, Code, Role string
	Architectures                []string
	MemorySize, Timeout          int
	ReservedConcurrentExecutions int
	TracingConfig                struct{ Mode string }
	LoggingConfig                struct{ LogFormat, LogGroup, SystemLogLevel string }
	Environment                  struct{ Variables map[string]string }
}

func (c *checker) functions() {
	of(c, "AWS::Lambda::Function", func(id string, _ edge.Resource, f function) {
		name := strings.TrimSuffix(id, "Function")
		c.want(id, "runtime, handler and architecture", fmt.Sprint(f.Runtime, f.Handler, f.Architectures), "provided.al2023bootstrap[arm64]")
		c.want(id, "code", f.Code, "../build/"+strings.ToLower(name)+".zip")
		c.want(id, "role", f.Role, "${"+name+"Role.Arn}")
		c.want(id, "log group", f.LoggingConfig.LogGroup, "${"+name+"Logs}")
		c.want(id, "log format", f.LoggingConfig.LogFormat, "JSON")
		limit, err := strconv.Atoi(strings.TrimSuffix(f.Environment.Variables["GOMEMLIMIT"], "MiB"))
		if err != nil || limit > f.MemorySize*8/10 || limit < f.MemorySize/2 {
			c.fault("%s: GOMEMLIMIT %d of %d MB: over 80%%, and the function is killed before Go collects", id, limit, f.MemorySize)
		}
		c.want(id, "buckets and stage", fmt.Sprint(f.Environment.Variables["PETPICK_PHOTOS_BUCKET"], f.Environment.Variables["PETPICK_INDEX_BUCKET"], f.Environment.Variables["PETPICK_STAGE"]),
			"${PhotosBucket}${IndexBucket}dev")
		if id == "RandomFunction" {
			c.want(id, "SystemLogLevel", f.LoggingConfig.SystemLogLevel, "WARN")
		}
	})
	of(c, "AWS::Logs::LogGroup", func(id string, r edge.Resource, g struct{ RetentionInDays int }) {
		c.want(id, "days", g.RetentionInDays, 30)
		c.want(id, "DeletionPolicy", r.DeletionPolicy, "Delete")
	})
}

// throttling: an API's stage takes settings of routes that are there before it, and of no other.
func (c *checker) throttling() {
	type settings struct{ ThrottlingBurstLimit, ThrottlingRateLimit int }
	routes := map[string]string{}
	of(c, "AWS::ApiGatewayV2::Route", func(id string, _ edge.Resource, r struct{ RouteKey string }) { routes[r.RouteKey] = id })
	of(c, "AWS::ApiGatewayV2::Stage", func(id string, r edge.Resource, s struct {
		StageName            string
		AutoDeploy           bool
		DefaultRouteSettings settings
		RouteSettings        map[string]settings
		AccessLogSettings    struct{ DestinationArn, Format string }
	}) {
		c.want(id, "AutoDeploy", s.AutoDeploy, true)
		c.want(id, "throttling", s.DefaultRouteSettings, settings{500, 1000})
		for key, id := range routes {
			_, set := s.RouteSettings[key]
			if writes := strings.HasPrefix(key, "POST") || strings.HasPrefix(key, "DELETE") || strings.HasPrefix(key, "PATCH"); writes != set {
				c.fault("%s: a route that writes has limits of its own, others have not: %t", id, set)
			}
		}
		for key, limits := range s.RouteSettings {
			c.want(id, key, limits, settings{200, 100})
			if !slices.Contains(list(r.DependsOn), routes[key]) {
				c.fault("%s: settings of %s, without DependsOn on its route %q", id, key, routes[key])
			}
		}
		c.want(id, "log", s.AccessLogSettings.DestinationArn, "${ApiLogs.Arn}")
		line := map[string]string{}
		if err := json.Unmarshal([]byte(s.AccessLogSettings.Format), &line); err != nil || line["status"] != "$context.status" || line["request_id"] != "$context.requestId" {
			c.fault("%s: the log's format: %v, %v", id, err, line)
		}
	})
}

var routeKey = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|ANY) (/|(/([a-z.]+|\{[a-z]+\+?\}))+)$`)

func (c *checker) api() {
	of(c, "AWS::ApiGatewayV2::Api", func(id string, _ edge.Resource, a struct {
		ProtocolType      string
		CorsConfiguration map[string]any
	}) {
		c.want(id, "ProtocolType", a.ProtocolType, "HTTP")
		c.want(id, "AllowOrigins", a.CorsConfiguration["AllowOrigins"], "[*]")
	})
	seen := map[string]bool{}
	of(c, "AWS::ApiGatewayV2::Route", func(id string, _ edge.Resource, r struct{ RouteKey string }) {
		if r.RouteKey != "$default" && !routeKey.MatchString(r.RouteKey) || seen[r.RouteKey] {
			c.fault("%s: route key %q", id, r.RouteKey)
		}
		seen[r.RouteKey] = true
	})
	c.want("Api", "there is a $default route", seen["$default"], true)
	var longest int
	of(c, "AWS::Lambda::Function", func(id string, _ edge.Resource, f function) {
		if id == "UploadFunction" {
			longest = f.Timeout
		}
	})
	of(c, "AWS::ApiGatewayV2::Integration", func(id string, _ edge.Resource, i struct {
		IntegrationType, PayloadFormatVersion string
		TimeoutInMillis                       int
	}) {
		c.want(id, "type and payload", i.IntegrationType+i.PayloadFormatVersion, "AWS_PROXY2.0")
		if i.TimeoutInMillis <= longest*1000 || i.TimeoutInMillis > 30000 {
			c.fault("%s: %d ms, and the function has %d s: it must end first", id, i.TimeoutInMillis, longest)
		}
	})
}

// invocations: who may call which function, and from where.
func (c *checker) invocations() {
	const distribution = "arn:aws:cloudfront::000000000000:distribution/${Distribution}"
	got := map[string]bool{}
	of(c, "AWS::Lambda::Permission", func(_ string, _ edge.Resource, p struct {
		Action, FunctionName, Principal, SourceArn, FunctionUrlAuthType string
		InvokedViaFunctionUrl                                           bool
	}) {
		got[fmt.Sprint(p.Action, " ", p.FunctionName, " ", p.Principal, " ", p.SourceArn, " ", p.FunctionUrlAuthType, " ", p.InvokedViaFunctionUrl)] = true
	})
	want := map[string]bool{
		"lambda:InvokeFunctionUrl ${RandomFunction.Arn} cloudfront.amazonaws.com " + distribution + " AWS_IAM false":                      true,
		"lambda:InvokeFunction ${RandomFunction.Arn} cloudfront.amazonaws.com " + distribution + "  true":                                 true,
		"lambda:InvokeFunction ${UploadFunction.Arn} apigateway.amazonaws.com arn:aws:execute-api:us-east-1:000000000000:${Api}/*  false": true,
		"lambda:InvokeFunction ${TendFunction.Arn} events.amazonaws.com ${TendSchedule.Arn}  false":                                       true,
	}
	if !maps.Equal(got, want) {
		c.fault("who may call which function: %v, want %v", got, want)
	}
	of(c, "AWS::Lambda::Url", func(id string, _ edge.Resource, u struct{ AuthType string }) {
		c.want(id, "AuthType", u.AuthType, "AWS_IAM")
	})
	of(c, "AWS::Events::Rule", func(id string, _ edge.Resource, r struct {
		ScheduleExpression, State string
		Targets                   []struct{ Arn string }
	}) {
		c.want(id, "schedule", r.ScheduleExpression+r.State, "rate(1 minute)")
		c.want(id, "target", r.Targets, "[{${TendFunction.Arn}}]")
	})
	of(c, "AWS::Lambda::EventInvokeConfig", func(id string, _ edge.Resource, i struct {
		Qualifier            string
		MaximumRetryAttempts *int
	}) {
		if i.MaximumRetryAttempts == nil || *i.MaximumRetryAttempts != 0 || i.Qualifier != "$LATEST" {
			c.fault("%s: %+v: retries pile up", id, i)
		}
	})
}

// parameters: what the functions read stands under the names that they are told, and may be read.
func (c *checker) parameters() {
	names := map[string]string{}
	of(c, "AWS::SSM::Parameter", func(_ string, _ edge.Resource, p struct{ Name, Value string }) { names[p.Name] = p.Value })
	of(c, "AWS::Lambda::Function", func(id string, _ edge.Resource, f function) {
		for key, name := range f.Environment.Variables {
			if strings.HasSuffix(key, "_PARAMETER") && names[name] == "" {
				c.fault("%s: %s names %q, which is not there", id, key, name)
			}
		}
	})
	if v := names["/petpick/dev/public-url"]; v != "https://${Distribution.DomainName}" && v != "https://pets.example.com" {
		c.fault("the public URL is %q", v)
	}
	c.want("SSM", "/petpick/dev/distribution", names["/petpick/dev/distribution"], "${Distribution}")
}

// source: what is only in the text.
func (c *checker) source(src []byte) {
	var top struct {
		Parameters map[string]struct {
			Description    string `yaml:"Description"`
			AllowedPattern string `yaml:"AllowedPattern"`
			Default        any    `yaml:"Default"`
			MinValue       any    `yaml:"MinValue"`
			AllowedValues  []any  `yaml:"AllowedValues"`
		} `yaml:"Parameters"`
		Outputs map[string]struct {
			Description string `yaml:"Description"`
		} `yaml:"Outputs"`
	}
	if err := yaml.Unmarshal(src, &top); err != nil {
		c.fault("%v", err)
		return
	}
	if len(top.Parameters) == 0 {
		c.fault("no parameters")
	}
	for name, p := range top.Parameters {
		if p.Description == "" || p.Default == nil {
			c.fault("parameter %s: no description, or no default", name)
		}
		if p.AllowedPattern == "" && len(p.AllowedValues) == 0 && p.MinValue == nil {
			c.fault("parameter %s: takes anything", name)
		}
		if _, err := regexp.Compile(p.AllowedPattern); err != nil {
			c.fault("parameter %s: %v", name, err)
		}
	}
	for _, name := range []string{"Url", "ApiUrl", "PhotosBucketName", "IndexBucketName", "DashboardUrl", "NextCommand"} {
		if top.Outputs[name].Description == "" {
			c.fault("output %s is not there, or has no description", name)
		}
	}
	if strings.Contains(string(src), "<<:") {
		c.fault("CloudFormation merges no mappings")
	}
}

func (c *checker) alarms() {
	timeouts := map[string]int{}
	of(c, "AWS::Lambda::Function", func(id string, _ edge.Resource, f function) { timeouts["${"+id+"}"] = f.Timeout })
	topics := 0
	of(c, "AWS::SNS::Topic", func(string, edge.Resource, struct{}) { topics++ })
	slow, names := map[string]bool{}, map[string]bool{}
	of(c, "AWS::CloudWatch::Alarm", func(id string, _ edge.Resource, a alarm) {
		names[a.AlarmName] = true
		c.want(id, "actions", len(a.AlarmActions), topics)
		c.want(id, "actions when well again", len(a.OKActions), topics)
		if a.AlarmDescription == "" || a.TreatMissingData == "" || a.EvaluationPeriods == 0 || a.ComparisonOperator == "" {
			c.fault("%s: something is missing: %+v", id, a)
		}
		late := a.Namespace == "AWS/Lambda" && a.MetricName == "Invocations"
		c.want(id, "missing data", a.TreatMissingData, map[bool]string{true: "breaching", false: "notBreaching"}[late])
		if a.ExtendedStatistic == "p99" {
			f := a.Dimensions[0].Value
			slow[f] = true
			c.want(id, "80% of the timeout in ms", a.Threshold, timeouts[f]*800)
		}
		for _, m := range a.metrics() {
			c.metric(id, m)
		}
		c.expression(id, a)
	})
	c.want("alarms", "functions whose time is watched", len(slow), len(timeouts))
	for _, name := range []string{
		"upload-errors", "random-errors", "tend-failing", "tend-late", "throttled", "concurrency", "upload-slow", "random-slow", "tend-slow",
		"api-failing", "random-failing", "random-refusing", "edge-failing", "edge-refusing", "stale", "journal-backlog",
	} {
		c.want("alarms", name, names["petpick-dev-"+name], true)
	}
}

// others have words of their own, which schemas leave open.
func (c *checker) others() {
	for _, w := range []struct{ kind, path, want string }{
		{"AWS::Budgets::Budget", "Budget.BudgetType", "COST"},
		{"AWS::Budgets::Budget", "Budget.TimeUnit", "MONTHLY"},
		{"AWS::Budgets::Budget", "Budget.BudgetLimit", "map[Amount:10 Unit:USD]"},
		{"AWS::Logs::DeliverySource", "LogType", "ACCESS_LOGS"},
		{"AWS::Logs::DeliveryDestination", "OutputFormat", "json"},
		{"AWS::SNS::Topic", "Subscription", "[map[Endpoint:a@example.com Protocol:email]]"},
	} {
		for id, r := range c.resources {
			if r.Type != w.kind {
				continue
			}
			v := r.Properties
			for name := range strings.SplitSeq(w.path, ".") {
				m, _ := v.(map[string]any)
				v = m[name]
			}
			c.want(id, w.path, v, w.want)
		}
	}
}

type (
	dimension struct{ Name, Value string }
	metric    struct {
		Namespace, MetricName string
		Dimensions            []dimension
	}
	alarm struct {
		metric
		AlarmName, AlarmDescription, ComparisonOperator, TreatMissingData string
		Statistic, ExtendedStatistic                                      string
		AlarmActions, OKActions                                           []string
		Threshold                                                         float64
		EvaluationPeriods                                                 int
		Metrics                                                           []struct {
			ID         string `json:"Id"`
			Expression string
			ReturnData *bool
			MetricStat *struct{ Metric metric }
		}
	}
)

func (a alarm) metrics() []metric {
	if len(a.Metrics) == 0 {
		return []metric{a.metric}
	}
	var all []metric
	for _, m := range a.Metrics {
		if m.MetricStat != nil {
			all = append(all, m.MetricStat.Metric)
		}
	}
	return all
}

// ours are the metrics that the functions write, by their dimensions.
var ours = map[string]string{
	"Refreshes": "Stage", "RefreshFailures": "Stage", "StaleDraws": "Stage", "ColdStarts": "Stage", "FoldAttempts": "Stage", "FoldLosses": "Stage",
	"JournalBacklog": "Stage", "Pictures": "Stage", "Uploads": "Stage,Result",
}

// theirs are AWS's metrics, by their dimensions. One that is not, or with others, is valid and never has data.
var theirs = map[string]map[string]string{
	"AWS/Lambda": {
		"Errors": "FunctionName", "Invocations": "FunctionName", "Throttles": "FunctionName", "Duration": "FunctionName", "ConcurrentExecutions": "",
		"Url4xxCount": "FunctionName", "Url5xxCount": "FunctionName", "UrlRequestCount": "FunctionName",
	},
	"AWS/ApiGateway": {"Count": "ApiId", "4xx": "ApiId", "5xx": "ApiId", "Latency": "ApiId"},
	"AWS/CloudFront": {
		"Requests": "DistributionId,Region", "BytesDownloaded": "DistributionId,Region", "4xxErrorRate": "DistributionId,Region", "5xxErrorRate": "DistributionId,Region",
	},
	"petpick": ours,
}

func (c *checker) metric(id string, m metric) {
	var names []string
	for _, d := range m.Dimensions {
		names = append(names, d.Name)
		if d.Value == "" {
			c.fault("%s: dimension %s has no value", id, d.Name)
		}
	}
	want, known := theirs[m.Namespace][m.MetricName]
	if got := strings.Join(names, ","); !known || got != want {
		c.fault("%s: there is no metric %s %s by %q", id, m.Namespace, m.MetricName, got)
	}
}

var word = regexp.MustCompile(`[a-z]\w*`)

// expression: a formula names metrics that are there, and is all that is returned.
func (c *checker) expression(id string, a alarm) {
	ids, returned := map[string]bool{}, 0
	for _, m := range a.Metrics {
		ids[m.ID] = true
		if m.ReturnData == nil || *m.ReturnData {
			returned++
		}
	}
	if len(a.Metrics) > 0 && returned != 1 {
		c.fault("%s: returns %d series, want one", id, returned)
	}
	for _, m := range a.Metrics {
		for _, name := range word.FindAllString(m.Expression, -1) {
			if !ids[name] {
				c.fault("%s: %q has no metric %s", id, m.Expression, name)
			}
		}
	}
}

func (c *checker) dashboard() {
	shown := map[string]bool{}
	of(c, "AWS::CloudWatch::Dashboard", func(id string, _ edge.Resource, d struct{ DashboardBody string }) {
		var body struct {
			Widgets []struct {
				Properties struct {
					Title, Region string
					Metrics       [][]any
				}
			}
		}
		if err := json.Unmarshal([]byte(d.DashboardBody), &body); err != nil || len(body.Widgets) < 8 {
			c.fault("%s: %d widgets, %v", id, len(body.Widgets), err)
			return
		}
		for _, w := range body.Widgets {
			var last []string
			for _, row := range w.Properties.Metrics {
				last = texts(row, last)
				if search := regexp.MustCompile(`SEARCH\('\{(\w+),([\w,]+)\} MetricName="(\w+)"`).FindStringSubmatch(fmt.Sprint(row)); search != nil {
					shown[search[3]] = true
					c.want(id, search[3], search[1]+" "+search[2], "petpick "+ours[search[3]])
					continue
				}
				m := metric{Namespace: last[0], MetricName: last[1]}
				for i := 2; i+1 < len(last); i += 2 {
					m.Dimensions = append(m.Dimensions, dimension{last[i], last[i+1]})
				}
				c.metric(id+", "+w.Properties.Title, m)
				shown[m.MetricName] = true
			}
		}
	})
	for name := range ours {
		c.want("Dashboard", "shows "+name, shown[name], true)
	}
}

// texts are a row's names; "." repeats the name above it, "..." all of them.
func texts(row []any, above []string) []string {
	var names []string
	for _, v := range row {
		s, ok := v.(string)
		switch {
		case !ok:
		case s == "...":
			return above
		case s == "." && len(names) < len(above):
			names = append(names, above[len(names)])
		default:
			names = append(names, s)
		}
	}
	return names
}
