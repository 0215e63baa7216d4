package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// prices is what AWS takes.
type prices struct {
	Currency string  `json:"currency"`
	Prices   []price `json:"prices"`
	Plans    []plan  `json:"plans"`
	// PlanSlack is by what share of its allowance a month may be over a plan's.
	PlanSlack    float64 `json:"plan_slack"`
	PlanSlackWhy string  `json:"plan_slack_why"`
}

// origin is where a price is from.
type origin struct {
	Date   string `json:"date"`   // year and month
	Source string `json:"source"` // the document that has it
	Known  string `json:"known"`  // how the document was read
}

// price is of one thing that is metered each month.
type price struct {
	Name  string  `json:"name"`
	Item  string  `json:"item"` // as tables call it
	Unit  string  `json:"unit"`
	Free  float64 `json:"free"` // units that are always free
	Tiers []tier  `json:"tiers"`
	origin
}

// tier is the price of a unit up to so many; the last tier has no end. The free units count.
type tier struct {
	UpTo float64 `json:"up_to"`
	USD  float64 `json:"usd"`
}

// plan is CloudFront's flat rate: so many requests and GB, and no other charge of CloudFront's.
type plan struct {
	Name     string  `json:"name"`
	USD      float64 `json:"usd"`
	Requests float64 `json:"requests"`
	GB       float64 `json:"gb"`
	origin
}

// The names that the model uses.
const (
	edgeBytes, edgeRequests, edgeFunctions = "edge bytes", "edge requests", "edge functions"
	lambdaRequests, lambdaCompute          = "lambda requests", "lambda compute"
	apiRequests                            = "api"
	s3Reads, s3Writes, s3Storage           = "s3 reads", "s3 writes", "s3 storage"
	logs, alarms, metrics                  = "logs", "alarms", "metrics"
	dynamoReads, dynamoWrites              = "dynamodb reads", "dynamodb writes"
)

// check refuses a price that nobody can check.
func (p *prices) check() error {
	for _, x := range p.Prices {
		if err := x.check(); err != nil {
			return fmt.Errorf("prices.json: %q: %w", x.Name, err)
		}
	}
	for i, x := range p.Plans {
		err := x.check()
		if err == nil && (x.Requests <= 0 || x.GB <= 0 || x.USD < 0) {
			err = errors.New("requests and GB must be above 0, USD not below")
		}
		if err == nil && i > 0 && (x.USD <= p.Plans[i-1].USD || x.Requests <= p.Plans[i-1].Requests || x.GB < p.Plans[i-1].GB) {
			err = errors.New("not larger and dearer than the plan before")
		}
		if err != nil {
			return fmt.Errorf("prices.json: plan %q: %w", x.Name, err)
		}
	}
	if p.PlanSlack < 0 || p.PlanSlack > 0.05 || p.PlanSlackWhy == "" {
		return errors.New("prices.json: plan_slack must be from 0 to 0.05, and have a reason")
	}
	return nil
}

func (o origin) check() error {
	if _, err := time.Parse("2006-01", o.Date); err != nil {
		return fmt.Errorf("date: %w", err)
	}
	if at, err := url.Parse(o.Source); err != nil || at.Scheme != "https" || at.Host == "" || strings.ContainsAny(o.Source, " ,") {
		return fmt.Errorf("source %q is not one https URL", o.Source)
	}
	if o.Known == "" {
		return errors.New("it is not said how the source was read")
	}
	return nil
}

func (p price) check() error {
	if p.Item == "" || p.Unit == "" || len(p.Tiers) == 0 || p.Free < 0 {
		return errors.New("no item, unit or tier, or less than nothing free")
	}
	for i, t := range p.Tiers {
		if last := i == len(p.Tiers)-1; last != (t.UpTo == 0) || i > 0 && !last && t.UpTo <= p.Tiers[i-1].UpTo {
			return errors.New("the tiers are not in order")
		}
		if t.USD <= 0 {
			return errors.New("a tier costs nothing")
		}
	}
	return p.origin.check()
}

// of is what n units cost.
func (p price) of(n float64) (usd float64) {
	from := min(p.Free, n)
	for _, t := range p.Tiers {
		to := n
		if t.UpTo > 0 {
			to = min(n, t.UpTo)
		}
		if to > from {
			usd += (to - from) * t.USD
			from = to
		}
	}
	return usd
}

// usage is what is metered in a month, by the names of prices.
type usage map[string]float64

func (u usage) add(v usage, times float64) {
	for name, n := range v {
		u[name] += n * times
	}
}

// bill is the cost of each price's units.
func (p *prices) bill(u usage) map[string]float64 {
	bill := map[string]float64{}
	for name, n := range u {
		i := slices.IndexFunc(p.Prices, func(x price) bool { return x.Name == name })
		if i < 0 {
			panic("prices.json has no " + name)
		}
		bill[name] = p.Prices[i].of(n)
	}
	return bill
}

// total adds in the order of names: a sum of floats in another order can be another number.
func total(bill map[string]float64) (usd float64) {
	for _, name := range slices.Sorted(maps.Keys(bill)) {
		usd += bill[name]
	}
	return usd
}

// flat is the cheapest plan that the month fits, but for the slack, and the cost with it instead of CloudFront's own charges.
func (p *prices) flat(u usage) (name string, usd float64, ok bool) {
	bill := p.bill(u)
	rest := total(bill) - bill[edgeBytes] - bill[edgeRequests] - bill[edgeFunctions]
	fits := slices.DeleteFunc(slices.Clone(p.Plans), func(x plan) bool {
		return u[edgeRequests] > x.Requests*(1+p.PlanSlack) || u[edgeBytes] > x.GB*(1+p.PlanSlack)
	})
	if len(fits) == 0 {
		return "", 0, false
	}
	best := slices.MinFunc(fits, func(a, b plan) int { return cmp.Compare(a.USD, b.USD) })
	return best.Name, best.USD + rest, true
}
