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

// protocol is the part of a session that is the same for both variants of the protocol.
type protocol interface {
	// next returns the next response, nil if there is none.
	next(offer, time.Time) *response
	// settled reports whether the proxy answered everything it was sent.
	settled() bool
	// configured reports whether the proxy asked for its listeners and answered everything it was sent.
	configured() bool
	// lacks reports whether the proxy wants a resource and does not hold its current version.
	lacks(typ envoy.Kind, name string, o offer) bool
	// remembers is how many names the proxy asked for, and the memory that they take.
	remembers() (names, bytes int)
	// rejected is the number of resources that the proxy currently rejects.
	rejected() int
	// report describes the session for the debug page.
	report() []debug.Type
}

// termination is why the server ends a stream together with its connection: what the proxy proved on that
// connection no longer counts, so that it has to connect and prove it again.
type termination struct {
	reason  string
	code    codes.Code
	message string
}

func (t *termination) Error() string { return t.message }

// stream is one proxy's stream. Three kinds of goroutines work on it, each holding mu for one step:
// receive handles the proxy's requests, takeTurn (started by the pacer) applies what was published, and
// attend handles rare events: certificates and the end. After each step push sends what is new.
type stream struct {
	server   *Server
	peer     peer
	since    time.Time
	variant  string
	release  string // Envoy's version
	held     bool   // the proxy had a configuration when it came
	send     func(message any) error
	changed  wake.Signal // the handler's goroutine has something else to wait for
	ended    chan error  // one slot: why the server ends the stream
	ends     lifetime
	requests *rate.Limiter // the pod's
	// configured returns the slot of the first sync; it is called when the proxy has its whole configuration.
	configured func()
	// expires is when the workload certificate at the proxy expires, as Unix time; 0 if it has none.
	expires atomic.Int64
	// reissueWithin is set by Reissue: the time, in nanoseconds, within which a certificate that the proxy
	// brought is replaced; 0 if none was asked for.
	reissueWithin atomic.Int64
	seen          atomic.Pointer[assignment] // what the stream last looked up
	pace          paced

	mu       sync.Mutex // never held while something is sent
	protocol protocol
	offer    offer
	trust    *trusted
	secrets  bool // the proxy asked for secrets
	cred     credential
	offered  *certificate // the one in the offer; nil while that is one that the proxy brought
	sent     secretsHeld  // as of the last response with secrets
	acked    secretsHeld
	onTurn   bool        // it took its turn and still has its place
	sending  bool        // a goroutine is in push
	closed   bool        // it has ended or is about to end: nothing more is sent
	rejected int         // its share of the metric
	grace    *time.Timer // ends the stream of a pod that left the mesh; nil while the pod is a member
}

// startGrace starts the time after which a pod that left the mesh loses its stream.
func (st *stream) startGrace(after time.Duration) {
	if st.grace == nil {
		st.grace = time.NewTimer(after)
		st.changed.Wake()
	}
}

// stopGrace stops the grace period: the pod is in the mesh.
func (st *stream) stopGrace() {
	if st.grace != nil {
		st.grace.Stop()
		st.grace = nil
	}
}

// graceOver receives when the grace period has ended, and never while the pod is in the mesh.
func (st *stream) graceOver() <-chan time.Time {
	if st.grace == nil {
		return nil
	}
	return st.grace.C
}

// end ends the stream. The first reason wins.
func (st *stream) end(why error) {
	select {
	case st.ended <- why:
	default:
	}
}

// fail ends the stream because of something its proxy did.
func (st *stream) fail(err error) {
	st.freeze()
	st.end(err)
}

// freeze makes sure that nothing more is sent on the stream.
func (st *stream) freeze() {
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
}

// next returns the next response to send. st.mu is held.
func (st *stream) next(now time.Time) *response {
	resp := st.protocol.next(st.offer, now)
	if resp != nil && resp.typ == envoy.Secrets {
		st.sent = secretsHeld{trust: st.trust, cert: st.offered}
	}
	return resp
}

// takeTurn applies what was published and sends what the proxy does not hold. The pacer calls it.
func (st *stream) takeTurn() {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return // pacer.leave frees the place
	}
	st.onTurn = true
	err := st.refresh()
	st.closed = st.closed || err != nil
	st.mu.Unlock()
	if err != nil {
		st.end(err)
		return
	}
	st.push()
}

// push sends everything that is ready. Sending may block on the proxy, so one goroutine at a time sends;
// the others return and rely on it to check again before it stops. Responses are therefore sent in the order
// in which the session made them, and a stuck proxy holds one goroutine.
func (st *stream) push() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sending || st.closed {
		return
	}
	st.sending = true
	defer func() { st.sending = false }()
	for resp := st.next(st.server.cfg.Now()); resp != nil; resp = st.next(st.server.cfg.Now()) {
		st.mu.Unlock()
		err := st.send(resp)
		st.mu.Lock()
		if err != nil {
			st.end(err)
			return
		}
		st.server.cfg.Metrics.pushed(resp)
		if st.closed {
			return
		}
	}
	if st.onTurn && st.protocol.settled() {
		st.onTurn = false
		st.server.pace.done(st)
	}
}

// attend renews the proxy's certificate until the stream ends, and returns why it ended.
func (st *stream) attend(ctx context.Context) error {
	over := time.AfterFunc(st.ends.at.Sub(st.server.cfg.Now()), func() { st.end(st.ends.why) })
	defer over.Stop()
	for {
		st.mu.Lock()
		renewed, coming, due, gone := st.cred.changed(), st.cred.coming, st.cred.waiting(), st.graceOver()
		st.mu.Unlock()
		var step func() error
		select {
		case <-st.changed:
			continue
		case <-renewed:
			step = func() error { st.renewed(); return nil }
		case got := <-coming:
			step = func() error { st.acquired(got); return nil }
		case <-due:
			step = func() error { st.onDue(ctx); return nil }
		case <-gone:
			step = func() error { return st.onGraceOver(gone) }
		case why := <-st.ended:
			var p *termination
			if errors.As(why, &p) {
				return st.terminate(ctx, p)
			}
			return why
		}
		st.mu.Lock()
		err := step()
		st.mu.Unlock()
		if err != nil {
			return err
		}
		go st.push() // a stuck proxy must not keep its stream from ending
	}
}

// terminate ends the stream together with its connection.
func (st *stream) terminate(ctx context.Context, why *termination) error {
	if c := connectionOf(ctx); c != nil {
		c.retire()
	}
	end := st.server.refuse
	if why.reason == "streams-per-pod" {
		end = st.server.refuseOffender
	}
	return end(st.peer, why.reason, why.code, "pod %s: %s", st.peer.pod, why.message)
}

// onGraceOver ends the stream of a pod that left the mesh, unless the pod has just come back.
// st.mu is held.
func (st *stream) onGraceOver(timer <-chan time.Time) error {
	if st.graceOver() != timer {
		return nil
	}
	return st.server.refuse(st.peer, "gone", codes.PermissionDenied, "pod %s is no longer part of the mesh", st.peer.pod)
}

// close releases what the stream holds. cancel ends a pending request for a certificate.
func (st *stream) close(cancel func()) {
	st.mu.Lock()
	st.closed = true
	st.stopGrace()
	st.mu.Unlock()
	cancel()
	st.cred.release()
	st.server.remove(st)
}
