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
	// maxNamed is how many offenders metrics name; a new one replaces the one that was named first.
	maxNamed = 100
	// maxBudgets is how many offenders have log lines of their own; all others share one budget.
	maxBudgets = 1000
	// budgetWindow is the time that a budget of log lines is for.
	budgetWindow = time.Minute
)

// offenders reports which client exceeds which limit, at a bounded cost: a metric with a bounded number of names,
// and a bounded number of log lines about each.
type offenders struct {
	logger *slog.Logger
	lines  int // about one offender in a window

	mu      sync.Mutex
	limited *prometheus.CounterVec
	named   []string               // the first one first
	budgets map[string]*lineBudget // those of this window
}

// lineBudget counts the log lines about one offender in a window.
type lineBudget struct{ lines, suppressed int }

func newOffenders(log *slog.Logger, metrics *Metrics, lines int) *offenders {
	return &offenders{logger: log, lines: lines, limited: metrics.limited, budgets: map[string]*lineBudget{}}
}

// report counts and logs that a client exceeded a limit.
func (n *offenders) report(limit, offender, message string, args ...any) {
	n.count(limit, offender)
	n.log(slog.LevelWarn, offender, message, args...)
}

// count counts that a client exceeded a limit.
func (n *offenders) count(limit, offender string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.named, offender) {
		if len(n.named) == maxNamed {
			n.limited.DeletePartialMatch(prometheus.Labels{"offender": n.named[0]})
			n.named = n.named[1:]
		}
		n.named = append(n.named, offender)
	}
	n.limited.WithLabelValues(limit, offender).Inc()
}

// log logs a line about a client, unless the budget is spent. At the end of the window one line says how
// many were suppressed.
func (n *offenders) log(level slog.Level, about, message string, args ...any) {
	if n.spend(about) {
		n.logger.Log(context.Background(), level, message, args...)
	}
}

// spend reports whether a line about the client may be logged.
func (n *offenders) spend(about string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.budgets[about]
	if s == nil && len(n.budgets) >= maxBudgets {
		about = "others"
		s = n.budgets[about]
	}
	if s == nil {
		s = &lineBudget{}
		n.budgets[about] = s
		time.AfterFunc(budgetWindow, func() { n.summarize(about) })
	}
	if s.lines == n.lines {
		s.suppressed++
		return false
	}
	s.lines++
	return true
}

// summarize ends the window of one offender.
func (n *offenders) summarize(about string) {
	n.mu.Lock()
	s := n.budgets[about]
	delete(n.budgets, about)
	n.mu.Unlock()
	if s.suppressed > 0 {
		n.logger.Warn("suppressed similar log lines", "about", about, "lines", s.suppressed, "within", budgetWindow.String())
	}
}
