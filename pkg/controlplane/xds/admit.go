package xds

import (
	"context"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// accept authenticates the proxy, waits until its pod is known and for its turn, and adds the
// stream, which then has to be removed, to those that are told of changes.
func (s *Server) accept(ctx context.Context, node *corev3.Node, variant string, p protocol, send func(any) error) (*stream, error) {
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
	st := &stream{
		peer: who, since: s.cfg.Now(), variant: variant, protocol: p, send: send,
		poked: make(chan struct{}, 1), ended: make(chan error, 1),
	}
	st.seen.Store(&lookedUp{})
	if err := s.admit(st); err != nil {
		<-s.turns
		return nil, err
	}
	return st, nil
}

// admit adds the stream after all checks, and removes it again if it has nothing to offer.
func (s *Server) admit(st *stream) error {
	if !s.add(st) {
		return s.refuse("draining", codes.Unavailable, "this replica is going away: connect again")
	}
	// Added first, refreshed second: a change in between is either seen here or gives the stream a turn.
	st.mu.Lock()
	defer st.mu.Unlock()
	err := s.refresh(st)
	if err == nil && st.offer.view == (envoy.View{}) {
		err = s.refuse("unknown", codes.Unavailable, "pod %s left the mesh: will be retried", st.peer.pod)
	}
	if err != nil {
		st.closed = true
		st.back()
		s.remove(st)
	}
	return err
}

// refresh looks up what the proxy should have now. A pod that is gone keeps what it has for a
// while: it may still be finishing its last requests. st.mu is held.
func (s *Server) refresh(st *stream) error {
	s.retrust(st, s.trust.Load())
	if within := st.hasten.Swap(0); within > 0 {
		s.sooner(st, time.Duration(within))
	}
	now := s.look(st)
	w := now.workload
	if w == nil {
		st.left(s.cfg.Farewell)
		return nil
	}
	st.back()
	if w.Identity != st.peer.identity {
		return s.refuse("identity", codes.PermissionDenied, "pod %s runs as %s, the certificate is of %s", st.peer.pod, w.Identity, st.peer.identity)
	}
	st.offer.view = now.view
	return nil
}
