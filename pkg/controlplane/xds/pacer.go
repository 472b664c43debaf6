package xds

import (
	"sync"
	"time"
)

const (
	// pacePlaces is the number of places per CPU: enough to keep it busy while proxies answer, and few
	// enough that most streams look at what was published as late as possible.
	pacePlaces = 64
	// pacePatience is how long a proxy that does not answer keeps its place. If none answered, two CPUs
	// would still send to 2500 proxies a second.
	pacePatience = 50 * time.Millisecond
)

// pacer gives streams their turns: a turn is when a stream looks at what was published and sends what is
// new to its proxy. Turns go out in order of waiting, and the number of places bounds how many run at the
// same time. A stream keeps its place until its proxy has answered. What is published meanwhile is thus
// merged here, where it waits, instead of being sent in pieces into a socket. A proxy that does not
// answer soon loses its place and nothing else: it delays no other proxy.
//
// Nothing is lost: after add the stream gets another complete turn.
type pacer struct {
	turn     func(*stream) // in a goroutine of its own: it may have to wait for the proxy
	patience time.Duration

	mu      sync.Mutex
	free    int       // places
	waiting []*stream // the one that has waited longest first; some may have left
}

// paced is a stream's state at the pacer, guarded by pacer.mu.
type paced struct {
	state paceState
	again bool        // something newer was published during the turn
	limit *time.Timer // frees the place after pacePatience
}

type paceState int

const (
	paceIdle    paceState = iota
	paceWaiting           // in pacer.waiting
	paceRunning           // has a place
	paceLeft
)

// add gives the streams a turn each, as soon as there is a place. It never blocks.
func (p *pacer) add(streams ...*stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, st := range streams {
		p.enqueue(st)
	}
	p.start()
}

func (p *pacer) enqueue(st *stream) {
	switch st.pace.state {
	case paceIdle:
		st.pace.state = paceWaiting
		p.waiting = append(p.waiting, st)
	case paceRunning:
		st.pace.again = true
	case paceWaiting, paceLeft:
	}
}

// start assigns the free places.
func (p *pacer) start() {
	for p.free > 0 && len(p.waiting) > 0 {
		st := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		if st.pace.state != paceWaiting {
			continue
		}
		p.free--
		st.pace.state = paceRunning
		if st.pace.limit == nil {
			st.pace.limit = time.AfterFunc(p.patience, func() { p.done(st) })
		} else {
			st.pace.limit.Reset(p.patience)
		}
		go p.turn(st)
	}
}

// done frees the stream's place, if it has one.
func (p *pacer) done(st *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveBack(st)
	p.start()
}

func (p *pacer) giveBack(st *stream) {
	if st.pace.state != paceRunning {
		return
	}
	p.free++
	st.pace.limit.Stop()
	st.pace.state = paceIdle
	if st.pace.again {
		st.pace.again = false
		p.enqueue(st)
	}
}

// leave removes a stream that has ended.
func (p *pacer) leave(st *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveBack(st)
	st.pace.state = paceLeft
	p.start()
}
