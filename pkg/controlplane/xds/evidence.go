package xds

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// ProxyEvidence is what a connected proxy acknowledged of its secrets: what a rotation of the root
// waits for. What is only on its way to the proxy, and what it refused, is not in it. A proxy that comes
// from another stream has acknowledged what it reports to hold, in the versions that it reports.
type ProxyEvidence struct {
	Pod      mesh.PodName
	Identity identity.Identity
	// Trusts are the fingerprints (SHA-256 in hex) of the CAs in the trust bundle, sorted; nil when
	// that is not known. While another bundle is on its way they are the CAs that are in both, since
	// the proxy may use either. They are shared: not to be changed.
	Trusts []string
	// Serial is the workload certificate's serial number in hex, "" when the proxy has none. Of a
	// certificate that the proxy brought it is the first 16 digits, all that the version carries.
	Serial string
	// Root is the fingerprint of the CA that signed it, "" when that is none of those known. Of a
	// certificate that the proxy brought it is the trusted CA whose fingerprint begins as its version does.
	Root     string
	NotAfter time.Time
	// At is when the proxy last acknowledged one of the two, or said that it holds it.
	At time.Time
}

// Evidence lists all streams, sorted by pod, also those whose proxies acknowledged nothing yet. A pod
// is in it twice while the server has not noticed that the older of its streams is dead.
func (s *Server) Evidence() []ProxyEvidence {
	trust := s.trust.Load()
	streams := s.all()
	evidence := make([]ProxyEvidence, 0, len(streams))
	for _, st := range streams {
		evidence = append(evidence, st.evidence(trust))
	}
	slices.SortFunc(evidence, func(a, b ProxyEvidence) int { return cmp.Or(a.Pod.Compare(b.Pod), a.At.Compare(b.At)) })
	return evidence
}

// ConnectedPods are the pods whose proxies are connected, sorted.
func (s *Server) ConnectedPods() []mesh.PodName {
	streams := s.all()
	pods := make([]mesh.PodName, 0, len(streams))
	for _, st := range streams {
		pods = append(pods, st.peer.pod)
	}
	slices.SortFunc(pods, mesh.PodName.Compare)
	return slices.Compact(pods)
}

// all returns the streams of this moment.
func (s *Server) all() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(make([]*stream, 0, len(s.streams)), maps.Keys(s.streams))
}

// certificate is what is known of a workload certificate. It never changes: all streams that send it
// share it.
type certificate struct {
	// root is the fingerprint of the CA that signed it, "" when that is not known; prefix are its first
	// digits, all that is known of the CA of a certificate that a proxy brought.
	root, prefix string
	serial       string
	notAfter     time.Time
}

// secretsHeld are a proxy's secrets: those that were sent last, or those that it acknowledged last.
type secretsHeld struct {
	trust *trusted
	cert  *certificate
	at    time.Time
}

// reported notes what a proxy that comes from another stream holds. st.mu is held.
func (st *stream) reported(versions map[string]string, now time.Time) {
	if h, ok := parseCertVersion(versions[envoy.SecretWorkload]); ok {
		st.acked.cert, st.acked.at = &certificate{prefix: h.root, serial: h.serial, notAfter: h.notAfter}, now
	}
	if version := versions[envoy.SecretTrustBundle]; version != "" && version == st.trust.version {
		st.acked.trust, st.acked.at = st.trust, now
	}
}

// acknowledged notes what the proxy took of the secrets that were sent last. st.mu is held.
func (st *stream) acknowledged(said ack, now time.Time) {
	if !said.accepted || said.typ != envoy.Secrets {
		return
	}
	if said.carried.carries(envoy.SecretTrustBundle) {
		st.acked.trust, st.acked.at = st.sent.trust, now
	}
	if cert := st.sent.cert; cert != nil && said.carried.carries(envoy.SecretWorkload) {
		st.acked.cert, st.acked.at = cert, now
		st.expires.Store(cert.notAfter.Unix())
	}
}

// evidence is the stream's line; trust is in which a brought certificate's CA is looked for.
func (st *stream) evidence(trust *trusted) ProxyEvidence {
	st.mu.Lock()
	acked, sent := st.acked, st.sent.trust
	st.mu.Unlock()
	e := ProxyEvidence{Pod: st.peer.pod, Identity: st.peer.identity, At: acked.at}
	if acked.trust != nil {
		e.Trusts = acked.trust.trusts
		if sent != nil && sent != acked.trust {
			e.Trusts = slices.DeleteFunc(slices.Clone(e.Trusts), func(ca string) bool { return !slices.Contains(sent.trusts, ca) })
		}
	}
	if c := acked.cert; c != nil {
		e.Serial, e.Root, e.NotAfter = c.serial, cmp.Or(c.root, trust.beginning(c.prefix)), c.notAfter
	}
	return e
}

// beginning is the fingerprint of the trusted CA that begins with the digits of a version, "" when
// there is none.
func (t *trusted) beginning(prefix string) string {
	if len(prefix) != rootPrefix {
		return ""
	}
	for _, ca := range t.trusts {
		if strings.HasPrefix(ca, prefix) {
			return ca
		}
	}
	return ""
}
