package wake_test

import (
	"sync"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// However often it is woken, who waits is woken once for all of it.
func TestSignal(t *testing.T) {
	s := wake.NewSignal()
	if s.Clear() {
		t.Error("a new signal is set")
	}
	for range 3 {
		s.Wake() // nobody waits: it must not block
	}
	<-s
	if s.Clear() {
		t.Error("three wakes before the wait are more than one")
	}
	s.Wake()
	if !s.Clear() || s.Clear() {
		t.Error("Clear does not take back exactly what was there")
	}
}

// No change is missed: after the last Wake the goroutine that waits sees the last value.
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
