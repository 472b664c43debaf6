package xds

import (
	"context"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

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
	SendHeader(metadata.MD) error
	SendMsg(message any) error
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

// conversation is what a stream runs on.
type conversation[Req request] struct {
	wire       wire[Req]
	session    session[Req]
	first      chan received[Req] // one slot
	accepted   chan *stream       // one slot
	configured func()             // to be called when the proxy has all that it should have
}

// received is a request, or why there will be none any more.
type received[Req any] struct {
	req Req
	err error
}

// run serves one stream: who is it, wait for a turn, then answer and push until one side ends it.
func run[Req request](s *Server, g wire[Req], session session[Req], variant string) error {
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	// The turn ends when the proxy is configured, at the latest after a while: a proxy that never
	// answers must not hold it.
	release := sync.OnceFunc(func() { <-s.turns })
	c := conversation[Req]{wire: g, session: session, first: make(chan received[Req], 1), accepted: make(chan *stream, 1), configured: release}
	go c.receive(ctx, s)
	first, err := c.opening(s)
	if err != nil {
		return err
	}
	st, err := s.accept(ctx, first.GetNode(), variant, session, g.SendMsg)
	if err != nil {
		return err
	}
	defer release()
	late := time.AfterFunc(s.cfg.Patience, release)
	defer late.Stop()
	defer s.close(st, cancel)
	// Before anybody else can send or end the stream: gRPC has no order for the two.
	if err := g.SendHeader(nil); err != nil {
		return err
	}
	s.cfg.Log.Debug("proxy connected", "pod", st.peer.pod.String(), "identity", st.peer.identity.String())
	c.accepted <- st
	return s.attend(ctx, st)
}

// opening waits for the request that a stream starts with.
func (c conversation[Req]) opening(s *Server) (first Req, err error) {
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	select {
	case got := <-c.first:
		return got.req, got.err
	case <-patience.C:
		return first, s.refuse("silent", codes.DeadlineExceeded, "no request within %s of opening the stream", s.cfg.Patience)
	}
}

// receive takes requests until the stream fails. It waits with the first until the stream is accepted.
func (c conversation[Req]) receive(ctx context.Context, s *Server) {
	req, err := c.wire.Recv()
	c.first <- received[Req]{req, err}
	var st *stream
	select {
	case st = <-c.accepted:
	case <-ctx.Done():
		return
	}
	for ; err == nil; req, err = c.wire.Recv() {
		if err = c.take(ctx, s, st, req); err != nil {
			break
		}
		s.push(st)
	}
	st.fail(err)
}

// take handles a request.
func (c conversation[Req]) take(ctx context.Context, s *Server, st *stream, req Req) error {
	if err := s.check(st.peer, req.GetNode()); err != nil {
		return err
	}
	now := s.cfg.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return nil
	}
	if !st.secrets && req.GetTypeUrl() == envoy.TypeSecret {
		st.secrets = true
		s.firstSecrets(ctx, st, brought(req))
	}
	said := c.session.handle(req, st.offer, now)
	st.acknowledged(said, now)
	if n := c.session.subscribed(); n > maxSubscribed {
		st.closed = true
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

// record keeps what a proxy said about a response. st.mu is held.
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
