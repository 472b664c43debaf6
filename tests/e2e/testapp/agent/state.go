package agent

import (
	"context"
	"sync"
)

// state determines what the probes answer. It is safe for concurrent use.
type state struct {
	apply func(State) // called for every change, one at a time

	mu      sync.Mutex
	now     State
	changed chan struct{} // closed by the next change
}

func newState(apply func(State)) *state {
	s := &state{apply: apply, changed: make(chan struct{})}
	s.set(State{Ready: true, Live: true})
	return s
}

func (s *state) get() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *state) set(next State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = next
	s.apply(next)
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for a state that meets the condition; it returns an error if ctx ends first.
func (s *state) until(ctx context.Context, holds func(State) bool) error {
	for {
		s.mu.Lock()
		now, changed := s.now, s.changed
		s.mu.Unlock()
		if holds(now) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
