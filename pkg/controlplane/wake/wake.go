// Package wake is a signal between goroutines: "look again".
//
// A Signal carries no data and no count, so that the one who is woken reads the current state for
// itself. It is not a queue and not a broadcast: one goroutine waits. Its invariant: Wake never blocks,
// and whoever waits is woken at least once after the last Wake.
package wake

// Signal wakes one goroutine. Make one with NewSignal, and wait by receiving from it.
type Signal chan struct{}

// NewSignal returns a Signal that nobody has woken.
func NewSignal() Signal { return make(Signal, 1) }

// Wake wakes who waits, or lets who comes next not wait. Wakes that nobody has waited for yet are one.
func (s Signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Clear takes back a Wake that nobody has waited for, and says whether there was one.
func (s Signal) Clear() bool {
	select {
	case <-s:
		return true
	default:
		return false
	}
}
