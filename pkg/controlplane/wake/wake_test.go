package wake_test

import (
	"sync"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// However often Wake is called, the next wait returns once for all calls.
func TestSignal(t *testing.T) {
	s := wake.NewSignal()
	if s.Clear() {
		t.Error("a new signal has a pending wake")
	}
	for range 3 {
		s.Wake() // nothing waits: it must not block
	}
	<-s
	if s.Clear() {
		t.Error("three wakes before the wait count as more than one")
	}
	s.Wake()
	if !s.Clear() || s.Clear() {
		t.Error("Clear does not discard exactly the pending wake")
	}
}

// No change is missed: after the last Wake the waiting goroutine sees the last value.
func TestSignalAfterTheLastWake(t *testing.T) {
	const last = 1000
	s := wake.NewSignal()
	var mu sync.Mutex
	value := 0
	go func() {
		for range last {
			mu.Lock()
			value++
			mu.Unlock()
			s.Wake()
		}
	}()
	for range s {
		mu.Lock()
		seen := value
		mu.Unlock()
		if seen == last {
			return
		}
	}
}
