package xds

import (
	"context"
	"log/slog"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
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
	wire     wire[Req]
	session  session[Req]
	first    chan received[Req] // one slot
	accepted chan *stream       // one slot
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
	c := conversation[Req]{wire: g, session: session, first: make(chan received[Req], 1), accepted: make(chan *stream, 1)}
	st, err := c.open(ctx, s, variant)
	if err != nil {
		return err
	}
	defer st.configured()
	if conn := connectionOf(ctx); conn != nil {
		defer conn.left()
	}
	late := time.AfterFunc(s.cfg.Patience, st.configured)
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

// open does all that comes before a stream is accepted.
func (c conversation[Req]) open(ctx context.Context, s *Server, variant string) (st *stream, err error) {
	if conn := connectionOf(ctx); conn != nil {
		if err := conn.wait(); err != nil {
			return nil, err
		}
		defer func() { conn.waited(err == nil) }()
	}
	who, _ := s.proven(ctx) // whatever it proves: accept looks again
	go c.receive(ctx, s, who)
	first, err := c.opening(s, who)
	if err != nil {
		return nil, err
	}
	return s.accept(ctx, first.GetNode(), variant, c.session, c.wire.SendMsg)
}

// opening waits for the request that a stream starts with.
func (c conversation[Req]) opening(s *Server, who peer) (first Req, err error) {
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	select {
	case got := <-c.first:
		return got.req, got.err
	case <-patience.C:
		return first, s.blame(who, "silent", codes.DeadlineExceeded, "no request within %s of opening the stream", s.cfg.Patience)
	}
}

// receive takes requests until the stream fails. It waits with the first until the stream is accepted.
func (c conversation[Req]) receive(ctx context.Context, s *Server, who peer) {
	req, err := c.next(s, who)
	c.first <- received[Req]{req, err}
	var st *stream
	select {
	case st = <-c.accepted:
	case <-ctx.Done():
		return
	}
	for ; err == nil; req, err = c.next(s, st.peer) {
		var unasked bool
		if unasked, err = c.take(ctx, s, st, req); err != nil {
			break
		}
		if unasked {
			s.slow(ctx, st)
		}
		s.push(st)
	}
	st.fail(err)
}

// next takes the next request and refuses it when it is larger than any proxy's.
func (c conversation[Req]) next(s *Server, who peer) (Req, error) {
	req, err := c.wire.Recv()
	switch {
	case status.Code(err) == codes.ResourceExhausted: // gRPC says so of its size
		return req, s.blame(who, "request-bytes", codes.ResourceExhausted, "a request is larger than %d bytes", s.cfg.Limits.RequestBytes)
	case err != nil:
		return req, err
	}
	if n := namesIn(req); n > s.cfg.Limits.Names {
		return req, s.blame(who, "names", codes.ResourceExhausted, "a request with %d names, the limit is %d", n, s.cfg.Limits.Names)
	}
	return req, nil
}

// slow makes a proxy wait that asks for more than one does who only answers.
func (s *Server) slow(ctx context.Context, st *stream) {
	reservation := st.asked.ReserveN(s.cfg.Now(), 1)
	delay := reservation.DelayFrom(s.cfg.Now())
	if delay <= 0 {
		return
	}
	s.notes.offence("requests-per-pod-per-second", st.peer.name(), "a proxy asks for too much and has to wait", "pod", st.peer.pod.String())
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take handles a request. unasked says that it does more, or less, than to accept what was sent.
func (c conversation[Req]) take(ctx context.Context, s *Server, st *stream, req Req) (unasked bool, err error) {
	if err := s.check(st.peer, req.GetNode()); err != nil {
		return false, err
	}
	now := s.cfg.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return true, nil
	}
	if !st.secrets && req.GetTypeUrl() == envoy.TypeSecret {
		st.secrets = true
		s.firstSecrets(ctx, st, brought(req))
	}
	said := c.session.handle(req, st.offer, now)
	st.acknowledged(said, now)
	if err := s.cfg.Limits.fits(c.session); err != nil {
		st.closed = true
		return false, s.blame(st.peer, "names", codes.ResourceExhausted, "pod %s %v", st.peer.pod, err)
	}
	s.ensureSendable(ctx, st)
	s.record(st, said)
	if c.session.configured() {
		st.configured()
	}
	return !said.accepted || said.changed, nil
}

// namesIn is how many names a request holds.
func namesIn(req any) int {
	switch r := req.(type) {
	case *discoveryv3.DeltaDiscoveryRequest:
		return len(r.GetResourceNamesSubscribe()) + len(r.GetResourceNamesUnsubscribe()) + len(r.GetInitialResourceVersions())
	case *discoveryv3.DiscoveryRequest:
		return len(r.GetResourceNames())
	}
	return 0
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
		s.notes.say(slog.LevelError, st.peer.name(), "proxy rejected configuration and keeps its last one; it is not sent again until it changes",
			"pod", st.peer.pod.String(), "type", said.typ.String(), "resources", few(r.names()), "count", len(r.names()), "reason", r.message)
	}
	if now := st.protocol.rejected(); now != st.rejected {
		s.cfg.Metrics.rejected.Add(float64(now - st.rejected))
		st.rejected = now
	}
}
