package xds

import (
	"context"
	"errors"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// request and response are what the messages of both variants have in common.
type request interface{ GetNode() *corev3.Node }

type response interface {
	proto.Message
	GetTypeUrl() string
}

// wire is the gRPC stream, as much of it as is needed.
type wire[Req, Resp any] interface {
	Context() context.Context
	Recv() (Req, error)
	Send(Resp) error
}

// session is one variant of the protocol: deltaSession or sotwSession.
type session[Req, Resp any] interface {
	// handle takes a request and returns the proxy's complaint, if it has one.
	handle(Req) *rejection
	// next returns the next response, the zero value when there is none.
	next(offer) Resp
	// configured says whether the proxy asked for its listeners and answered all that it was sent.
	configured() bool
}

// DeltaAggregatedResources is the incremental variant, which osm's proxies use.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return run(s, g, &deltaSession{})
}

// StreamAggregatedResources is the state-of-the-world variant.
func (s *Server) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return run(s, g, &sotwSession{})
}

// stream is one proxy's connection as the server sees it.
type stream struct {
	peer    peer
	lease   *ca.Lease
	offer   offer
	changed chan struct{} // one slot: the published configuration changed
	ended   chan struct{} // closed when the proxy should go elsewhere
	gone    *time.Timer   // set while the pod is not in the mesh: when that is taken for final
	endOnce sync.Once
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

// run serves one stream: who is it, wait for a turn, then answer and push until one side ends it.
func run[Req request, Resp interface {
	comparable
	response
}](s *Server, g wire[Req, Resp], session session[Req, Resp]) error {
	ctx := g.Context()
	requests, failed := receive(ctx, g)
	opened := time.NewTimer(s.cfg.Patience)
	defer opened.Stop()

	var first Req
	select {
	case first = <-requests:
	case err := <-failed:
		return err
	case <-opened.C:
		return s.refuse("silent", codes.DeadlineExceeded, "no request within %s of opening the stream", s.cfg.Patience)
	}
	st, err := s.accept(ctx, first.GetNode())
	if err != nil {
		return err
	}
	defer s.remove(st)
	defer st.lease.Release()

	// The turn ends when the proxy is configured, at the latest after a while: a proxy that never
	// answers must not hold it.
	release := sync.OnceFunc(func() { <-s.turns })
	defer release()
	defer time.AfterFunc(s.cfg.Patience, release).Stop()

	s.cfg.Log.Debug("proxy connected", "pod", st.peer.pod.String(), "identity", st.peer.identity.String())
	s.record(st, session.handle(first))
	return converse(s, st, conversation[Req, Resp]{g, session, requests, failed, release})
}

// conversation is what a stream runs on once it is accepted.
type conversation[Req, Resp any] struct {
	wire       wire[Req, Resp]
	session    session[Req, Resp]
	requests   <-chan Req
	failed     <-chan error
	configured func() // to be called when the proxy has all that it should have
}

// converse answers and pushes until one side ends the stream.
func converse[Req request, Resp interface {
	comparable
	response
}](s *Server, st *stream, c conversation[Req, Resp]) error {
	// A stream must not outlive what proved it: a proxy comes back with its renewed certificate.
	expired := time.NewTimer(time.Until(st.peer.until))
	defer expired.Stop()
	defer st.back()
	var none Resp
	for {
		for resp := c.session.next(st.offer); resp != none; resp = c.session.next(st.offer) {
			if err := c.wire.Send(resp); err != nil {
				return err
			}
			s.cfg.Metrics.pushed(resp)
		}
		select {
		case req := <-c.requests:
			if err := s.check(st.peer, req.GetNode()); err != nil {
				return err
			}
			s.record(st, c.session.handle(req))
			if c.session.configured() {
				c.configured()
			}
		case <-st.changed:
			if err := s.refresh(st); err != nil {
				return err
			}
		case <-st.lease.Changed():
			if err := s.refreshSecrets(st); err != nil {
				return err
			}
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

// receive reads requests in a goroutine of its own, which ends with the stream.
func receive[Req, Resp any](ctx context.Context, g wire[Req, Resp]) (<-chan Req, <-chan error) {
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

// accept authenticates the proxy, waits until its pod is known and for its turn, and adds the
// stream to those that are told of changes.
func (s *Server) accept(ctx context.Context, node *corev3.Node) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	who, err := s.authenticate(ctx, node)
	if err != nil {
		return nil, err
	}
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, s.refuse("overload", codes.ResourceExhausted, "too many proxies are being configured at the moment: will be retried, no action needed")
	}
	st := &stream{peer: who, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := s.admit(ctx, st); err != nil {
		<-s.turns
		return nil, err
	}
	return st, nil
}

// admit adds the stream, which then has to be removed, after it has all that it can be offered.
func (s *Server) admit(ctx context.Context, st *stream) error {
	lease, err := s.cfg.Leaves.Acquire(ctx, st.peer.identity)
	if err != nil {
		s.cfg.Log.Error("no certificate for a proxy", "pod", st.peer.pod.String(), "error", err)
		return s.refuse("certificate", codes.Unavailable, "no certificate for %s yet: will be retried", st.peer.identity)
	}
	st.lease = lease
	if !s.add(st) {
		lease.Release()
		return s.refuse("draining", codes.Unavailable, "this replica is going away: connect again")
	}
	// Added first, refreshed second: a change in between is either seen here or wakes the stream.
	if err := s.admitRefresh(st); err != nil {
		s.remove(st)
		lease.Release()
		return err
	}
	return nil
}

func (s *Server) admitRefresh(st *stream) error {
	if err := errors.Join(s.refresh(st), s.refreshSecrets(st)); err != nil {
		return err
	}
	if st.offer.view == nil {
		return s.refuse("unknown", codes.Unavailable, "pod %s left the mesh: will be retried", st.peer.pod)
	}
	return nil
}

// refresh looks up what the proxy should have now. A pod that is gone keeps what it has for a
// while: it may still be finishing its last requests.
func (s *Server) refresh(st *stream) error {
	config := s.config.Load()
	w := config.Snapshot().Workload(st.peer.pod)
	if w == nil {
		st.left(s.cfg.Farewell)
		return nil
	}
	st.back()
	if w.Identity != st.peer.identity {
		return s.refuse("identity", codes.PermissionDenied, "pod %s runs as %s, the certificate is of %s", st.peer.pod, w.Identity, st.peer.identity)
	}
	view, err := config.View(w)
	if err != nil {
		// The last good configuration stays; the fault is osm's own, so it is loud.
		s.cfg.Log.Error("configuration of a proxy cannot be built, it keeps the last one", "pod", st.peer.pod.String(), "error", err)
		return nil
	}
	st.offer.view = view
	return nil
}

func (s *Server) refreshSecrets(st *stream) error {
	resources, err := secretResources(st.lease.Current(), s.cfg.Trust())
	if err != nil {
		return status.Errorf(codes.Internal, "secrets of %s: %v", st.peer.identity, err)
	}
	st.offer.secrets = resources
	return nil
}

// record keeps what a proxy complained about.
func (s *Server) record(st *stream, r *rejection) {
	if r == nil {
		return
	}
	s.cfg.Metrics.nacks.WithLabelValues(r.typ.name()).Inc()
	s.cfg.Log.Error("proxy rejected configuration and keeps its last one; it is not sent again until it changes",
		"pod", st.peer.pod.String(), "type", r.typ.name(), "resources", r.resources, "reason", r.message)
}
