// Package wake is a signal between goroutines: "look again".
//
// A Signal carries no data and no count: the goroutine that it wakes reads the current state
// itself. It is neither a queue nor a broadcast: one goroutine waits. Its invariant: Wake never blocks,
// and the waiting goroutine wakes at least once after the last Wake.
package wake

// Signal wakes one goroutine. Make one with NewSignal, and wait by receiving from it.
type Signal chan struct{}

// NewSignal returns a Signal without a pending Wake.
func NewSignal() Signal { return make(Signal, 1) }

// Wake wakes the waiting goroutine, or makes the next wait return at once. Wakes that are still pending count as one.
func (s Signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Clear discards a pending Wake, and reports whether there was one.
func (s Signal) Clear() bool {
	select {
	case <-s:
		return true
	default:
		return false
	}
}
