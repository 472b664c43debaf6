package xds

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// request is what the requests of both variants have in common.
type request interface {
	GetNode() *corev3.Node
	GetTypeUrl() string
}

// wire is the gRPC stream, as much of it as is needed.
type wire[Req any] interface {
	Context() context.Context
	Recv() (Req, error)
	SendMsg(message any) error
}

// protocol is the half of a session that does not depend on the variant.
type protocol interface {
	// next returns the next response, nil when there is none.
	next(offer, time.Time) *response
	// settled says whether the proxy answered all that it was sent.
	settled() bool
	// configured says whether the proxy asked for its listeners and answered all that it was sent.
	configured() bool
	// lacks says whether the proxy is to be sent a resource.
	lacks(typ resourceType, name string, o offer) bool
	// subscribed is how many bytes of names the proxy asked for.
	subscribed() int
	// rejected is the number of resources that the proxy refuses at the moment.
	rejected() int
	// report describes the session for people.
	report() []TypeState
}

// errExpired says that the certificate that proved who the proxy is has expired.
var errExpired = errors.New("the client certificate has expired")

// session is one variant of the protocol: deltaSession or sotwSession.
type session[Req any] interface {
	protocol
	// handle takes a request and returns what the proxy says in it about a response.
	handle(Req, offer, time.Time) answer
}

// The variants, as people know them.
const (
	variantDelta = "delta"
	variantSotw  = "state-of-the-world"
)

// DeltaAggregatedResources is the incremental variant, which osm's proxies use.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return run(s, g, &deltaSession{lists: s.lists}, variantDelta)
}

// StreamAggregatedResources is the state-of-the-world variant.
func (s *Server) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return run(s, g, &sotwSession{lists: s.lists}, variantSotw)
}

// stream is one proxy's connection as the server sees it.
type stream struct {
	peer    peer
	since   time.Time
	variant string
	changed chan struct{} // one slot: there may be something else to offer
	ended   chan error    // one slot: why the server ends the stream
	// expires is when the workload certificate at the proxy expires, as Unix time; 0 if it has none.
	expires atomic.Int64
	// hasten is within how many nanoseconds a certificate that the proxy brought is to be replaced; 0
	// when nobody asked for it.
	hasten atomic.Int64
	seen   atomic.Pointer[lookedUp] // what the stream saw last of what was published
	pace   paced

	// What follows belongs to the stream's goroutine. It holds mu while it changes the protocol's
	// state, never while it sends, so that Debug can look at it.
	mu       sync.Mutex
	protocol protocol
	offer    offer
	trust    *trusted
	secrets  bool // the proxy asked for secrets
	cred     credential
	leased   *certificate // the one in the offer; nil while that is one that the proxy brought
	sent     secretsHeld  // as of the last response with secrets
	acked    secretsHeld
	turn     bool        // it has looked at what was published, and not given its place back
	rejected int         // what it added to the metric
	gone     *time.Timer // set while the pod is not in the mesh: when that is taken for final
}

// wake tells the stream to look at its configuration again. It never blocks: a stream that is busy
// finds the newest state when it comes round.
func (st *stream) wake() {
	select {
	case st.changed <- struct{}{}:
	default:
	}
}

