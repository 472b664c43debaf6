package secrets

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// chainIn returns the certificate in a Secret, with its intermediates, if the key in the Secret matches it
// and the ServiceAccount owns the Secret.
func chainIn(secret *corev1.Secret, account Account) ([]*x509.Certificate, error) {
	if !owned(secret, account.UID) {
		return nil, fmt.Errorf("owner is not ServiceAccount %s with uid %s", account.Identity, account.UID)
	}
	if _, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	return ca.ParseChain(secret.Data[corev1.TLSCertKey])
}

func owned(secret *corev1.Secret, owner types.UID) bool {
	return owner == "" || slices.ContainsFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == owner })
}

// renewalOf is when a new certificate is due for renewal: after half of its lifetime. Unlike that of
// other leaves the point is fixed, because the kubelet takes up to two minutes to deliver the Secret.
func renewalOf(leaf *ca.Leaf) time.Time {
	return leaf.Issued.Add(leaf.NotAfter.Sub(leaf.Issued) / 2)
}

// leafRule describes the certificate that a Secret has to hold.
type leafRule struct {
	names string // the SPIFFE id
	host  string // a DNS name that it must hold; empty for none
	usage x509.ExtKeyUsage
	ttl   time.Duration
}

// fit checks identity, signature and age, and returns when the certificate is due for renewal.
func (r leafRule) fit(chain []*x509.Certificate, trust ca.Trust, now time.Time) (renewAt time.Time, err error) {
	cert := chain[0]
	if len(cert.URIs) != 1 || cert.URIs[0].String() != r.names {
		return time.Time{}, fmt.Errorf("certificate names %v, want %s", cert.URIs, r.names)
	}
	_, err = cert.Verify(x509.VerifyOptions{
		DNSName: r.host, Roots: trust.Pool(), Intermediates: ca.Pool(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{r.usage},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate: %w", err)
	}
	issued := cert.NotBefore.Add(ca.Backdate)
	lifetime := cert.NotAfter.Sub(issued)
	if lifetime > r.ttl+ca.Backdate {
		return time.Time{}, fmt.Errorf("certificate lifetime is %v, want %v", lifetime, r.ttl)
	}
	renewAt = issued.Add(lifetime / 2)
	if !now.Before(renewAt) {
		return time.Time{}, fmt.Errorf("the certificate was due for renewal at %s", renewAt.UTC().Format(time.RFC3339))
	}
	return renewAt, nil
}
