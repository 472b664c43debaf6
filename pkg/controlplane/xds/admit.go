package xds

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// arrival is what the first request of a stream says.
type arrival struct {
	node    *corev3.Node
	variant string
	held    bool // the proxy has a configuration, from an earlier stream
}

// accept authenticates the proxy, waits until its pod is known and for a sync slot, and adds the stream
// to those that get changes. stream.close removes it.
func (s *Server) accept(ctx context.Context, first arrival, p protocol, send func(any) error) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	who, err := s.authenticate(ctx, first.node)
	if err != nil {
		return nil, err
	}
	if !s.mayOpen(who) {
		return nil, s.refuseOffender(who, "streams-per-pod-per-minute", codes.ResourceExhausted, "pod %s opened more than %d streams in a minute: will be retried", who.pod, s.cfg.Limits.StreamsPerMinute)
	}
	if err := s.welcome(who, first.held); err != nil {
		return nil, err
	}
	if err := s.slots.take(ctx, who.party()); err != nil {
		return nil, s.refuse(who, "overload", codes.ResourceExhausted, "too many proxies are being configured at the moment: will be retried, no action needed")
	}
	st := &stream{
		server: s, peer: who, since: s.cfg.Now(), variant: first.variant, release: releaseOf(first.node), held: first.held, protocol: p, send: send,
		changed: wake.NewSignal(), ended: make(chan error, 1), ends: s.lifetime(who),
		// The proxy holds the slot until it is configured, but at most for Patience: one that never answers must not
		// keep it.
		configured: sync.OnceFunc(func() { s.slots.put(who.party()) }),
	}
	st.seen.Store(&assignment{})
	if err := s.admit(st); err != nil {
		s.slots.put(who.party())
		return nil, err
	}
	return st, nil
}

// releaseOf returns the version that a proxy says it has, such as 1.40.0, or "".
func releaseOf(node *corev3.Node) string {
	version := node.GetUserAgentBuildVersion().GetVersion()
	if version == nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", version.GetMajorNumber(), version.GetMinorNumber(), version.GetPatch())
}

// admit adds the stream after all checks, and removes it again if it has nothing to offer.
func (s *Server) admit(st *stream) error {
	if err := s.add(st); err != nil {
		return err
	}
	// Add first, then refresh: a change in between is either seen here or gives the stream a turn.
	st.mu.Lock()
	defer st.mu.Unlock()
	err := st.refresh()
	if err == nil && !s.trust.Load().anchors.Vouch(st.peer.chains, s.cfg.Now()) {
		err = s.refuse(st.peer, "untrusted", codes.Unauthenticated, "the client certificate of pod %s is of a CA that is no longer trusted: connect again", st.peer.pod)
	}
	if err == nil && st.offer.view == (envoy.View{}) {
		err = s.refuse(st.peer, "unknown", codes.Unavailable, "pod %s left the mesh: will be retried", st.peer.pod)
	}
	if err != nil {
		st.closed = true
		st.stopGrace()
		s.remove(st)
	}
	return err
}

// refresh looks up what the proxy should have now. The proxy of a pod that left the mesh keeps what it has for the
// grace period: it may still be finishing its last requests. st.mu is held.
func (st *stream) refresh() error {
	st.retrust(st.server.trust.Load())
	if within := st.reissueWithin.Swap(0); within > 0 {
		st.renewWithin(time.Duration(within))
	}
	now := st.lookUp()
	w := now.workload
	if w == nil {
		st.startGrace(st.server.cfg.GracePeriod)
		return nil
	}
	st.stopGrace()
	if w.Identity != st.peer.identity {
		return st.server.refuse(st.peer, "identity", codes.PermissionDenied, "pod %s runs as %s, the certificate is of %s", st.peer.pod, w.Identity, st.peer.identity)
	}
	st.offer.view = now.view
	return nil
}