// left starts the time after which a pod that is not in the mesh any more loses its stream.
func (st *stream) left(after time.Duration) {
	if st.gone == nil {
		st.gone = time.NewTimer(after)
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

// next returns the next response to send.
func (st *stream) next(now time.Time) *response {
	st.mu.Lock()
	defer st.mu.Unlock()
	resp := st.protocol.next(st.offer, now)
	if resp != nil && resp.typ == secrets {
		st.sent = secretsHeld{trust: st.trust, cert: st.leased}
	}
	return resp
}

// run serves one stream: who is it, wait for a turn, then answer and push until one side ends it.
func run[Req request](s *Server, g wire[Req], session session[Req], variant string) error {
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	c := conversation[Req]{wire: g, session: session, received: receive(g, done)}
	first, err := opening(s, c)
	if err != nil {
		return err
	}
	st, err := s.accept(ctx, first.GetNode(), variant, session)
	if err != nil {
		return err
	}
	defer s.remove(st)
	defer func() {
		cancel() // ends what may be acquiring a certificate
		st.cred.release()
	}()
	// The turn ends when the proxy is configured, at the latest after a while: a proxy that never
	// answers must not hold it.
	release := sync.OnceFunc(func() { <-s.turns })
	defer release()
	late := time.AfterFunc(s.cfg.Patience, release)
	defer late.Stop()
	c.configured = release
	s.cfg.Log.Debug("proxy connected", "pod", st.peer.pod.String(), "identity", st.peer.identity.String())
	if err := c.take(ctx, s, st, first); err != nil {
		return err
	}
	return c.converse(ctx, s, st)
}

// conversation is what a stream runs on.
type conversation[Req request] struct {
	wire       wire[Req]
	session    session[Req]
	received   <-chan received[Req]
	configured func() // to be called when the proxy has all that it should have
}

// opening waits for the request that a stream starts with.
func opening[Req request](s *Server, c conversation[Req]) (first Req, err error) {
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	select {
	case got := <-c.received:
		return got.req, got.err
	case <-patience.C:
		return first, s.refuse("silent", codes.DeadlineExceeded, "no request within %s of opening the stream", s.cfg.Patience)
	}
}

// converse answers and pushes until one side ends the stream.
func (c conversation[Req]) converse(ctx context.Context, s *Server, st *stream) error {
	// A stream must not outlive what proved it: a proxy comes back with its renewed certificate.
	// It ends by a function: a timer's channel in the select would be armed anew in each round.
	expired := time.AfterFunc(st.peer.until.Sub(s.cfg.Now()), func() { st.end(errExpired) })
	defer expired.Stop()
	defer st.back()
	for {
		for resp := st.next(s.cfg.Now()); resp != nil; resp = st.next(s.cfg.Now()) {
			if err := c.wire.SendMsg(resp); err != nil {
				return err
			}
			s.cfg.Metrics.pushed(resp)
		}
		if st.turn && c.session.settled() {
			st.turn = false
			s.pace.done(st)
		}
		select {
		case got := <-c.received:
			if got.err != nil {
				return got.err
			}
			if err := c.take(ctx, s, st, got.req); err != nil {
				return err
			}
		case <-st.changed:
			st.turn = true
			if err := s.refresh(st); err != nil {
				return err
			}
		case <-st.cred.changed():
			s.renewed(st)
		case got := <-st.cred.coming:
			s.acquired(st, got)
		case <-st.cred.waiting():
			s.onDue(ctx, st)
		case <-st.away():
			return s.refuse("gone", codes.PermissionDenied, "pod %s is no longer part of the mesh", st.peer.pod)
		case why := <-st.ended:
			if errors.Is(why, errExpired) {
				return s.refuse("expired", codes.Unauthenticated, "the client certificate of pod %s has expired: connect again", st.peer.pod)
			}
			return why
		}
	}
}

// take handles a request.
func (c conversation[Req]) take(ctx context.Context, s *Server, st *stream, req Req) error {
	if err := s.check(st.peer, req.GetNode()); err != nil {
		return err
	}
	now := s.cfg.Now()
	if !st.secrets && req.GetTypeUrl() == envoy.TypeSecret {
		st.secrets = true
		s.firstSecrets(ctx, st, brought(req))
	}
	st.mu.Lock()
	said := c.session.handle(req, st.offer, now)
	st.acknowledged(said, now)
	st.mu.Unlock()
	if n := c.session.subscribed(); n > maxSubscribed {
		return s.refuse("names", codes.ResourceExhausted, "pod %s subscribed to %d bytes of names, the limit is %d", st.peer.pod, n, maxSubscribed)
	}
	s.ensureSendable(ctx, st)
	s.record(st, said)
	if c.session.configured() {
		c.configured()
	}
	return nil
}

// brought are the versions of what a proxy holds, by name, that it reports with its first request of
// a type, as the incremental variant allows.
func brought(req any) map[string]string {
	if r, ok := req.(interface{ GetInitialResourceVersions() map[string]string }); ok {
		return r.GetInitialResourceVersions()
	}
	return nil
}

// received is a request, or why there will be none any more.
type received[Req any] struct {
	req Req
	err error
}

// receive reads requests in a goroutine of its own, until the stream fails or nobody takes them any
// more.
func receive[Req any](g wire[Req], done <-chan struct{}) <-chan received[Req] {
	all := make(chan received[Req])
	go func() {
		for {
			req, err := g.Recv()
			select {
			case all <- received[Req]{req, err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return all
}

// record keeps what a proxy said about a response.
func (s *Server) record(st *stream, said answer) {
	if r := said.refusal; r != nil {
		s.cfg.Metrics.nacks[said.typ].Inc()
		s.cfg.Log.Error("proxy rejected configuration and keeps its last one; it is not sent again until it changes",
			"pod", st.peer.pod.String(), "type", said.typ.name(), "resources", few(r.names()), "count", len(r.names()), "reason", r.message)
	}
	if now := st.protocol.rejected(); now != st.rejected {
		s.cfg.Metrics.rejected.Add(float64(now - st.rejected))
		st.rejected = now
	}
}
