// Command cost computes what the service costs a month, by item, from three files: prices.json (each figure with its date and source),
// workload.json (what is assumed), and what bench/invoke has measured. Other ways to build it are priced by the same program. It writes
// the README's table and a page.
//
//	go run ./bench/cost            # README.md and bench/results/<date of the measurement>-cost.md and .svg
//	go run ./bench/cost -workload mine.json -print
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"petpick/bench/page"
	"petpick/infra"
)

//go:embed prices.json
var pricesJSON []byte

//go:embed workload.json
var workloadJSON []byte

func main() {
	root := flag.String("root", ".", "the repository")
	workload := flag.String("workload", "", "another workload than bench/cost/workload.json")
	print := flag.Bool("print", false, "print the page and write nothing")
	flag.Parse()
	if err := run(*root, *workload, *print); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(root, workload string, print bool) error {
	text := workloadJSON
	if workload != "" {
		var err error
		if text, err = os.ReadFile(workload); err != nil {
			return err
		}
	}
	m, err := load(root, text)
	if err != nil {
		return err
	}
	if print {
		_, err := fmt.Println(m.page("cost"))
		return err
	}
	name := m.date + "-cost"
	results := filepath.Join(root, "bench/results", name)
	readme := filepath.Join(root, "README.md")
	old, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	fresh, err := page.Between(string(old), marker, m.section(name))
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	return errors.Join(
		os.WriteFile(readme, []byte(fresh), 0o644),
		os.WriteFile(results+".md", []byte(m.page(name)), 0o644),
		m.plot().Save(m.caption(), results+".svg"))
}

// marker is the name of the README's part that is generated.
const marker = "cost"

// load reads all that the model needs.
func load(root string, workload []byte) (*model, error) {
	files, err := filepath.Glob(filepath.Join(root, "bench/results/*-invoke.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no measurement in bench/results: make bench-invoke: %w", errors.Join(err, os.ErrNotExist))
	}
	newest := files[len(files)-1] // sorted, and the names begin with the date
	text, err := os.ReadFile(newest)
	if err != nil {
		return nil, err
	}
	m := &model{source: filepath.Base(newest)}
	m.date, _, _ = strings.Cut(m.source, "-invoke")
	err = errors.Join(strictly(pricesJSON, &m.prices), strictly(workload, &m.work), json.Unmarshal(text, &m.measured), m.prices.check())
	return m, errors.Join(err, m.template(infra.Template))
}

// template reads what the template decides of the costs.
func (m *model) template(text []byte) error {
	var doc struct {
		Parameters map[string]struct {
			Default yaml.Node `yaml:"Default"`
		} `yaml:"Parameters"`
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("template: %w", err)
	}
	var random struct {
		LoggingConfig struct {
			SystemLogLevel string `yaml:"SystemLogLevel"`
		} `yaml:"LoggingConfig"`
	}
	properties := doc.Resources["RandomFunction"].Properties
	if err := properties.Decode(&random); err != nil {
		return fmt.Errorf("template: RandomFunction: %w", err)
	}
	// Unless told otherwise, Lambda logs two lines of its own for each invocation.
	m.platformLogs = random.LoggingConfig.SystemLogLevel != "WARN"
	for name, r := range doc.Resources {
		if r.Type != "AWS::CloudWatch::Alarm" {
			continue
		}
		var a alarm
		if err := r.Properties.Decode(&a); err != nil {
			return fmt.Errorf("template: %s: %w", name, err)
		}
		all, ofIndex := a.watched()
		m.alarms, m.indexAlarms = m.alarms+all, m.indexAlarms+ofIndex
	}
	rate := doc.Parameters["WriteRate"].Default
	if err := rate.Decode(&m.writeRate); err != nil || m.writeRate <= 0 {
		return fmt.Errorf("template: no default of WriteRate: %w", err)
	}
	return nil
}

// alarm is of one metric, or of an expression over several: each metric counts as an alarm.
type alarm struct {
	metric  `yaml:",inline"`
	Metrics []struct {
		MetricStat *struct {
			Metric metric `yaml:"Metric"`
		} `yaml:"MetricStat"` // nil: an expression
	} `yaml:"Metrics"`
}

type metric struct {
	Namespace  string `yaml:"Namespace"`
	Dimensions []struct {
		Value string `yaml:"Value"`
	} `yaml:"Dimensions"`
}

// watched counts the metrics, and those of them that are the index's: its own, and those of its upkeep.
func (a alarm) watched() (all, ofIndex float64) {
	metrics := []metric{a.metric}
	if len(a.Metrics) > 0 {
		metrics = nil
		for _, x := range a.Metrics {
			if x.MetricStat != nil {
				metrics = append(metrics, x.MetricStat.Metric)
			}
		}
	}
	for _, x := range metrics {
		all++
		if x.Namespace == "petpick" || len(x.Dimensions) > 0 && x.Dimensions[0].Value == "TendFunction" {
			ofIndex++
		}
	}
	return all, ofIndex
}

func strictly(text []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
