package rebalance

import (
	"sync"
	"time"
)

const (
	// orderTime bounds an order. It is shorter than the time for which an xDS server remembers whom it has moved, so
	// that no order moves a proxy twice.
	orderTime = 9 * time.Minute
	// maxUnknown is for how many rounds in a row an order waits for counts that are not known.
	maxUnknown = 5
)

// Status is what has become of the last order.
type Status struct {
	// Running reports whether proxies are still sent away.
	Running bool
	// Moved is how many it has sent away.
	Moved int
	// Why says why it waits, or why it ended before the replica was down to its share.
	Why string
}

// order is a request to send the surplus away once. The zero value is none.
type order struct {
	mu      sync.Mutex
	status  Status
	ends    time.Time // zero until the first round
	unknown int       // rounds in a row
}

// Order makes the Runner send this replica's surplus away once, down to the fair share, whether it is Continuous or
// not. While an earlier order is carried out, it is the same order.
func (r *Runner) Order() {
	r.order.mu.Lock()
	defer r.order.mu.Unlock()
	if !r.order.status.Running {
		r.order.status, r.order.ends, r.order.unknown = Status{Running: true}, time.Time{}, 0
	}
}

// Status returns the state of the last order.
func (r *Runner) Status() Status { return r.order.get() }

func (o *order) get() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status
}

// running reports whether there is an order to be carried out now.
func (o *order) running(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.status.Running {
		return false
	}
	if o.ends.IsZero() {
		o.ends = now.Add(orderTime)
	}
	if !now.Before(o.ends) {
		o.status.Running, o.status.Why = false, "it took longer than "+orderTime.String()
	}
	return o.status.Running
}

// follow notes what a round has decided and how many proxies it has moved, and reports whether the order ends with it.
func (o *order) follow(d Decision, moved int) (ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status.Moved += moved
	o.status.Why = d.Why
	switch {
	case d.Why != "":
		o.unknown++
		ended = o.unknown >= maxUnknown
	case d.Surplus == 0:
		ended = true
	case moved == 0:
		o.status.Why = "none of its proxies may be moved now: each of them has connected or was moved a short while ago"
		ended = true
	default:
		o.unknown = 0
	}
	o.status.Running = !ended
	return ended
}
