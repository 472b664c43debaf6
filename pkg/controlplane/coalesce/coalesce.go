// Package coalesce turns a storm of events into few runs of one function.
//
// The first event after a quiet time runs the function at once; events that follow closely are
// merged until none came for Window.Idle, or until the oldest of them has waited Window.Max. It
// carries no data: an event says only that something changed, and the function reads the current
// state for itself. Its invariant: after the last Kick the function runs once more, from its
// beginning, and no Kick ever waits.
package coalesce

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Window says how long events are merged. The zero Window merges only what arrives while the
// function is running.
type Window struct {
	// Idle is the time without events that ends a burst, and that counts as quiet before one.
	Idle time.Duration
	// Max is the longest that an event waits, however many follow it.
	Max time.Duration
}

// Validate says what is wrong with a Window.
func (w Window) Validate() error {
	if w.Idle < 0 || w.Max < w.Idle {
		return fmt.Errorf("coalescing window idle %v, max %v: want 0 <= idle <= max", w.Idle, w.Max)
	}
	return nil
}

// Trigger is a one-slot event. Any number of goroutines may Kick it; one calls Run.
type Trigger struct {
	slot chan struct{}

	mu      sync.Mutex
	window  Window
	pending bool
	leading bool      // the oldest pending event came after a quiet time
	first   time.Time // the oldest pending event
	last    time.Time // the newest event ever
	running bool
	ran     time.Time // the end of the last run
}

// New returns a Trigger that nobody has kicked.
func New(w Window) (*Trigger, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	return &Trigger{window: w, slot: make(chan struct{}, 1)}, nil
}

// Resize changes the window from the next wait on: what a run costs may change. A window that is not
// valid is refused, and the last one stays.
func (t *Trigger) Resize(w Window) error {
	if err := w.Validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.window = w
	return nil
}

// Kick says that something changed. It never blocks.
func (t *Trigger) Kick() {
	now := time.Now()
	t.mu.Lock()
	if !t.pending {
		t.pending, t.first = true, now
		t.leading = !t.running && now.Sub(t.last) >= t.window.Idle && now.Sub(t.ran) >= t.window.Idle
	}
	t.last = now
	t.mu.Unlock()
	select {
	case t.slot <- struct{}{}:
	default:
	}
}

// Run calls fn for the events until ctx ends, never twice at once, and returns ctx's cause.
// Events during a call of fn lead to another call.
func (t *Trigger) Run(ctx context.Context, fn func(context.Context)) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.slot:
		}
		if !t.settle(ctx) {
			return context.Cause(ctx)
		}
		if !t.take() {
			continue // a slot left over from an event that the last run took with it
		}
		fn(ctx)
		t.ended()
	}
}

// settle waits until the burst is over; false means that ctx ended first.
func (t *Trigger) settle(ctx context.Context) bool {
	for wait := t.wait(); wait > 0; wait = t.wait() {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
	return ctx.Err() == nil
}

// wait is how long the pending events have still to wait, as far as is known now: a later event
// can only move the end of the burst, so sleeping this long and asking again misses nothing.
func (t *Trigger) wait() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.pending || t.leading {
		return 0
	}
	end := t.last.Add(t.window.Idle)
	if latest := t.first.Add(t.window.Max); latest.Before(end) {
		end = latest
	}
	return time.Until(end)
}

// take claims the pending events for a run.
func (t *Trigger) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.pending
	t.pending, t.running = false, was
	return was
}

// ended notes the end of a run. A panic of fn leaves the Trigger unusable, as it does the process.
func (t *Trigger) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.ran = false, time.Now()
}
