package xds

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// offenders is how many are named in metrics; a new one takes the place of the one named first.
	offenders = 100
	// speakers is how many have log lines of their own; all others share one account.
	speakers = 1000
	// window is the time that limits of log lines are for.
	window = time.Minute
)

// notes tells people who is over which limit, without becoming a way to harm them: a metric with a bounded
// number of names, and a bounded number of log lines about each.
type notes struct {
	log   *slog.Logger
	lines int // about one offender in a window

	mu       sync.Mutex
	limited  *prometheus.CounterVec
	named    []string           // the first one first
	speakers map[string]*spoken // those of this window
}

// spoken is how much was said about one offender in a window.
type spoken struct{ lines, suppressed int }

func newNotes(log *slog.Logger, metrics *Metrics, lines int) *notes {
	return &notes{log: log, lines: lines, limited: metrics.limited, speakers: map[string]*spoken{}}
}

// offence counts that somebody was over a limit, and logs it.
func (n *notes) offence(limit, offender, message string, args ...any) {
	n.count(limit, offender)
	n.say(slog.LevelWarn, offender, message, args...)
}

// count counts that somebody was over a limit.
func (n *notes) count(limit, offender string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.named, offender) {
		if len(n.named) == offenders {
			n.limited.DeletePartialMatch(prometheus.Labels{"offender": n.named[0]})
			n.named = n.named[1:]
		}
		n.named = append(n.named, offender)
	}
	n.limited.WithLabelValues(limit, offender).Inc()
}

// say logs a line about somebody, unless there were many of late. Those that were left out are counted in
// a line of their own.
func (n *notes) say(level slog.Level, about, message string, args ...any) {
	if n.spoken(about) {
		n.log.Log(context.Background(), level, message, args...)
	}
}

// spoken says whether a line about somebody may be logged.
func (n *notes) spoken(about string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.speakers[about]
	if s == nil && len(n.speakers) >= speakers {
		about = "others"
		s = n.speakers[about]
	}
	if s == nil {
		s = &spoken{}
		n.speakers[about] = s
		time.AfterFunc(window, func() { n.summarize(about) })
	}
	if s.lines == n.lines {
		s.suppressed++
		return false
	}
	s.lines++
	return true
}

// summarize ends the window of somebody.
func (n *notes) summarize(about string) {
	n.mu.Lock()
	s := n.speakers[about]
	delete(n.speakers, about)
	n.mu.Unlock()
	if s.suppressed > 0 {
		n.log.Warn("more lines like those before were left out", "about", about, "lines", s.suppressed, "within", window.String())
	}
}
