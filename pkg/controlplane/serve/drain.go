package serve

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Step is one step of a drain, for example "close streams".
type Step struct {
	Name string
	// Run does the step and returns when it is done or ctx ends, whichever comes first.
	Run func(ctx context.Context) error
}

// Drain shuts a replica down: the replica turns unready, waits until it is no longer an endpoint, and then
// takes the steps one after another, all within Period.
type Drain struct {
	// Health turns unready first.
	Health *Health
	// Settle is the time between turning unready and the first step. The replica keeps serving while
	// clients learn that it is no longer an endpoint.
	Settle time.Duration
	// Period bounds the whole, Settle included. It has to be shorter than the pod's
	// terminationGracePeriodSeconds.
	Period time.Duration
	// Log receives each step; nil discards it.
	Log *slog.Logger
}

// Run drains. ctx is usually the one whose end started the drain, so its end is ignored and only
// its values are kept; the steps' context ends with Period. Every step runs, even after another
// has failed or the time is up, because a step that closes connections must not be skipped.
func (d Drain) Run(ctx context.Context, steps ...Step) error {
	if d.Settle < 0 || d.Settle > d.Period {
		return fmt.Errorf("drain: settle %v, period %v: want 0 <= settle <= period", d.Settle, d.Period)
	}
	log := d.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.Period)
	defer cancel()
	d.Health.Drain()
	log.Info("draining: unready", "settle", d.Settle, "period", d.Period)
	if d.Settle > 0 {
		sleep(ctx, d.Settle)
	}
	var failed []error
	for _, step := range steps {
		log.Info("draining: step", "step", step.Name)
		if err := step.Run(ctx); err != nil {
			failed = append(failed, fmt.Errorf("drain: %s: %w", step.Name, err))
		}
	}
	return errors.Join(failed...)
}

// Remaining returns the time until ctx's deadline, and zero without one: the time that a step has left to
// spread its work over.
func Remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(0, time.Until(deadline))
}

// Spread yields 0 to n-1, each once and in order, spaced over the period: one at a random moment
// of each of n equal slots, so that closed clients reconnect elsewhere neither all at once nor in
// step with another replica that drains. When ctx ends the rest is yielded without waiting.
func Spread(ctx context.Context, n int, period time.Duration) iter.Seq[int] {
	return func(yield func(int) bool) {
		start := time.Now()
		for i := range n {
			slot := float64(period) / float64(n)
			at := start.Add(time.Duration((float64(i) + rand.Float64()) * slot)) //nolint:gosec // spacing, not a secret
			sleep(ctx, time.Until(at))
			if !yield(i) {
				return
			}
		}
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 || ctx.Err() != nil {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
