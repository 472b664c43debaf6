package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one figure of one scenario.
type Row struct {
	Scenario string  `json:"scenario"`
	Metric   string  `json:"metric"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit,omitempty"`
	// Goal is the maximum of Value; nil means that it is only reported.
	Goal *float64 `json:"goal,omitempty"`
}

// OK reports whether the figure is within its goal.
func (r Row) OK() bool { return r.Goal == nil || r.Value <= *r.Goal }

// ratio is the figure relative to its goal, "" where that has no meaning.
func (r Row) ratio() string {
	if r.Goal == nil || *r.Goal == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.Value / *r.Goal)
}

func (r Row) verdict() string {
	switch {
	case r.Goal == nil:
		return ""
	case r.OK():
		return "ok"
	default:
		return "over"
	}
}

// MarshalJSON adds what follows from the figure and its goal.
func (r Row) MarshalJSON() ([]byte, error) {
	type plain Row // without this method
	return json.Marshal(struct {
		plain
		Ratio   string `json:"ratio,omitempty"`
		Verdict string `json:"verdict,omitempty"`
	}{plain(r), r.ratio(), r.verdict()})
}

// Report is the result of a run.
type Report struct {
	Machine Machine `json:"machine"`
	// Server names the program under test.
	Server string    `json:"server"`
	Began  time.Time `json:"began"`
	Rows   []Row     `json:"rows"`
}

// Add adds a figure that is only reported.
func (r *Report) Add(scenario, metric string, value float64, unit string) {
	r.Rows = append(r.Rows, Row{Scenario: scenario, Metric: metric, Value: value, Unit: unit})
}

// Judge adds a figure and its goal.
func (r *Report) Judge(scenario, metric string, value float64, unit string, goal float64) {
	r.Rows = append(r.Rows, Row{Scenario: scenario, Metric: metric, Value: value, Unit: unit, Goal: &goal})
}

// Over counts the figures over their goal.
func (r *Report) Over() int {
	n := 0
	for _, row := range r.Rows {
		if !row.OK() {
			n++
		}
	}
	return n
}

// Text writes the table.
func (r *Report) Text(w io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s\n%s, %s\n\n", r.Machine, r.Server, r.Began.UTC().Format(time.RFC3339))
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "work\tfigure\tours\tgoal\tratio\tverdict")
	for _, row := range r.Rows {
		goal := ""
		if row.Goal != nil {
			goal = withUnit(*row.Goal, row.Unit)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", row.Scenario, row.Metric, withUnit(row.Value, row.Unit), goal, row.ratio(), row.verdict())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for line := range strings.Lines(text.String()) { // columns that are empty at the end leave spaces
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// withUnit prints three significant digits, and whole numbers exactly.
func withUnit(value float64, unit string) string {
	text := strconv.FormatFloat(value, 'f', -1, 64)
	if value != math.Trunc(value) || math.Abs(value) >= 1e15 {
		digits := 3
		if value != 0 {
			digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(value)))))
		}
		text = strconv.FormatFloat(value, 'f', digits, 64)
	}
	if unit == "" {
		return text
	}
	return text + " " + unit
}

// Quantile returns the value that a share q of all values does not exceed; values need not be sorted. It
// is the value itself, never one between two.
func Quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median of a list of figures.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// Milliseconds as a figure.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
