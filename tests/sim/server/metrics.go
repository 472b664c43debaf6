package server

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Metrics are the samples of one scrape, by series: name or name{labels} as it was written.
type Metrics map[string]float64

// Get returns the value of a series without labels, 0 if there is none.
func (m Metrics) Get(name string) float64 { return m[name] }

// ByLabel returns the values of a metric with one label, by the label's value; ok is false if the
// metric has no series.
func (m Metrics) ByLabel(name, label string) (values map[string]float64, ok bool) {
	values = map[string]float64{}
	prefix := name + "{" + label + `="`
	for _, series := range slices.Sorted(maps.Keys(m)) {
		rest, found := strings.CutPrefix(series, prefix)
		if !found {
			continue
		}
		value, _, _ := strings.Cut(rest, `"`)
		values[value] += m[series]
	}
	return values, len(values) > 0
}

// parseMetrics reads the needed part of the text format: samples without timestamps.
func parseMetrics(text string) (Metrics, error) {
	m := Metrics{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 {
			return nil, fmt.Errorf("metric without a value: %q", line)
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		m[line[:cut]] = value
	}
	return m, nil
}

// scrape reads the metrics at url.
func scrape(ctx context.Context, url string) (Metrics, error) {
	body, err := get(ctx, url)
	if err != nil {
		return nil, err
	}
	return parseMetrics(body)
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s responds %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
