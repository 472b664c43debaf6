package xds

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// protocol is the half of a session that does not depend on the variant.
type protocol interface {
	// next returns the next response, nil when there is none.
	next(offer, time.Time) *response
	// settled says whether the proxy answered all that it was sent.
	settled() bool
	// configured says whether the proxy asked for its listeners and answered all that it was sent.
	configured() bool
	// lacks says whether the proxy is to be sent a resource.
	lacks(typ envoy.Kind, name string, o offer) bool
	// remembers is how many names the proxy asked for, and the memory that they take.
	remembers() (names, bytes int)
	// rejected is the number of resources that the proxy refuses at the moment.
	rejected() int
	// report describes the session for people.
	report() []debug.Type
}

// parted is why the server ends a stream, and the connection with it: what the proxy proved there does not
// count any more, and it has to prove it anew.
type parted struct {
	reason  string
	code    codes.Code
	message string
}

func (p *parted) Error() string { return p.message }

// stream is one proxy's connection as the server sees it. Three kinds of goroutines work on it, one
// step at a time under mu: the one that receives answers what the proxy asks, one of the pacer's looks
// at what was published, and the handler's looks after what happens rarely, certificates and the end.
// After each step what it led to is sent; see Server.push.
type stream struct {
	peer    peer
	since   time.Time
	variant string
	send    func(message any) error
	changed wake.Signal // the handler's goroutine has something else to wait for
	ended   chan error  // one slot: why the server ends the stream
	ends    lifetime
	asked   *rate.Limiter // the pod's
	// configured is to be called when the proxy has all that it should have.
	configured func()
	// expires is when the workload certificate at the proxy expires, as Unix time; 0 if it has none.
	expires atomic.Int64
	// hasten is within how many nanoseconds a certificate that the proxy brought is to be replaced; 0
	// when nobody asked for it.
	hasten atomic.Int64
	seen   atomic.Pointer[lookedUp] // what the stream saw last of what was published
	pace   paced

	mu       sync.Mutex // never held while something is sent
	protocol protocol
	offer    offer
	trust    *trusted
	secrets  bool // the proxy asked for secrets
	cred     credential
	leased   *certificate // the one in the offer; nil while that is one that the proxy brought
	sent     secretsHeld  // as of the last response with secrets
	acked    secretsHeld
	turn     bool        // it has looked at what was published, and not given its place back
	sending  bool        // a goroutine is in push
	closed   bool        // it has ended or is about to: nothing is to be done any more
	rejected int         // what it added to the metric
	gone     *time.Timer // set while the pod is not in the mesh: when that is taken for final
}

// left starts the time after which a pod that is not in the mesh any more loses its stream.
func (st *stream) left(after time.Duration) {
	if st.gone == nil {
		st.gone = time.NewTimer(after)
		st.changed.Wake()
	}
}

// back stops that time.
func (st *stream) back() {
	if st.gone != nil {
		st.gone.Stop()
		st.gone = nil
	}
}

// away receives when that time is over, and never while the pod is in the mesh.
func (st *stream) away() <-chan time.Time {
	if st.gone == nil {
		return nil
	}
	return st.gone.C
}

// end ends the stream for a reason; the first one counts.
func (st *stream) end(why error) {
	select {
	case st.ended <- why:
	default:
	}
}

// fail ends the stream because of what its proxy did.
func (st *stream) fail(err error) {
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
	st.end(err)
}

// freeze makes the stream one to which nothing is sent any more.
func (st *stream) freeze() {
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
}

// next returns the next response to send. st.mu is held.
func (st *stream) next(now time.Time) *response {
	resp := st.protocol.next(st.offer, now)
	if resp != nil && resp.typ == envoy.Secrets {
		st.sent = secretsHeld{trust: st.trust, cert: st.leased}
	}
	return resp
}

// turn is what a stream does when its turn comes: it looks at what was published, and sends what of it
// the proxy does not hold.
func (s *Server) turn(st *stream) {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return // leave gives the place back
	}
	st.turn = true
	err := s.refresh(st)
	st.closed = st.closed || err != nil
	st.mu.Unlock()
	if err != nil {
		st.end(err)
		return
	}
	s.push(st)
}

// push sends all that there is to send. It may have to wait for the proxy, so one goroutine at a time
// does it: the others leave it to that one, which looks again before it stops. So responses go out in
// the order in which the session made them, and a stuck proxy holds one goroutine.
func (s *Server) push(st *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sending || st.closed {
		return
	}
	st.sending = true
	defer func() { st.sending = false }()
	for resp := st.next(s.cfg.Now()); resp != nil; resp = st.next(s.cfg.Now()) {
		st.mu.Unlock()
		err := st.send(resp)
		st.mu.Lock()
		if err != nil {
			st.end(err)
			return
		}
		s.cfg.Metrics.pushed(resp)
		if st.closed {
			return
		}
	}
	if st.turn && st.protocol.settled() {
		st.turn = false
		s.pace.done(st)
	}
}

// attend looks after a stream's certificate, and returns why the stream is to end.
func (s *Server) attend(ctx context.Context, st *stream) error {
	over := time.AfterFunc(st.ends.at.Sub(s.cfg.Now()), func() { st.end(st.ends.why) })
	defer over.Stop()
	for {
		st.mu.Lock()
		renewed, coming, due, gone := st.cred.changed(), st.cred.coming, st.cred.waiting(), st.away()
		st.mu.Unlock()
		var step func() error
		select {
		case <-st.changed:
			continue
		case <-renewed:
			step = func() error { s.renewed(st); return nil }
		case got := <-coming:
			step = func() error { s.acquired(st, got); return nil }
		case <-due:
			step = func() error { s.onDue(ctx, st); return nil }
		case <-gone:
			step = func() error { return s.onGone(st, gone) }
		case why := <-st.ended:
			var p *parted
			if errors.As(why, &p) {
				return s.part(ctx, st, p)
			}
			return why
		}
		st.mu.Lock()
		err := step()
		st.mu.Unlock()
		if err != nil {
			return err
		}
		go s.push(st) // a stuck proxy must not keep its stream from ending
	}
}

// part ends a stream for good, with its connection.
func (s *Server) part(ctx context.Context, st *stream, why *parted) error {
	if c := connectionOf(ctx); c != nil {
		c.retire()
	}
	end := s.refuse
	if why.reason == "streams-per-pod" {
		end = s.blame
	}
	return end(st.peer, why.reason, why.code, "pod %s: %s", st.peer.pod, why.message)
}

// onGone refuses the stream of a pod that has been out of the mesh for long enough, unless it came back
// at the last moment. st.mu is held.
func (s *Server) onGone(st *stream, timer <-chan time.Time) error {
	if st.away() != timer {
		return nil
	}
	return s.refuse(st.peer, "gone", codes.PermissionDenied, "pod %s is no longer part of the mesh", st.peer.pod)
}

// close ends all that goes on for a stream. cancel ends what may be acquiring a certificate.
func (s *Server) close(st *stream, cancel func()) {
	st.mu.Lock()
	st.closed = true
	st.back()
	st.mu.Unlock()
	cancel()
	st.cred.release()
	s.remove(st)
}
