package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"petpick/bench/page"
)

// TestREADMEIsFresh: what README and the page say is what the program computes of the files that are there.
func loaded(t *testing.T) *model {
	t.Helper()
	m, err := load("../..", workloadJSON)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestREADMEIsFresh(t *testing.T) {
	m := loaded(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	section, err := page.Between(string(readme), marker, m.section(m.date+"-cost"))
	if err != nil {
		t.Fatal(err)
	}
	if section != string(readme) {
		t.Error("README's costs are stale: make cost")
	}
	text, err := os.ReadFile(filepath.Join("../../bench/results", m.date+"-cost.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != m.page(m.date+"-cost") {
		t.Error("the page of costs is stale: make cost")
	}
	fresh, drawn := filepath.Join(t.TempDir(), "cost.svg"), ""
	if err := m.plot().Save(m.caption(), fresh); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{fresh, filepath.Join("../../bench/results", m.date+"-cost.svg")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if drawn != "" && string(text) != drawn {
			t.Error("the plot of costs is stale: make cost")
		}
		drawn = string(text)
	}
}

func TestTiers(t *testing.T) {
	p := price{Free: 100, Tiers: []tier{{1000, 0.5}, {2000, 0.25}, {0, 0.125}}}
	for _, c := range []struct{ n, want float64 }{{0, 0}, {100, 0}, {101, 0.5}, {1000, 450}, {1001, 450.25}, {2000, 700}, {3000, 825}} {
		if got := p.of(c.n); got != c.want {
			t.Errorf("%v units cost %v, want %v", c.n, got, c.want)
		}
	}
}

func TestPlans(t *testing.T) {
	m := loaded(t)
	for _, c := range []struct {
		use  usage
		plan string
	}{
		{usage{edgeRequests: 1e6, edgeBytes: 100}, "Free"}, {usage{edgeRequests: 1.02e6, edgeBytes: 100}, "Pro"}, {usage{edgeRequests: 1e6, edgeBytes: 102}, "Pro"},
		{usage{edgeRequests: 11e6, edgeBytes: 1}, "Business"}, {usage{edgeRequests: 7e9, edgeBytes: 1}, ""},
		// A billion draws and 10,000 uploads are 10,000 requests over the allowance of 2 billion.
		{usage{edgeRequests: 2*1e9 + 10_000, edgeBytes: 1}, "Premium, 2 billion"}, {usage{edgeRequests: 2.019e9, edgeBytes: 1}, "Premium, 2 billion"},
		{usage{edgeRequests: 2.021e9, edgeBytes: 1}, "Premium, 3.5 billion"}, {usage{edgeRequests: 1, edgeBytes: 204_800 * 1.02}, "Premium, 3.5 billion"},
	} {
		if name, _, ok := m.prices.flat(c.use); name != c.plan || ok != (c.plan != "") {
			t.Errorf("%v: the plan is %q, want %q", c.use, name, c.plan)
		}
	}
}

// TestCheckRefuses: a price that nobody can check, or a plan without numbers, is none.
func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*prices){
		"no source":            func(p *prices) { p.Prices[0].Source = "" },
		"a source in words":    func(p *prices) { p.Prices[0].Source = "AWS's public price list" },
		"not https":            func(p *prices) { p.Prices[0].Source = "http://aws.amazon.com/s3/pricing/" },
		"two sources in one":   func(p *prices) { p.Prices[0].Source = "https://aws.amazon.com/, https://aws.amazon.com/s3/" },
		"no date":              func(p *prices) { p.Prices[0].Date = "" },
		"no month":             func(p *prices) { p.Prices[0].Date = "2026" },
		"not how":              func(p *prices) { p.Prices[0].Known = "" },
		"no item":              func(p *prices) { p.Prices[0].Item = "" },
		"no tier":              func(p *prices) { p.Prices[0].Tiers = nil },
		"tiers out of order":   func(p *prices) { p.Prices[0].Tiers = []tier{{2, 1}, {1, 1}, {0, 1}} },
		"a tier for nothing":   func(p *prices) { p.Prices[0].Tiers = []tier{{0, 0}} },
		"a plan's source":      func(p *prices) { p.Plans[1].Source = "quoted by others" },
		"a plan's date":        func(p *prices) { p.Plans[1].Date = "lately" },
		"a plan's requests":    func(p *prices) { p.Plans[1].Requests = 0 },
		"a plan's GB":          func(p *prices) { p.Plans[1].GB = 0 },
		"a plan's price":       func(p *prices) { p.Plans[2].USD = p.Plans[1].USD },
		"a slack of a fifth":   func(p *prices) { p.PlanSlack = 0.2 },
		"a slack for no cause": func(p *prices) { p.PlanSlackWhy = "" },
	} {
		p := loaded(t).prices // read anew each time
		if spoil(&p); p.check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestAlarms: an alarm over an expression counts each metric that it reads, and not the expression.
func TestAlarms(t *testing.T) {
	m := &model{}
	err := m.template([]byte(`
Parameters: { WriteRate: { Default: 100 } }
Resources:
  RandomFunction: { Properties: { LoggingConfig: { SystemLogLevel: WARN } } }
  A: { Type: "AWS::CloudWatch::Alarm", Properties: { Namespace: AWS/Lambda, Dimensions: [{ Name: FunctionName, Value: !Ref UploadFunction }], OKActions: !If [a, [b], c] } }
  B: { Type: "AWS::CloudWatch::Alarm", Properties: { Namespace: petpick, Dimensions: [{ Name: Stage, Value: !Ref Stage }] } }
  C:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Metrics:
        - Expression: a + b
        - MetricStat: { Metric: { Namespace: AWS/Lambda, Dimensions: [{ Value: !Ref RandomFunction }] }, Period: 300 }
        - MetricStat: { Metric: { Namespace: AWS/Lambda, Dimensions: [{ Value: !Ref TendFunction }] }, Period: 300 }
`))
	if err != nil || m.alarms != 4 || m.indexAlarms != 2 || m.platformLogs {
		t.Errorf("%v metrics of alarms, %v of the index, platform logs %v, %v; want 4, 2, false", m.alarms, m.indexAlarms, m.platformLogs, err)
	}
}

// TestFoundAtTheEdge: no cache has what nobody has asked for yet.
func TestFoundAtTheEdge(t *testing.T) {
	m := byHand(t)
	// 100,000 pictures: x = 0.1, 1 and 10 questions each; 1 - (1 - e^-x)/x.
	for draws, want := range map[float64]float64{1e4: 1 - (1-0.904837)/0.1, 1e5: 0.367879, 1e6: 1 - (1-0.0000454)/10, 1e8: 0.95} {
		if got := m.found(draws); math.Abs(got-want) > 0.0001 {
			t.Errorf("%v draws: %.4f found, want %.4f", draws, got, want)
		}
	}
	m.work.BrowserHitRatio = 0.9 // a tenth of a million is asked for
	if got := m.found(1e6); math.Abs(got-0.367879) > 0.0001 {
		t.Errorf("with browsers' caches: %.4f found", got)
	}
}

// TestBreakEven: at the ratio, both cost the same.
func TestBreakEven(t *testing.T) {
	m := byHand(t)
	for _, d := range []float64{1e8, 1e9} {
		ratio := m.breakEven(d)
		other := total(m.prices.bill(m.throughLambda(d)))
		m.work.BrowserHitRatio = ratio
		if got := total(m.prices.bill(m.petpick(d))); ratio < 0.01 || ratio > 0.5 || math.Abs(got-other) > 0.01 {
			t.Errorf("%v draws: %.2f with %.4f in browsers' caches, %.2f through Lambda", d, got, ratio, other)
		}
		m.work.BrowserHitRatio = 0
	}
	m.work.S3GetMS = 5000 // Lambda is billed for the wait
	if got := m.breakEven(1e9); got != 0 {
		t.Errorf("where bytes through Lambda cost more anyway, %v is needed", got)
	}
}

func TestFreshnessCanFail(t *testing.T) {
	old := "a\n<!-- cost: begin -->\nx\n<!-- cost: end -->\nb\n"
	if got, err := page.Between(old, "cost", "y\n"); err != nil || got == old || !strings.Contains(got, "\ny\n") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := page.Between("a\n", "cost", "y\n"); err == nil {
		t.Error("a text without markers is no error")
	}
}
