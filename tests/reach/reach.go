// Package reach holds fuzz targets to what their seeds show.
//
// A target whose seeds all end at the first check fuzzes that check and nothing behind it, and nobody
// sees it: it is fast and finds no fault. So each target names the outcomes that its code has, and
// notes which one each input came to. When the seeds run as tests, an outcome that none of them came
// to fails the target. While fuzzing, nothing is judged.
package reach

import (
	"flag"
	"strings"
	"sync/atomic"
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

// Outcomes counts what the inputs of one target came to. It is safe for concurrent use.
type Outcomes struct {
	counts map[string]*atomic.Int64
}

// Both expects that some seeds are accepted and some refused.
func Both(f Target) *Outcomes { return All(f, Accepted, Refused) }

// All expects that some seed comes to each of the outcomes.
func All(f Target, outcomes ...string) *Outcomes {
	o := &Outcomes{counts: map[string]*atomic.Int64{}}
	for _, outcome := range outcomes {
		o.counts[outcome] = &atomic.Int64{}
	}
	if runsAllSeeds(option("test.fuzz"), option("test.run")) {
		f.Cleanup(func() {
			f.Helper()
			o.judge(f, outcomes)
		})
	}
	return o
}

// Note says what an input came to.
func (o *Outcomes) Note(outcome string) {
	count, known := o.counts[outcome]
	if !known {
		panic("reach: outcome " + outcome + " was not named when the target began")
	}
	count.Add(1)
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

func (o *Outcomes) judge(f Target, outcomes []string) {
	f.Helper()
	if f.Failed() {
		return // seeds may not have run to their end
	}
	for _, outcome := range outcomes {
		if o.counts[outcome].Load() == 0 {
			f.Errorf("no seed is %s: fuzzing would hardly come there; add a seed that is", outcome)
		}
	}
}

// runsAllSeeds says whether this process runs the seeds of its targets as tests, and all of them.
func runsAllSeeds(fuzz, run string) bool { return fuzz == "" && !strings.Contains(run, "/") }

func option(name string) string {
	if f := flag.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}
