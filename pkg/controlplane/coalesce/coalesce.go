// Package coalesce turns a storm of events into few runs of one function.
//
// The first urgent event after a quiet time runs the function at once. Those that follow closely are
// merged until none arrives for Window.Idle, or until the oldest has waited for Window.Max. Events that
// are not urgent wait for the next run, for at most Window.Lax. While events are few, all are urgent;
// the more there are, the longer a key must have been quiet for its next event to be urgent.
//
// The package carries no data: an event only names what changed, and the function reads the current
// state itself. Its invariant: after the last event the function runs once more, from its
// beginning, and no Kick ever waits.
package coalesce

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// Window says how long events are merged. The zero Window merges only what arrives while the
// function is running.
type Window struct {
	// Idle is the time without urgent events that ends a burst, and that counts as quiet before one.
	Idle time.Duration
	// Max is the longest that an urgent event waits, however many follow it.
	Max time.Duration
	// Lax is the longest that an event that is not urgent waits; zero means Max. A run for an urgent event
	// includes it.
	Lax time.Duration
	// Urgent is the number of runs per second for urgent events; zero means that all events are urgent.
	Urgent float64
}

// Validate returns an error if the Window is invalid.
func (w Window) Validate() error {
	if w.Idle < 0 || w.Max < w.Idle || w.Lax != 0 && w.Lax < w.Max || w.Urgent < 0 {
		return fmt.Errorf("coalescing window idle %v, max %v, lax %v, urgent %v: want 0 <= idle <= max <= lax (or lax 0), 0 <= urgent", w.Idle, w.Max, w.Lax, w.Urgent)
	}
	return nil
}

// Trigger runs a function for events. Any number of goroutines may Kick it; one calls Run.
type Trigger struct {
	events wake.Signal

	mu      sync.Mutex
	window  Window
	urgency urgency
	urgent  pending
	lax     pending
	leading bool      // the oldest urgent event came after a quiet time
	running bool      // a run for an urgent event
	ran     time.Time // the end of the last run
}

// pending are the events of one kind that no run has taken yet.
type pending struct {
	any   bool
	first time.Time
	last  time.Time // the newest ever
}

func (p *pending) add(now time.Time) (first bool) {
	first = !p.any
	if first {
		p.any, p.first = true, now
	}
	p.last = now
	return first
}

// New returns a Trigger without pending events.
func New(w Window) (*Trigger, error) {
	t := &Trigger{events: wake.NewSignal()}
	if err := t.Resize(w); err != nil {
		return nil, err
	}
	return t, nil
}

// Resize changes the window from the next wait on, because the cost of a run may change. An invalid window
// is an error and leaves the previous one in force.
func (t *Trigger) Resize(w Window) error {
	if err := w.Validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.window = w
	t.urgency.allow(w.Urgent, time.Now())
	return nil
}

// Kick records a change that is always urgent. It never blocks.
func (t *Trigger) Kick() { t.kick(func(time.Time) bool { return true }) }

// Changed records a change of a key, which is urgent unless the key changes all the time. It never blocks, and
// reports whether the change was urgent.
func (t *Trigger) Changed(key string) (urgent bool) {
	return t.kick(func(now time.Time) bool { return t.urgency.of(key, now) })
}

func (t *Trigger) kick(isUrgent func(time.Time) bool) (urgent bool) {
	t.mu.Lock()
	now := time.Now()
	if urgent = isUrgent(now); !urgent {
		t.lax.add(now)
	} else {
		before := t.urgent.last
		if t.urgent.add(now) {
			t.leading = !t.running && now.Sub(before) >= t.window.Idle && now.Sub(t.ran) >= t.window.Idle
		}
	}
	t.mu.Unlock()
	t.events.Wake()
	return urgent
}

// Run calls fn for the events until ctx ends, never twice at once, and returns ctx's cause.
// Events during a call of fn lead to another call.
func (t *Trigger) Run(ctx context.Context, fn func(context.Context)) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.events:
		}
		if !t.settle(ctx) {
			return context.Cause(ctx)
		}
		if !t.take() {
			continue // the last run has taken this event
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
		case <-t.events: // it may be urgent
			timer.Stop()
		}
	}
	return ctx.Err() == nil
}

// wait returns how long the pending events still have to wait, as far as known.
func (t *Trigger) wait() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.urgent.any && !t.lax.any || t.urgent.any && t.leading {
		return 0
	}
	var end time.Time
	if t.urgent.any {
		end = earlier(t.urgent.last.Add(t.window.Idle), t.urgent.first.Add(t.window.Max))
	}
	if t.lax.any {
		if due := t.lax.first.Add(max(t.window.Lax, t.window.Max)); !t.urgent.any || due.Before(end) {
			end = due
		}
	}
	return time.Until(end)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// take claims the pending events for a run.
func (t *Trigger) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.urgent.any || t.lax.any
	if t.running = t.urgent.any; t.running {
		t.urgency.spend()
	}
	t.urgent.any, t.lax.any = false, false
	return was
}

// ended records the end of a run. A panic of fn leaves the Trigger unusable, as it does the process.
func (t *Trigger) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.running, t.ran = false, time.Now()
	}
}
