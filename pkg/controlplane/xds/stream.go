package xds

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	ended   chan struct{} // closed when the proxy should go elsewhere
	endOnce sync.Once
	// expires is when the workload certificate at the proxy expires, as Unix time; 0 if it has none.
	expires atomic.Int64
	// hasten is within how many nanoseconds a certificate that the proxy brought is to be replaced; 0
	// when nobody asked for it.
	hasten atomic.Int64
	seen   lookedUp // what Publish found last; guarded by Server.mu

	// What follows belongs to the stream's goroutine. It holds mu while it changes the protocol's
	// state, never while it sends, so that Debug can look at it.
	mu       sync.Mutex
	protocol protocol
	offer    offer
	trust    *trusted
	secrets  bool // the proxy asked for secrets
	cred     credential
	offered  time.Time   // when the certificate in the offer expires
	sent     time.Time   // when the certificate that was sent last expires
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

func (st *stream) end() { st.endOnce.Do(func() { close(st.ended) }) }

// next returns the next response to send.
func (st *stream) next(now time.Time) *response {
	st.mu.Lock()
	defer st.mu.Unlock()
	resp := st.protocol.next(st.offer, now)
	if resp != nil && resp.typ == secrets {
		st.sent = st.offered
	}
	return resp
}

// run serves one stream: who is it, wait for a turn, then answer and push until one side ends it.
func run[Req request](s *Server, g wire[Req], session session[Req], variant string) error {
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	c := conversation[Req]{wire: g, session: session}
	c.requests, c.failed = receive(ctx, g)
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
	requests   <-chan Req
	failed     <-chan error
	configured func() // to be called when the proxy has all that it should have
}

// opening waits for the request that a stream starts with.
func opening[Req request](s *Server, c conversation[Req]) (first Req, err error) {
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	select {
	case first = <-c.requests:
		return first, nil
	case err = <-c.failed:
		return first, err
	case <-patience.C:
		return first, s.refuse("silent", codes.DeadlineExceeded, "no request within %s of opening the stream", s.cfg.Patience)
	}
}

// converse answers and pushes until one side ends the stream.
func (c conversation[Req]) converse(ctx context.Context, s *Server, st *stream) error {
	// A stream must not outlive what proved it: a proxy comes back with its renewed certificate.
	expired := time.NewTimer(st.peer.until.Sub(s.cfg.Now()))
	defer expired.Stop()
	defer st.back()
	for {
		for resp := st.next(s.cfg.Now()); resp != nil; resp = st.next(s.cfg.Now()) {
			if err := c.wire.SendMsg(resp); err != nil {
				return err
			}
			s.cfg.Metrics.pushed(resp)
		}
		select {
		case req := <-c.requests:
			if err := c.take(ctx, s, st, req); err != nil {
				return err
			}
		case <-st.changed:
			if err := s.refresh(st); err != nil {
				return err
			}
		case <-st.cred.changed():
			s.renewed(st)
		case got := <-st.cred.coming:
			s.acquired(st, got)
		case <-st.cred.waiting():
			s.onDue(ctx, st)
		case <-expired.C:
			return s.refuse("expired", codes.Unauthenticated, "the client certificate of pod %s has expired: connect again", st.peer.pod)
		case <-st.away():
			return s.refuse("gone", codes.PermissionDenied, "pod %s is no longer part of the mesh", st.peer.pod)
		case <-st.ended:
			return status.Error(codes.Unavailable, "this replica is going away: connect again")
		case err := <-c.failed:
			return err
		}
	}
}

// take handles a request.
func (c conversation[Req]) take(ctx context.Context, s *Server, st *stream, req Req) error {
	if err := s.check(st.peer, req.GetNode()); err != nil {
		return err
	}
	if !st.secrets && req.GetTypeUrl() == envoy.TypeSecret {
		st.secrets = true
		s.firstSecrets(ctx, st, broughtVersion(req))
	}
	st.mu.Lock()
	said := c.session.handle(req, st.offer, s.cfg.Now())
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

// broughtVersion is the version of the workload certificate that a proxy reports with its first
// request for secrets, as the incremental variant allows.
func broughtVersion(req any) string {
	if r, ok := req.(interface{ GetInitialResourceVersions() map[string]string }); ok {
		return r.GetInitialResourceVersions()[envoy.SecretWorkload]
	}
	return ""
}

// receive reads requests in a goroutine of its own, which ends with the stream.
func receive[Req any](ctx context.Context, g wire[Req]) (<-chan Req, <-chan error) {
	requests, failed := make(chan Req), make(chan error, 1)
	go func() {
		for {
			req, err := g.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				failed <- context.Cause(ctx)
				return
			}
		}
	}()
	return requests, failed
}

// record keeps what a proxy said about a response.
func (s *Server) record(st *stream, said answer) {
	if said.accepted && said.typ == secrets && !st.sent.IsZero() {
		st.expires.Store(st.sent.Unix())
	}
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
