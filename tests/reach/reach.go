// Package reach checks that the seeds of a fuzz target reach the code behind its first checks.
//
// If the code under test refuses every seed at once, fuzzing exercises only that refusal,
// and this goes unnoticed: the target runs fast and finds nothing. So each target names the outcomes that its
// code has and notes the outcome of each input. Package reach measures no coverage and does not check
// single inputs; that is up to the target.
//
// Its invariant: when all seeds run as tests, the outcomes that they reach are exactly those that the
// target named, or the target fails. While fuzzing, it checks nothing.
package reach

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The outcomes of most targets.
const (
	Accepted = "accepted"
	Refused  = "refused"
)

// Target is the part of *testing.F that is needed.
type Target interface {
	Helper()
	Failed() bool
	Cleanup(func())
	Errorf(format string, args ...any)
}

var _ Target = (*testing.F)(nil)

// Outcomes are what the inputs of one target led to. It is safe for concurrent use.
type Outcomes struct {
	mu      sync.Mutex
	reached map[string]bool // by outcome; true for those that an input led to
	unknown map[string]bool // those that were noted but not named
}

// Both expects that some seeds are accepted and some refused.
func Both(f Target) *Outcomes { return All(f, Accepted, Refused) }

// All expects that each of the outcomes has a seed that leads to it.
func All(f Target, outcomes ...string) *Outcomes {
	o := &Outcomes{reached: map[string]bool{}, unknown: map[string]bool{}}
	for _, outcome := range outcomes {
		o.reached[outcome] = false
	}
	if runsAllSeeds(option("test.fuzz"), option("test.run")) {
		f.Cleanup(func() {
			f.Helper()
			o.judge(f)
		})
	}
	return o
}

// Note records the outcome of an input. It cannot fail the target itself: a *testing.F must not be used while
// its inputs run.
func (o *Outcomes) Note(outcome string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, named := o.reached[outcome]; !named {
		o.unknown[outcome] = true
		return
	}
	o.reached[outcome] = true
}

// Error notes Accepted for nil and Refused for an error.
func (o *Outcomes) Error(err error) { o.OK(err == nil) }

// OK notes Accepted or Refused.
func (o *Outcomes) OK(ok bool) {
	if ok {
		o.Note(Accepted)
		return
	}
	o.Note(Refused)
}

func (o *Outcomes) judge(f Target) {
	f.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, outcome := range slices.Sorted(maps.Keys(o.unknown)) {
		f.Errorf("outcome %s was noted but not named: add it to those that the target expects", outcome)
	}
	if f.Failed() {
		return // some seeds may not have run to the end
	}
	for _, outcome := range slices.Sorted(maps.Keys(o.reached)) {
		if !o.reached[outcome] {
			f.Errorf("no seed is %s, so fuzzing would hardly reach that outcome: add a seed that does", outcome)
		}
	}
}

// runsAllSeeds reports whether this process runs the seeds of its targets as tests, and all of them.
func runsAllSeeds(fuzz, run string) bool { return fuzz == "" && !strings.Contains(run, "/") }

func option(name string) string {
	if f := flag.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}
