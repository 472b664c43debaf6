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

// held is what the version of a workload certificate says of it: enough for any replica to see that
// a proxy that connects anew still holds a good one. A proxy that lies about it harms itself alone.
type held struct {
	root     string // the first digits of the fingerprint of the CA that signed it
	notAfter time.Time
	renewAt  time.Time
	serial   string // its first digits: no two certificates share a version
}

func (h held) version() string {
	return fmt.Sprintf("%s.%d.%d.%s", h.root, h.notAfter.Unix(), h.renewAt.Unix(), h.serial)
}

// parseHeld reads a version; ok is false for what is none.
func parseHeld(version string) (h held, ok bool) {
	parts := strings.Split(version, ".")
	if len(parts) != 4 || len(version) > 100 {
		return held{}, false
	}
	notAfter, err1 := strconv.ParseInt(parts[1], 10, 64)
	renewAt, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil {
		return held{}, false
	}
	h = held{root: parts[0], notAfter: time.Unix(notAfter, 0), renewAt: time.Unix(renewAt, 0), serial: parts[3]}
	return h, h.version() == version
}

// good says whether the certificate is of that root and not due for renewal.
func (h held) good(root string, now time.Time) bool {
	return h.root == root && now.Before(h.renewAt) && h.renewAt.Before(h.notAfter)
}

// trusted is what the control plane trusts, in the form in which it is sent.
type trusted struct {
	ca.Trust
	root string // the first digits of the fingerprint of the CA that signs now
	set  *envoy.Set
}

func newTrusted(trust ca.Trust) (*trusted, error) {
	r, err := envoy.NewResource(envoy.SecretTrustBundle, &tlsv3.Secret{
		Name: envoy.SecretTrustBundle,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(trust.Bundle)}},
	})
	if err != nil {
		return nil, err
	}
	return &trusted{trust, short(trust.Fingerprint, rootPrefix), envoy.NewSet([]*envoy.Resource{r})}, nil
}

func (t *trusted) same(trust ca.Trust) bool {
	return bytes.Equal(t.Bundle, trust.Bundle) && t.Fingerprint == trust.Fingerprint
}

// leafSets holds the encoded secret of each leaf in use: all proxies of an identity are sent the
// same. It forgets a leaf with its last user.
type leafSets struct {
	mu    sync.Mutex
	known map[weak.Pointer[ca.Leaf]]*envoy.Set
}

// of returns the Set that holds the leaf as the workload secret.
func (s *leafSets) of(leaf *ca.Leaf, trust ca.Trust) (*envoy.Set, error) {
	key := weak.Make(leaf)
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.known[key]; set != nil {
		return set, nil
	}
	r, err := envoy.NewVersioned(envoy.SecretWorkload, heldOf(leaf, trust).version(), &tlsv3.Secret{
		Name: envoy.SecretWorkload,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(leaf.CertPEM),
			PrivateKey:       inline(leaf.KeyPEM()),
		}},
	})
	if err != nil {
		return nil, err
	}
	set := envoy.NewSet([]*envoy.Resource{r})
	if s.known == nil {
		s.known = map[weak.Pointer[ca.Leaf]]*envoy.Set{}
	}
	s.known[key] = set
	runtime.AddCleanup(leaf, s.forget, key)
	return set, nil
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

func heldOf(leaf *ca.Leaf, trust ca.Trust) held {
	return held{root: signerOf(leaf, trust), notAfter: leaf.NotAfter, renewAt: leaf.RenewAt, serial: short(leaf.Serial, 16)}
}

// signerOf finds the CA that signed a leaf. It does not ask who signs now: the leaf may be of before
// a rotation. An unknown signer fits no root, so that such a leaf is replaced when its proxy
// connects anew.
func signerOf(leaf *ca.Leaf, trust ca.Trust) string {
	pair := leaf.TLS()
	chain := []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, cert)
		}
	}
	return cmp.Or(short(trust.SignerOf(chain), rootPrefix), "unknown")
}

// placeholder stands for a certificate that the proxy holds already: it has its version and is
// never sent.
func placeholder(h held) *envoy.Set {
	return envoy.NewSet([]*envoy.Resource{{Name: envoy.SecretWorkload, Version: h.version()}})
}

func inline(pem []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem}}
}

func short(s string, n int) string { return s[:min(n, len(s))] }
