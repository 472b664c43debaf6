package xds

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
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

// longestNode is the longest node id that can name a pod: a namespace, a slash and a name.
const longestNode = 63 + 1 + 253

// peer describes the client of a stream: the identity that the certificate proved, and the pod.
type peer struct {
	identity identity.Identity
	pod      mesh.PodName
	// until is when its certificate, and so the proof, expires; chains are its verified chains.
	until  time.Time
	chains [][]*x509.Certificate
	// source is its address; home reports whether that is the pod's own.
	source netip.Addr
	home   bool
}

// name returns the most specific known name, for logs.
func (p peer) name() string {
	switch {
	case p.pod != mesh.PodName{}:
		return "pod " + p.pod.String()
	case p.identity != identity.Identity{}:
		return "identity " + p.identity.String()
	}
	return "address " + p.source.String()
}

// authenticate reads the identity from the client certificate and the pod from the node id, and waits
// until the pod is known: a new proxy may connect before the watch has delivered its pod.
func (s *Server) authenticate(ctx context.Context, node *corev3.Node) (peer, error) {
	who, err := s.proven(ctx)
	if err != nil {
		return peer{}, s.refuseOffender(who, "certificate", codes.Unauthenticated, "%v", err)
	}
	pod, err := podOf(node.GetId())
	if err != nil {
		return peer{}, s.refuseOffender(who, "node", codes.InvalidArgument, "%v", err)
	}
	w, err := s.awaitWorkload(ctx, who, pod)
	if err != nil {
		return peer{}, err
	}
	if w.Identity != who.identity {
		return peer{}, s.refuseOffender(who, "identity", codes.PermissionDenied, "pod %s runs as %s, the certificate is of %s", pod, w.Identity, who.identity)
	}
	who.pod, who.home = pod, slices.Contains(w.Addresses, who.source)
	return who, nil
}

// podOf returns the pod that a node id names.
func podOf(id string) (mesh.PodName, error) {
	if pod, ok := mesh.ParsePodName(id); ok && len(id) <= longestNode {
		return pod, nil
	}
	return mesh.PodName{}, fmt.Errorf("node id %s: want NAMESPACE/POD", quote(id))
}

// check refuses a stream that later claims another pod. Proxies send their node only once.
func (s *Server) check(who peer, node *corev3.Node) error {
	if node == nil || node.GetId() == "" || node.GetId() == who.pod.String() {
		return nil
	}
	return s.refuseOffender(who, "identity", codes.PermissionDenied, "the stream is pod %s's and cannot become %s", who.pod, quote(node.GetId()))
}

// proven returns what the connection proves: its address, and the identity in the only URI SAN of the
// verified client certificate.
func (s *Server) proven(ctx context.Context) (who peer, err error) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return who, errors.New("the connection has no peer")
	}
	who.source = addressOf(p.Addr)
	var info credentials.TLSInfo
	switch known := p.AuthInfo.(type) {
	case proof:
		info = known.TLSInfo
	case credentials.TLSInfo:
		info = known
	default:
		return who, errors.New("the connection is not encrypted")
	}
	who.chains = info.State.VerifiedChains
	who.identity, who.until, err = ca.ClientIdentity(&info.State, s.cfg.TrustDomain)
	return who, err
}

// refuse counts and logs a refused stream and returns the error for its proxy.
func (s *Server) refuse(who peer, reason string, code codes.Code, format string, args ...any) error {
	s.cfg.Metrics.refused.WithLabelValues(reason).Inc()
	message := fmt.Sprintf(format, args...)
	s.offenders.log(slog.LevelInfo, who.name(), "xDS stream refused", "reason", reason, "proxy", who.name(), "message", message)
	return status.Error(code, message)
}

// refuseOffender is refuse for streams whose proxy is at fault: the metric of limits names it.
func (s *Server) refuseOffender(who peer, reason string, code codes.Code, format string, args ...any) error {
	s.offenders.count(reason, who.name())
	return s.refuse(who, reason, code, format, args...)
}

// quote quotes the beginning of what a proxy sent, so that it fits a log line.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		return fmt.Sprintf("%q... (%d bytes)", text[:most], len(text))
	}
	return strconv.Quote(text)
}
