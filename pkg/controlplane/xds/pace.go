package xds

import (
	"sync"
	"time"
)

const (
	// pacePlaces is the number of places per CPU: enough to keep it busy while proxies answer, and few, so
	// that most streams look at what was published as late as can be.
	pacePlaces = 64
	// pacePatience is how long a place is kept for a proxy that does not answer. If none did, two CPUs
	// would still send to 2500 proxies a second.
	pacePatience = 50 * time.Millisecond
)

// pacer says when streams look at what was published: who waits longest goes first, and only so many
// at a time. A stream keeps its place until its proxy has answered, so that what is published
// meanwhile is merged where it waits, here, and not in sockets, where it would be sent in pieces. A
// proxy that does not answer soon loses the place and nothing else: it delays nobody.
//
// Nothing is lost: after add the stream gets another turn, from its beginning.
type pacer struct {
	turn     func(*stream) // in a goroutine of its own: it may have to wait for the proxy
	patience time.Duration

	mu      sync.Mutex
	free    int       // places
	waiting []*stream // the longest first; some may have left
}

// paced is a stream's part of it, guarded by pacer.mu.
type paced struct {
	state paceState
	again bool        // there is something newer, for when the place is given back
	limit *time.Timer // gives the place back
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

// start gives away the places that are free.
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

// done gives the stream's place back, if it has one.
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

// leave forgets a stream that has ended.
func (p *pacer) leave(st *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveBack(st)
	st.pace.state = paceLeft
	p.start()
}
