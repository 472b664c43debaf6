package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxFailures limits how many failures of a load are kept, and maxRead how many a tally has.
const (
	maxFailures = 10000
	maxRead     = 20
)

// load repeats calls and counts. It is safe for concurrent use.
type load struct {
	ctx    context.Context //nolint:containedctx // the context of the process, in which requests start loads
	caller *caller

	mu      sync.Mutex
	end     context.CancelFunc
	tally   Tally
	begun   map[Call]time.Time // of the calls that have not ended, each of which a load has once
	changed chan struct{}      // closed at the end of the next call
}

func newLoad(ctx context.Context, caller *caller) *load {
	return &load{ctx: ctx, caller: caller, end: func() {}, begun: map[Call]time.Time{}, changed: make(chan struct{}), tally: Tally{Servers: map[string]int{}}}
}

// start replaces the running load, if any, and resets the counts.
func (l *load) start(next Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	ctx, end := context.WithCancel(l.ctx)
	l.end = end
	l.begun = map[Call]time.Time{}
	l.tally = Tally{Started: time.Now(), Servers: map[string]int{}}
	for _, call := range next.Calls {
		go l.repeat(ctx, call, next.Interval)
	}
}

func (l *load) repeat(ctx context.Context, call Call, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	do, end := l.caller.repeated(ctx, call)
	defer end()
	for {
		at := l.begin(ctx, call)
		answer := do(ctx, call)
		l.count(ctx, call, at, time.Since(at), answer)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) begin(ctx context.Context, call Call) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if ctx.Err() == nil {
		l.begun[call] = now
	}
	return now
}

func (l *load) count(ctx context.Context, call Call, at time.Time, took time.Duration, answer Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return // canceled, so the result does not count
	}
	delete(l.begun, call)
	if answer.OK() {
		l.tally.Succeeded++
		l.tally.Servers[answer.Seen.Server]++
		if answer.Seen.Leaving {
			l.tally.Leaving++
		}
		l.tally.Slowest = max(l.tally.Slowest, took)
		if took > Stall {
			l.tally.Stalled++
		}
	} else {
		l.tally.Failed++
		if len(l.tally.Failures) < maxFailures {
			l.tally.Failures = append(l.tally.Failures, Failure{At: at, Took: took, Call: call, Error: answer.Error})
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// await returns the tally as soon as it counts at least that many calls, or when ctx ends. It has the failures
// after the first known ones.
func (l *load) await(ctx context.Context, calls, known int) Tally {
	for {
		tally, changed := l.read(calls, known)
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

// read returns the tally and what is closed when it changes. A tally of enough calls is about to reach its reader.
func (l *load) read(enough, known int) (Tally, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tally := l.tally
	if tally.Succeeded+tally.Failed >= enough {
		l.tally.Slowest = 0
	}
	for _, at := range l.begun {
		if tally.Oldest.IsZero() || at.Before(tally.Oldest) {
			tally.Oldest = at
		}
	}
	tally.Servers = maps.Clone(tally.Servers)
	unknown := tally.Failures[min(max(known, 0), len(tally.Failures)):]
	tally.Failures = slices.Clone(unknown[:min(maxRead, len(unknown))])
	return tally, l.changed
}
