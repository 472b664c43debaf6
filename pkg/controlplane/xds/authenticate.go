package xds

import (
	"context"
	"errors"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// peer is who a stream belongs to: proved by the certificate, and the pod that it may speak for.
type peer struct {
	identity identity.Identity
	pod      mesh.PodName
	// until is when its certificate expires, and with it the proof.
	until time.Time
}

// authenticate reads the identity from the client certificate and the pod from the node id, and
// waits until the pod is known: a new pod's proxy may be faster than the news of the pod.
func (s *Server) authenticate(ctx context.Context, node *corev3.Node) (peer, error) {
	id, until, err := s.provenIdentity(ctx)
	if err != nil {
		return peer{}, s.refuse("certificate", codes.Unauthenticated, "%v", err)
	}
	pod, ok := mesh.ParsePodName(node.GetId())
	if !ok {
		return peer{}, s.refuse("node", codes.InvalidArgument, "node id %q: want NAMESPACE/POD", node.GetId())
	}
	who := peer{identity: id, pod: pod, until: until}
	w, err := s.awaitWorkload(ctx, pod)
	if err != nil {
		return peer{}, err
	}
	if w.Identity != id {
		return peer{}, s.refuse("identity", codes.PermissionDenied, "pod %s runs as %s, the certificate is of %s", pod, w.Identity, id)
	}
	return who, nil
}

// check refuses a stream that claims another pod later on. Proxies send their node only once.
func (s *Server) check(who peer, node *corev3.Node) error {
	if node == nil || node.GetId() == "" || node.GetId() == who.pod.String() {
		return nil
	}
	return s.refuse("identity", codes.PermissionDenied, "the stream is pod %s's and cannot become %q", who.pod, node.GetId())
}

// provenIdentity is the identity in the only URI SAN of the verified client certificate, and when
// the certificate expires.
func (s *Server) provenIdentity(ctx context.Context) (id identity.Identity, until time.Time, err error) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return id, until, errors.New("the connection has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return id, until, errors.New("the connection is not encrypted")
	}
	return ca.ClientIdentity(&info.State, s.cfg.TrustDomain)
}

// refuse counts a refused stream and returns the error that its proxy is told.
func (s *Server) refuse(reason string, code codes.Code, format string, args ...any) error {
	s.cfg.Metrics.refused.WithLabelValues(reason).Inc()
	err := status.Errorf(code, format, args...)
	s.cfg.Log.Info("xDS stream refused", "reason", reason, "message", status.Convert(err).Message())
	return err
}
