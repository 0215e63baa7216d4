package infra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"petpick/infra"
)

// mistakes are such as are made in one line, and find their way to AWS or past it.
var mistakes = []struct{ name, line, mistaken string }{
	{"a misspelled event of a function at the edge", "EventType: viewer-request", "EventType: viewer-requests"},
	{"old TLS to an origin", "OriginSSLProtocols: [TLSv1.2]", "OriginSSLProtocols: [TLSv1, TLSv1.2]"},
	{"HTTP to an origin", "OriginProtocolPolicy: https-only", "OriginProtocolPolicy: match-viewer"},
	{"methods that CloudFront does not take together", "AllowedMethods: [GET, HEAD, OPTIONS]", "AllowedMethods: [GET, OPTIONS]"},
	{"HTTP to the viewer", "ViewerProtocolPolicy: redirect-to-https", "ViewerProtocolPolicy: allow-all"},
	{"an unknown managed cache policy", "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "4135ea2d-6df8-44a3-9df3-4b5a84be39ae"},
	{"draws that are cached", "CachePolicyId: 4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "CachePolicyId: b2884449-e4de-46a7-ac36-70bc7f1ddd6d"},
	{"the viewer's Host for the API", "b689b0a8-53d0-40ab-baf2-68738e2966ac", "216adef6-5c7f-47e4-b989-5492eafa07d3"},
	{"errors that are kept", "{ ErrorCode: 503, ErrorCachingMinTTL: 0 }", "{ ErrorCode: 503, ErrorCachingMinTTL: 10 }"},
	{"a function at the edge that does not parse", "function handler(event) {", "function handler(event {"},
	{"a function at the edge that is not published", "AutoPublish: true", "AutoPublish: false"},
	{"a wrong protocol of the API", "ProtocolType: HTTP", "ProtocolType: HTTPS"},
	{"another payload format", `PayloadFormatVersion: "2.0"`, `PayloadFormatVersion: "1.0"`},
	{"a route key without a method", "RouteKey: GET /stats", "RouteKey: /stats"},
	{"a stage with a name", "StageName: $default", "StageName: prod"},
	{"throttling of a route that is not there", "        POST /uploads:\n", "        POST /uplaods:\n"},
	{"throttling before its route", "DependsOn: [UploadRoute, AnnounceRoute,", "DependsOn: [UploadRoute,"},
	{"a log that is no JSON", `"status":"$context.status"`, `"status":$context.status`},
	{"an integration that ends before its function", "TimeoutInMillis: 30000", "TimeoutInMillis: 10000"},
	{"the wrong bucket in a policy", `- !Sub "${IndexBucket.Arn}/*"`, `- !Sub "${PhotosBucket.Arn}/*"`},
	{"an ARN that is none", `!Sub "${PhotosBucket.Arn}/verdicts/*"`, `"arn:aws:s3::photos/verdicts/*"`},
	{"a misspelled condition", "AWS:SourceArn: !Sub", "AWS:SourceARNs: !Sub"},
	{"a misspelled transport condition", `aws:SecureTransport: "false"`, `aws:SecuredTransport: "false"`},
	{"a misspelled service", "Service: cloudfront.amazonaws.com", "Service: cloudfrond.amazonaws.com"},
	{"a misspelled service of a role", "Service: lambda.amazonaws.com", "Service: lamda.amazonaws.com"},
	{"a misspelled action", "Action: s3:DeleteObjectVersion", "Action: s3:DeleteObjectVersions"},
	{"every action", "Action: s3:DeleteObjectVersion", "Action: s3:*"},
	{"the random function may write", "                - !Ref \"AWS::NoValue\"\n              - Effect: Allow\n                Action: s3:GetObject\n",
		"                - !Ref \"AWS::NoValue\"\n              - Effect: Allow\n                Action: [s3:GetObject, s3:PutObject]\n"},
	{"a role that may not do what is needed", "Action: [s3:GetObject, s3:PutObject]", "Action: [s3:GetObject]"},
	{"one permission of the two that CloudFront needs", "InvokedViaFunctionUrl: true", "InvokedViaFunctionUrl: false"},
	{"a function URL for anyone", "AuthType: AWS_IAM\n      TargetFunctionArn", "AuthType: NONE\n      TargetFunctionArn"},
	{"access control of the wrong kind", "OriginAccessControlOriginType: lambda", "OriginAccessControlOriginType: s3"},
	{"requests that are not signed", "SigningBehavior: always", "SigningBehavior: no-override"},
	{"pictures that go with the stack", "DeletionPolicy: RetainExceptOnCreate", "DeletionPolicy: Delete"},
	{"a bucket that is open", "RestrictPublicBuckets: true", "RestrictPublicBuckets: false"},
	{"old versions that stay", "VersioningConfiguration:\n        Status: Enabled", "VersioningConfiguration:\n        Status: Suspended"},
	{"an index that expires", "Prefix: incoming/", "Prefix: in"},
	{"another architecture than is built", "Architectures: [arm64]", "Architectures: [x86_64]"},
	{"a memory limit above the memory", "GOMEMLIMIT: 1400MiB", "GOMEMLIMIT: 2000MiB"},
	{"a timeout that the alarm does not know", "Timeout: 29 #", "Timeout: 20 #"},
	{"an alarm that tells nobody", "OKActions: !If [HasEmail, [!Ref AlarmTopic], !Ref \"AWS::NoValue\"]\n      Namespace: AWS/CloudFront", "Namespace: AWS/CloudFront"},
	{"an alarm on a metric that is not there", "MetricName: 5xxErrorRate", "MetricName: 5XXErrorRate"},
	{"a formula on a metric that is not there", "MetricName: UrlRequestCount, Dimensions", "MetricName: UrlInvocations, Dimensions"},
	{"a formula on what it has not", "Expression: 100 * stale / draws", "Expression: 100 * stale / requests"},
	{"an alarm by the wrong dimension", "Name: DistributionId\n", "Name: Distribution\n"},
	{"an alarm that sleeps while nothing runs", "TreatMissingData: breaching", "TreatMissingData: ignore"},
	{"a formula of a metric that is not there", "100 * failed / answers", "100 * failed / answer"},
	{"a dashboard that does not parse", `["...", {"stat": "p99"}],`, `["...", {"stat": "p99"}]`},
	{"a dashboard without a metric of ours", `"FoldLosses"`, `"FoldLoss"`},
	{"an environment that names no parameter", `PETPICK_PUBLIC_URL_PARAMETER: !Sub "/petpick/${Stage}/public-url"`, `PETPICK_PUBLIC_URL_PARAMETER: !Sub "/petpick/${Stage}/url"`},
	{"the distribution in a function's environment, a circle", "PETPICK_STAGE: !Ref Stage", "PETPICK_STAGE: !Ref Distribution"},
	{"old TLS for a domain", "MinimumProtocolVersion: TLSv1.2_2021", "MinimumProtocolVersion: TLSv1_2016"},
	{"Lambda's own lines for each draw", "SystemLogLevel: WARN", "SystemLogLevel: INFO"},
	{"logs that stay", "RetentionInDays: !Ref LogDays", "RetentionInDays: 3653"},
	{"upkeep each hour", "rate(1 minute)", "rate(1 hour)"},
	{"a reference to nothing", "Role: !GetAtt TendRole.Arn", "Role: !GetAtt TendRoll.Arn"},
	{"pictures that may run scripts", `"sandbox; default-src 'none'"`, `"default-src *"`},
	{"an origin that the API does not allow", `AllowOrigins: ["*"]`, `AllowOrigins: ["https://example.com"]`},
	{"a misspelled property", "MemorySize: 1769", "MemorySzie: 1769"},
	{"a misspelled property of a bucket", "NoncurrentVersionExpiration:", "NonCurrentVersionExpiration:"},
	{"a property that is no number", "MaximumEventAgeInSeconds: 60", "MaximumEventAgeInSeconds: a minute"},
	{"a type that is not there", "Type: AWS::Lambda::EventInvokeConfig", "Type: AWS::Lambda::EventInvocationConfig"},
	{"a budget by the fortnight", "TimeUnit: MONTHLY", "TimeUnit: FORTNIGHTLY"},
	{"an alarm that compares in no known way", "ComparisonOperator: GreaterThanOrEqualToThreshold", "ComparisonOperator: GreaterOrEqual"},
	{"a kind of budget that is not there", "BudgetType: COST", "BudgetType: COSTS"},
	{"logs of a form that CloudFront does not have", "OutputFormat: json", "OutputFormat: jsonl"},
	{"a condition that is not there", "Condition: InVirginia", "Condition: InVirgina"},
}

// Each mistake is caught by the tests here, or by cfn-lint where that is installed.
func TestMistakes(t *testing.T) {
	linter, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Log("cfn-lint is not installed: what only it would catch is skipped")
	}
	if linter != "" { // or it would catch everything
		if out, err := exec.CommandContext(t.Context(), linter, "template.yaml").CombinedOutput(); err != nil {
			t.Fatalf("cfn-lint, of the template as it is: %v\n%s", err, out)
		}
	}
	caughtBy := map[string]int{}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			if !strings.Contains(string(infra.Template), m.line) {
				t.Fatalf("the template has no %q: nothing is mistaken", m.line)
			}
			mistaken := []byte(strings.Replace(string(infra.Template), m.line, m.mistaken, 1))
			if found := ownFaults(mistaken); len(found) > 0 {
				caughtBy["our tests"]++
				t.Log("caught by our tests:", found[0])
				return
			}
			if linter == "" {
				t.Skip("SKIPPED: our tests do not see it, and cfn-lint, which might, is not installed")
			}
			file := filepath.Join(t.TempDir(), "template.yaml")
			if err := os.WriteFile(file, mistaken, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), linter, file).CombinedOutput()
			if err == nil {
				t.Fatal("caught by nobody")
			}
			caughtBy["cfn-lint"]++
			t.Log("caught by cfn-lint:", strings.SplitN(string(out), "\n", 2)[0])
		})
	}
	t.Logf("%d mistakes, caught by %v", len(mistakes), caughtBy)
}

func ownFaults(template []byte) []string {
	faults := check(template)
	for function := range mayDo {
		faults = append(faults, roleFaults(template, function)...)
	}
	return faults
}
