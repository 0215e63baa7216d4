package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// prices is what AWS takes.
type prices struct {
	Currency string  `json:"currency"`
	Prices   []price `json:"prices"`
	Plans    []plan  `json:"plans"`
}

// price is of one thing that is metered each month.
type price struct {
	Name   string  `json:"name"`
	Item   string  `json:"item"` // as tables call it
	Unit   string  `json:"unit"`
	Free   float64 `json:"free"` // units that are always free
	Tiers  []tier  `json:"tiers"`
	Date   string  `json:"date"`
	Source string  `json:"source"`
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
	Date     string  `json:"date"`
	Source   string  `json:"source"`
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
		if x.Date == "" || x.Source == "" || x.Item == "" || len(x.Tiers) == 0 {
			return fmt.Errorf("prices.json: %q has no date, source, item or tier", x.Name)
		}
		for i, t := range x.Tiers {
			if last := i == len(x.Tiers)-1; last != (t.UpTo == 0) || i > 0 && !last && t.UpTo <= x.Tiers[i-1].UpTo {
				return fmt.Errorf("prices.json: the tiers of %q are not in order", x.Name)
			}
		}
	}
	for _, x := range p.Plans {
		if x.Date == "" || x.Source == "" {
			return fmt.Errorf("prices.json: the plan %q has no date or source", x.Name)
		}
	}
	return nil
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

// flat is the cheapest plan that the month fits, and the cost with it instead of CloudFront's own charges.
func (p *prices) flat(u usage) (name string, usd float64, ok bool) {
	bill := p.bill(u)
	rest := total(bill) - bill[edgeBytes] - bill[edgeRequests] - bill[edgeFunctions]
	fits := slices.DeleteFunc(slices.Clone(p.Plans), func(x plan) bool { return u[edgeRequests] > x.Requests || u[edgeBytes] > x.GB })
	if len(fits) == 0 {
		return "", 0, false
	}
	best := slices.MinFunc(fits, func(a, b plan) int { return cmp.Compare(a.USD, b.USD) })
	return best.Name, best.USD + rest, true
}
