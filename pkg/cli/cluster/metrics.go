package cluster

import (
	"bytes"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics are the values of one process at one moment, by name. Histograms are left out, because the
// CLI only needs single numbers.
type Metrics map[string][]Sample

// Sample is one series of a metric.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// ParseMetrics reads Prometheus' text format.
func ParseMetrics(text []byte) (Metrics, error) {
	families, err := parseFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	metrics := Metrics{}
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			sample := Sample{Labels: map[string]string{}}
			switch {
			case metric.GetGauge() != nil:
				sample.Value = metric.GetGauge().GetValue()
			case metric.GetCounter() != nil:
				sample.Value = metric.GetCounter().GetValue()
			case metric.GetUntyped() != nil:
				sample.Value = metric.GetUntyped().GetValue()
			default:
				continue
			}
			for _, label := range metric.GetLabel() {
				sample.Labels[label.GetName()] = label.GetValue()
			}
			metrics[name] = append(metrics[name], sample)
		}
	}
	return metrics, nil
}

// Number returns the value of a metric that has one series, and whether it is there.
func (m Metrics) Number(name string) (float64, bool) {
	if len(m[name]) != 1 {
		return 0, false
	}
	return m[name][0].Value, true
}

// With returns the values of a label in the series of a metric that are 1, as those of an "info" metric.
func (m Metrics) With(name, label string) map[string]bool {
	values := map[string]bool{}
	for _, sample := range m[name] {
		if sample.Value == 1 && sample.Labels[label] != "" {
			values[sample.Labels[label]] = true
		}
	}
	return values
}

// parseFamilies turns a panic of the parser into an error. The text comes from a pod, and the parser dereferences nil for
// some that is malformed, such as "#TYPE A \n{}0".
func parseFamilies(text []byte) (families map[string]*dto.MetricFamily, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			families, err = nil, fmt.Errorf("malformed text: %v", reason)
		}
	}()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}
