package serve

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Health gathers what makes a replica ready and alive. The zero value is not usable; see NewHealth.
type Health struct {
	now func() time.Time

	mu         sync.Mutex
	conditions []*Condition
	notes      []note
	heartbeats []*Heartbeat
	draining   bool
}

// Condition is something that readiness waits for.
type Condition struct {
	health *Health
	name   string
	reason string // empty when met
	since  time.Time
}

// Heartbeat is a loop that liveness monitors.
type Heartbeat struct {
	health *Health
	name   string
	limit  time.Duration
	last   time.Time
}

type note struct {
	name string
	text func() string
}

// NewHealth returns a Health without conditions, which is ready and alive. now is the clock;
// nil means time.Now.
func NewHealth(now func() time.Time) *Health {
	if now == nil {
		now = time.Now
	}
	return &Health{now: now}
}

// Require adds a condition that is unmet, for the given reason, until Met is called.
func (h *Health) Require(name, reason string) *Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Condition{health: h, name: name, reason: reason, since: h.now()}
	h.conditions = append(h.conditions, c)
	return c
}

// Met records that readiness no longer waits for the condition.
func (c *Condition) Met() { c.set("") }

// Unmet records that readiness waits for the condition, and why.
func (c *Condition) Unmet(reason string) {
	if reason == "" {
		reason = "not met"
	}
	c.set(reason)
}

func (c *Condition) set(reason string) {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	if (c.reason == "") != (reason == "") {
		c.since = c.health.now()
	}
	c.reason = reason
}

// Note adds an informational line that does not affect readiness. text is called at each request
// and must not block; if it returns "", the line is omitted.
func (h *Health) Note(name string, text func() string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes = append(h.notes, note{name, text})
}

// Heartbeat adds a loop that has to call Beat at least once per limit, from now on.
func (h *Health) Heartbeat(name string, limit time.Duration) *Heartbeat {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &Heartbeat{health: h, name: name, limit: limit, last: h.now()}
	h.heartbeats = append(h.heartbeats, b)
	return b
}

// Beat records that the loop is running.
func (b *Heartbeat) Beat() {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	b.last = b.health.now()
}

// Stop removes the loop from liveness, for a loop that ended normally.
func (b *Heartbeat) Stop() {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	b.health.heartbeats = slices.DeleteFunc(b.health.heartbeats, func(o *Heartbeat) bool { return o == b })
}

// Drain makes the replica unready for good.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Ready reports whether the replica may receive work. If it may not, the lines name everything
// it waits for, in the order in which the conditions were added.
func (h *Health) Ready() (bool, []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var waiting []string
	if h.draining {
		waiting = append(waiting, "draining: this replica is shutting down")
	}
	for _, c := range h.conditions {
		if c.reason != "" {
			waiting = append(waiting, fmt.Sprintf("%s: %s (for %v)", c.name, oneLine(c.reason), age(h.now().Sub(c.since))))
		}
	}
	return len(waiting) == 0, waiting
}

// Alive reports whether every loop is running, and names those that are not.
func (h *Health) Alive() (bool, []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var stuck []string
	for _, b := range h.heartbeats {
		if silent := h.now().Sub(b.last); silent > b.limit {
			stuck = append(stuck, fmt.Sprintf("%s: no heartbeat for %v, the limit is %v", b.name, age(silent), b.limit))
		}
	}
	return len(stuck) == 0, stuck
}

// Notes returns the informational lines. The texts are called outside the lock, so that they
// may themselves call Health.
func (h *Health) Notes() []string {
	h.mu.Lock()
	notes := slices.Clone(h.notes)
	h.mu.Unlock()
	var lines []string
	for _, n := range notes {
		if text := n.text(); text != "" {
			lines = append(lines, n.name+": "+oneLine(text))
		}
	}
	return lines
}

// age rounds to whole seconds, and returns at least zero, in case the clock was set back.
func age(d time.Duration) time.Duration { return max(d, 0).Round(time.Second) }

// oneLine keeps each entry on one line, whatever an error message contains.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
