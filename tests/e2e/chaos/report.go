package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Report is one run of the suite.
type Report struct {
	// Commit is the product's version, Date the day of the run.
	Commit string `json:"commit"`
	Date   string `json:"date"`
	// Machine says what it ran on.
	Machine string  `json:"machine"`
	Faults  []Fault `json:"faults"`
}

// Fault is what one fault cost.
type Fault struct {
	Name string `json:"fault"`
	// Sent counts requests from the time before the fault until every proxy was in sync again. Lost ones failed; those
	// of clients on a node that was cut off or stopped are OnNode instead. Stalled ones took longer than 250 ms.
	Sent   int `json:"sent"`
	Lost   int `json:"lost"`
	OnNode int `json:"lostOnNode,omitempty"`
	// Leaving counts gRPC health checks that a server answered with NOT_SERVING because it leaves. They are not lost.
	Leaving int `json:"leaving,omitempty"`
	Stalled int `json:"stalled"`
	// Slowest is the longest time of a request that succeeded, in milliseconds.
	Slowest int64 `json:"slowestMs"`
	// InSync is the time from the fault, or from its end if it lasts, until the last proxy used a Service that was
	// created meanwhile, in seconds; -1 if one did not.
	InSync float64 `json:"inSyncSeconds"`
	// Lasted is how long the fault lasted, in seconds; 0 for an event. Meanwhile is how many of the proxies used the new
	// Service before it ended.
	Lasted    float64 `json:"lastedSeconds,omitempty"`
	Meanwhile int     `json:"inSyncMeanwhile,omitempty"`
	Proxies   int     `json:"proxies"`
	// Why explains what may be lost, or what is known to take long.
	Why string `json:"why,omitempty"`
	// Held is whether everything was as the suite demands.
	Held bool `json:"held"`
}

// Seconds is a duration in seconds, to the tenth.
func Seconds(d time.Duration) float64 { return d.Round(100 * time.Millisecond).Seconds() }

// Read reads a report from a file.
func Read(file string) (Report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Report{}, fmt.Errorf("read report: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return Report{}, fmt.Errorf("read report %s: %w", file, err)
	}
	return r, nil
}

// Write writes the report as JSON.
func (r Report) Write(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Put adds what a fault cost, or replaces what it cost before.
func (r *Report) Put(f Fault) {
	i := slices.IndexFunc(r.Faults, func(other Fault) bool { return other.Name == f.Name })
	if i < 0 {
		r.Faults = append(r.Faults, f)
		return
	}
	r.Faults[i] = f
}

// Keep drops the faults that are not among the names, and brings the others into their order.
func (r *Report) Keep(names []string) {
	r.Faults = slices.DeleteFunc(r.Faults, func(f Fault) bool { return !slices.Contains(names, f.Name) })
	slices.SortFunc(r.Faults, func(a, b Fault) int { return slices.Index(names, a.Name) - slices.Index(names, b.Name) })
}

// Markdown is the report as a table, with the notes below it.
func (r Report) Markdown() string {
	var b strings.Builder
	var sum Fault
	for _, f := range r.Faults {
		sum.Sent, sum.Lost, sum.Stalled = sum.Sent+f.Sent, sum.Lost+f.Lost, sum.Stalled+f.Stalled
	}
	fmt.Fprintf(&b, "%d faults on %s (%s, %s): %d requests, %d lost, %d stalled.\n\n", len(r.Faults), r.Machine, r.Date, r.Commit, sum.Sent, sum.Lost, sum.Stalled)
	b.WriteString("| fault | sent | lost | stalled | slowest | in sync after |\n|---|---|---|---|---|---|\n")
	var notes []string
	for _, f := range r.Faults {
		name := f.Name
		if f.Lasted > 0 {
			name += fmt.Sprintf(", for %.0f s", f.Lasted)
		}
		if f.Why != "" {
			if !slices.Contains(notes, f.Why) {
				notes = append(notes, f.Why)
			}
			name += fmt.Sprintf(" (%d)", slices.Index(notes, f.Why)+1)
		}
		if !f.Held {
			name += " **(missed)**"
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %d | %s | %s |\n", name, f.Sent, f.lost(), f.Stalled, time.Duration(f.Slowest)*time.Millisecond, f.inSync())
	}
	for i, note := range notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%d. %s%s.\n", i+1, strings.ToUpper(note[:1]), note[1:])
	}
	return b.String()
}

func (f Fault) lost() string {
	if f.OnNode > 0 {
		return fmt.Sprintf("%d, and %d of clients on the node", f.Lost, f.OnNode)
	}
	return fmt.Sprint(f.Lost)
}

func (f Fault) inSync() string {
	switch {
	case f.InSync < 0:
		return "never"
	case f.Lasted > 0 && f.Meanwhile == f.Proxies:
		return "meanwhile"
	}
	return fmt.Sprintf("%.1f s", f.InSync)
}
