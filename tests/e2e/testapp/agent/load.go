package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxFailures limits how many failures of a load are kept.
const maxFailures = 20

// load repeats calls and counts. It is safe for concurrent use.
type load struct {
	ctx    context.Context //nolint:containedctx // the context of the process, in which requests start loads
	caller *caller

	mu      sync.Mutex
	end     context.CancelFunc
	tally   Tally
	changed chan struct{} // closed at the end of the next call
}

func newLoad(ctx context.Context, caller *caller) *load {
	return &load{ctx: ctx, caller: caller, end: func() {}, changed: make(chan struct{}), tally: Tally{Servers: map[string]int{}}}
}

// start replaces the running load, if any, and resets the counts.
func (l *load) start(next Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	ctx, end := context.WithCancel(l.ctx)
	l.end = end
	l.tally = Tally{Servers: map[string]int{}}
	for _, call := range next.Calls {
		go l.repeat(ctx, call, next.Interval)
	}
}

func (l *load) repeat(ctx context.Context, call Call, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		at := time.Now()
		answer := l.caller.do(ctx, call)
		l.count(ctx, call, at, answer)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) count(ctx context.Context, call Call, at time.Time, answer Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return // canceled, so the result does not count
	}
	if answer.OK() {
		l.tally.Succeeded++
		l.tally.Servers[answer.Seen.Server]++
	} else {
		l.tally.Failed++
		if len(l.tally.Failures) < maxFailures {
			l.tally.Failures = append(l.tally.Failures, Failure{At: at, Call: call, Error: answer.Error})
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// await returns the tally as soon as it counts at least that many calls, or when ctx ends.
func (l *load) await(ctx context.Context, calls int) Tally {
	for {
		l.mu.Lock()
		tally, changed := l.tally, l.changed
		tally.Servers, tally.Failures = maps.Clone(tally.Servers), slices.Clone(tally.Failures)
		l.mu.Unlock()
		if tally.Succeeded+tally.Failed >= calls {
			return tally
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return tally
		}
	}
}
