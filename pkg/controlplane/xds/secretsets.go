package xds

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// rootPrefix is how many digits of a CA's fingerprint a certificate's version carries.
const rootPrefix = 16

// certVersion is the version of a workload certificate, parsed. It is enough for any replica to determine
// whether a proxy that reconnects still holds a good certificate. A proxy that lies about it harms only itself.
type certVersion struct {
	root     string // the first digits of its CA's fingerprint
	notAfter time.Time
	renewAt  time.Time
	serial   string // its first digits: no two certificates share a version
}

func (h certVersion) String() string {
	return fmt.Sprintf("%s.%d.%d.%s", h.root, h.notAfter.Unix(), h.renewAt.Unix(), h.serial)
}

// parseCertVersion parses a version; ok is false if it is malformed.
func parseCertVersion(version string) (h certVersion, ok bool) {
	parts := strings.Split(version, ".")
	if len(parts) != 4 || len(version) > 100 {
		return certVersion{}, false
	}
	notAfter, err1 := strconv.ParseInt(parts[1], 10, 64)
	renewAt, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil {
		return certVersion{}, false
	}
	h = certVersion{root: parts[0], notAfter: time.Unix(notAfter, 0), renewAt: time.Unix(renewAt, 0), serial: parts[3]}
	return h, h.String() == version
}

// good reports whether that root signed the certificate and it is not due for renewal.
func (h certVersion) good(root string, now time.Time) bool {
	return h.root == root && now.Before(h.renewAt) && h.renewAt.Before(h.notAfter)
}

// trusted is what the control plane trusts, in the form that is sent to proxies.
type trusted struct {
	ca.Trust
	root    string   // the first digits of the fingerprint of the CA that signs now
	trusts  []string // the fingerprints of all CAs in the bundle, sorted
	anchors *ca.Anchors
	version string // of the bundle
	set     *envoy.Set
}

func newTrusted(trust ca.Trust) (*trusted, error) {
	r, err := envoy.NewResource(envoy.SecretTrustBundle, &tlsv3.Secret{
		Name: envoy.SecretTrustBundle,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(trust.Bundle)}},
	})
	if err != nil {
		return nil, err
	}
	return &trusted{
		Trust: trust, anchors: trust.Anchors(), root: truncate(trust.Fingerprint, rootPrefix), trusts: trust.Fingerprints(),
		version: r.Version, set: envoy.NewSet([]*envoy.Resource{r}),
	}, nil
}

func (t *trusted) same(trust ca.Trust) bool {
	return bytes.Equal(t.Bundle, trust.Bundle) && t.Fingerprint == trust.Fingerprint
}

// leafSets holds the encoded secret of each leaf in use: all proxies of an identity are sent the same one. It
// forgets a leaf together with its last user.
type leafSets struct {
	mu    sync.Mutex
	known map[weak.Pointer[ca.Leaf]]leafSet
}

// leafSet is a leaf as the workload secret, and its description.
type leafSet struct {
	set  *envoy.Set
	cert *certificate
}

// of returns the secret of a leaf.
func (s *leafSets) of(leaf *ca.Leaf, trust ca.Trust) (leafSet, error) {
	key := weak.Make(leaf)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[key]; ok {
		return known, nil
	}
	cert := &certificate{root: signerOf(leaf, trust), serial: leaf.Serial, notAfter: leaf.NotAfter}
	r, err := envoy.NewVersioned(envoy.SecretWorkload, certVersionOf(leaf, cert.root).String(), &tlsv3.Secret{
		Name: envoy.SecretWorkload,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(leaf.CertPEM),
			PrivateKey:       inline(leaf.KeyPEM()),
		}},
	})
	if err != nil {
		return leafSet{}, err
	}
	now := leafSet{envoy.NewSet([]*envoy.Resource{r}), cert}
	if s.known == nil {
		s.known = map[weak.Pointer[ca.Leaf]]leafSet{}
	}
	s.known[key] = now
	runtime.AddCleanup(leaf, s.forget, key)
	return now, nil
}

func (s *leafSets) forget(key weak.Pointer[ca.Leaf]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, key)
}

// len is the number of leaves in use, as far as the garbage collector knows.
func (s *leafSets) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}

// certVersionOf returns a leaf's version; root is the fingerprint of its signer. An unknown signer matches no
// root, so that such a leaf is replaced when its proxy reconnects.
func certVersionOf(leaf *ca.Leaf, root string) certVersion {
	return certVersion{root: cmp.Or(truncate(root, rootPrefix), "unknown"), notAfter: leaf.NotAfter, renewAt: leaf.RenewAt, serial: truncate(leaf.Serial, 16)}
}

// signerOf returns the CA that signed a leaf, "" if it is not in the bundle. It does not use the current signer:
// the leaf may be older than a rotation.
func signerOf(leaf *ca.Leaf, trust ca.Trust) string {
	pair := leaf.TLS()
	chain := []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, cert)
		}
	}
	return trust.SignerOf(chain)
}

// placeholder stands for a certificate that the proxy already holds: it has its version and is never sent.
func placeholder(h certVersion) *envoy.Set {
	return envoy.NewSet([]*envoy.Resource{{Name: envoy.SecretWorkload, Version: h.String()}})
}

func inline(pem []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem}}
}

func truncate(s string, n int) string { return s[:min(n, len(s))] }
