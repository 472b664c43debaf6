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

// grpcStream is the part of a gRPC stream that is needed.
type grpcStream[Req any] interface {
	Context() context.Context
	Recv() (Req, error)
	SendHeader(metadata.MD) error
	SendMsg(message any) error
}

// session is one variant of the protocol: deltaSession or sotwSession.
type session[Req any] interface {
	protocol
	// handle takes a request and returns what it acknowledges or rejects.
	handle(Req, offer, time.Time) ack
}

// The names of the variants for users.
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

// exchange connects a gRPC stream with its session until the stream is accepted, and receives from then on.
type exchange[Req request] struct {
	wire     grpcStream[Req]
	session  session[Req]
	first    chan received[Req] // one slot
	accepted chan *stream       // one slot
}

// received is a request, or the error that ended them.
type received[Req any] struct {
	req Req
	err error
}

// run serves one stream: authenticate, wait for a sync slot, then handle requests and push until one side
// ends it.
func run[Req request](s *Server, g grpcStream[Req], session session[Req], variant string) error {
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	c := exchange[Req]{wire: g, session: session, first: make(chan received[Req], 1), accepted: make(chan *stream, 1)}
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
	defer st.close(cancel)
	// This comes before any other goroutine can send or end the stream: gRPC does not order the two.
	if err := g.SendHeader(nil); err != nil {
		return err
	}
	s.cfg.Log.Debug("proxy connected", "pod", st.peer.pod.String(), "identity", st.peer.identity.String())
	c.accepted <- st
	return st.attend(ctx)
}

// open reads the first request and accepts the stream.
func (c exchange[Req]) open(ctx context.Context, s *Server, variant string) (st *stream, err error) {
	if conn := connectionOf(ctx); conn != nil {
		if err := conn.wait(); err != nil {
			return nil, err
		}
		defer func() {
			conn.waited(err == nil)
			if status.Code(err) == codes.Unavailable {
				conn.turnAway()
			}
		}()
	}
	who, _ := s.proven(ctx) // an error is ignored: accept checks again
	go c.receive(ctx, s, who)
	first, err := c.firstRequest(s, who)
	if err != nil {
		return nil, err
	}
	return s.accept(ctx, arrival{first.GetNode(), variant, len(brought(first)) > 0}, c.session, c.wire.SendMsg)
}

// firstRequest waits for the first request.
func (c exchange[Req]) firstRequest(s *Server, who peer) (first Req, err error) {
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	select {
	case got := <-c.first:
		return got.req, got.err
	case <-patience.C:
		return first, s.refuseOffender(who, "silent", codes.DeadlineExceeded, "no request within %s of opening the stream", s.cfg.Patience)
	}
}

// receive handles requests until the stream fails. It keeps the first until the stream is accepted.
func (c exchange[Req]) receive(ctx context.Context, s *Server, who peer) {
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
		if unasked, err = c.handle(ctx, s, st, req); err != nil {
			break
		}
		if unasked {
			st.slow(ctx)
		}
		st.push()
	}
	st.fail(err)
}

// next receives the next request, and ends the stream if it is larger than a proxy's can be.
func (c exchange[Req]) next(s *Server, who peer) (Req, error) {
	req, err := c.wire.Recv()
	switch {
	case status.Code(err) == codes.ResourceExhausted: // gRPC's code for its size
		return req, s.refuseOffender(who, "request-bytes", codes.ResourceExhausted, "a request is larger than %d bytes", s.cfg.Limits.RequestBytes)
	case err != nil:
		return req, err
	}
	if n := namesIn(req); n > s.cfg.Limits.Names {
		return req, s.refuseOffender(who, "names", codes.ResourceExhausted, "a request with %d names, the limit is %d", n, s.cfg.Limits.Names)
	}
	return req, nil
}

// slow delays a proxy that sends more requests than it needs for its answers.
func (st *stream) slow(ctx context.Context) {
	reservation := st.requests.ReserveN(st.server.cfg.Now(), 1)
	delay := reservation.DelayFrom(st.server.cfg.Now())
	if delay <= 0 {
		return
	}
	st.server.offenders.report("requests-per-pod-per-second", st.peer.name(), "proxy sends too many requests, delaying it", "pod", st.peer.pod.String())
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// handle handles a request. unasked reports whether it is anything other than an ACK.
func (c exchange[Req]) handle(ctx context.Context, s *Server, st *stream, req Req) (unasked bool, err error) {
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
		st.firstSecrets(ctx, brought(req))
	}
	said := c.session.handle(req, st.offer, now)
	st.acknowledged(said, now)
	if err := s.cfg.Limits.fits(c.session); err != nil {
		st.closed = true
		return false, s.refuseOffender(st.peer, "names", codes.ResourceExhausted, "pod %s %v", st.peer.pod, err)
	}
	st.ensureSendable(ctx)
	st.record(said)
	if c.session.configured() {
		st.configured()
	}
	return !said.accepted || said.changed, nil
}

// namesIn returns how many names a request holds.
func namesIn(req any) int {
	switch r := req.(type) {
	case *discoveryv3.DeltaDiscoveryRequest:
		return len(r.GetResourceNamesSubscribe()) + len(r.GetResourceNamesUnsubscribe()) + len(r.GetInitialResourceVersions())
	case *discoveryv3.DiscoveryRequest:
		return len(r.GetResourceNames())
	}
	return 0
}

// brought returns the versions, by name, that a proxy reports to hold with its first request of a type,
// as the incremental variant allows.
func brought(req any) map[string]string {
	if r, ok := req.(interface{ GetInitialResourceVersions() map[string]string }); ok {
		return r.GetInitialResourceVersions()
	}
	return nil
}

// record logs and counts a rejection. st.mu is held.
func (st *stream) record(said ack) {
	if r := said.rejection; r != nil {
		st.server.cfg.Metrics.nacks[said.typ].Inc()
		st.server.offenders.log(slog.LevelError, st.peer.name(), "proxy rejected configuration and keeps the last one; it is not sent again until it changes",
			"pod", st.peer.pod.String(), "type", said.typ.String(), "resources", firstNames(r.names()), "count", len(r.names()), "reason", r.message)
	}
	if now := st.protocol.rejected(); now != st.rejected {
		st.server.cfg.Metrics.rejected.Add(float64(now - st.rejected))
		st.rejected = now
	}
}
