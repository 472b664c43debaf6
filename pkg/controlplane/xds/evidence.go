package xds

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// Evidence returns what the connected proxies have acknowledged of their secrets, sorted by pod. What was
// only sent, and what a proxy refused, is not in it. A proxy that comes from another stream has
// acknowledged what it reports to hold, in the versions that it reports: of such a certificate the serial
// number is only the first 16 digits, and the root is the trusted CA whose fingerprint begins as the version
// does. While another bundle is on its way, Trusts are the CAs in both, since the proxy may use either.
// Trusts are shared: they must not be changed.
//
// Proxies that have acknowledged nothing yet are in the list. A pod is in it twice until the server
// notices that the older of its streams is dead.
func (s *Server) Evidence() []rotation.Proxy {
	trust := s.trust.Load()
	streams := s.all()
	evidence := make([]rotation.Proxy, 0, len(streams))
	for _, st := range streams {
		evidence = append(evidence, st.evidence(trust))
	}
	slices.SortFunc(evidence, func(a, b rotation.Proxy) int { return cmp.Or(strings.Compare(a.Pod, b.Pod), a.At.Compare(b.At)) })
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

// all returns the current streams.
func (s *Server) all() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(make([]*stream, 0, len(s.streams)), maps.Keys(s.streams))
}

// certificate describes a workload certificate. It is immutable: all streams that send it share it.
type certificate struct {
	// root is the fingerprint of the CA that signed it, "" if that is not known; prefix are its first
	// digits, which are all that is known if a proxy brought the certificate.
	root, prefix string
	serial       string
	notAfter     time.Time
}

// secretsHeld are the secrets that were last sent to a proxy, or that it last acknowledged.
type secretsHeld struct {
	trust *trusted
	cert  *certificate
	at    time.Time
}

// reported records the secrets of a proxy that comes from another stream. st.mu is held.
func (st *stream) reported(versions map[string]string, now time.Time) {
	if h, ok := parseCertVersion(versions[envoy.SecretWorkload]); ok {
		st.acked.cert, st.acked.at = &certificate{prefix: h.root, serial: h.serial, notAfter: h.notAfter}, now
	}
	if version := versions[envoy.SecretTrustBundle]; version != "" && version == st.trust.version {
		st.acked.trust, st.acked.at = st.trust, now
	}
}

// acknowledged records which of the secrets sent last the proxy accepted. st.mu is held.
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

// evidence is that of one proxy. The CA of a certificate that the proxy brought is looked up in trust.
func (st *stream) evidence(trust *trusted) rotation.Proxy {
	st.mu.Lock()
	acked, sent := st.acked, st.sent.trust
	st.mu.Unlock()
	e := rotation.Proxy{Pod: st.peer.pod.String(), Identity: st.peer.identity.String(), At: acked.at}
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

// beginning returns the fingerprint of the trusted CA that begins with the digits of a version, "" if there is
// none.
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
