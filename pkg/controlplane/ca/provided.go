package ca

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// LeafFromPEM returns the leaf in a provider's response: the certificate as PEM, followed by its
// intermediates. It accepts the certificate only if a peer with the given trust would, and if its
// names are exactly those requested: a provider may be misconfigured, and a leaf with an extra name
// could impersonate another workload. The leaf expires with its CA at the latest.
func LeafFromPEM(req Request, domain identity.TrustDomain, chainPEM []byte, key Key, trust Trust, now time.Time) (*Leaf, error) {
	now = now.Round(0).UTC()
	chain, err := ParseChain(chainPEM)
	if err != nil {
		return nil, fmt.Errorf("the provider's response %w", err)
	}
	usages, err := extKeyUsage(req.Usage)
	if err != nil {
		return nil, err
	}
	p := providedCert{cert: chain[0], rest: chain[1:], usages: usages}
	for _, check := range []func() error{
		func() error { return p.checkKey(key) },
		func() error { return p.checkNames(req, domain) },
		p.checkUsages,
		func() error { return p.checkValidity(now) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	end, err := p.verify(trust, now)
	if err != nil {
		return nil, err
	}
	if end.Sub(now) < minLifetime {
		return nil, fmt.Errorf("the provider's certificate expires with its CA at %s: rotate the provider's CA", stamp(end))
	}
	return p.leaf(req, key, now, end), nil
}

// providedCert is a certificate that a provider returned and that has to be checked.
type providedCert struct {
	cert   *x509.Certificate
	rest   []*x509.Certificate
	usages []x509.ExtKeyUsage
}

func (p providedCert) checkKey(key Key) error {
	if key.material == nil {
		return errors.New("no private key for the provider's certificate")
	}
	public, ok := key.signer().Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(p.cert.PublicKey) {
		return errors.New("the provider's certificate is for a different key than the signing request: the provider must sign the request's key and put that certificate first")
	}
	return nil
}

// checkNames compares the names as sets.
func (p providedCert) checkNames(req Request, domain identity.TrustDomain) error {
	want, err := namesOf(req, domain)
	if err != nil {
		return err
	}
	if got := p.cert.Subject.CommonName; got != want.common {
		return nameError("common name", []string{got}, []string{want.common})
	}
	for _, c := range []struct {
		kind      string
		got, want []string
	}{
		{"URI SANs", texts(p.cert.URIs, (*url.URL).String), []string{want.uri.String()}},
		{"DNS SANs", p.cert.DNSNames, want.dns},
		{"IP SANs", texts(p.cert.IPAddresses, net.IP.String), texts(req.Addresses, net.IP.String)},
		{"e-mail SANs", p.cert.EmailAddresses, nil},
	} {
		if !slices.Equal(sorted(c.got), sorted(c.want)) {
			return nameError(c.kind, c.got, c.want)
		}
	}
	return nil
}

func nameError(kind string, got, want []string) error {
	return fmt.Errorf("the provider's certificate has other %s than requested: has [%s], want [%s]: let the provider take its names from the signing request and allow exactly these",
		kind, strings.Join(got, " "), strings.Join(want, " "))
}

// checkUsages requires the usages of the request. Further usages are accepted: with some providers a
// role sets the usages for all certificates.
func (p providedCert) checkUsages() error {
	if p.cert.IsCA {
		return errors.New("the provider's certificate is itself a CA: let the provider issue end-entity certificates")
	}
	if p.cert.KeyUsage != 0 && p.cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the provider's certificate lacks key usage digitalSignature, without which TLS cannot use it: allow it at the provider")
	}
	for _, usage := range p.usages {
		if !slices.Contains(p.cert.ExtKeyUsage, usage) && !slices.Contains(p.cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return fmt.Errorf("the provider's certificate lacks extended key usage %s: allow it at the provider", usageName(usage))
		}
	}
	return nil
}

func usageName(usage x509.ExtKeyUsage) string {
	if usage == x509.ExtKeyUsageClientAuth {
		return "clientAuth"
	}
	return "serverAuth"
}

// checkValidity checks the validity period. It tolerates a provider whose clock is slightly ahead.
func (p providedCert) checkValidity(now time.Time) error {
	switch {
	case p.cert.NotBefore.After(now.Add(Backdate)):
		return fmt.Errorf("the provider's certificate is not valid before %s: compare the provider's clock with this node's", stamp(p.cert.NotBefore))
	case p.cert.NotAfter.Sub(now) < minLifetime:
		return fmt.Errorf("the provider's certificate expires at %s, which is now or in the past: allow longer validities at the provider, or compare its clock with this node's", stamp(p.cert.NotAfter))
	}
	return nil
}

// verify returns until when peers accept the certificate: until the first certificate of the chain expires.
func (p providedCert) verify(trust Trust, now time.Time) (time.Time, error) {
	at := now
	if p.cert.NotBefore.After(at) {
		at = p.cert.NotBefore
	}
	var end time.Time
	for _, usage := range p.usages {
		chains, err := p.cert.Verify(x509.VerifyOptions{
			Roots: trust.Pool(), Intermediates: Pool(p.rest), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return time.Time{}, fmt.Errorf("the provider's certificate, signed by %q, does not lead to the trusted CA (sha256:%s): %w: if the provider has a new CA, restart the control plane to use it; if not, let the provider return its intermediates",
				p.cert.Issuer, trust.Fingerprint, err)
		}
		if last := latestEnd(chains); end.IsZero() || last.Before(end) {
			end = last
		}
	}
	return end, nil
}

// latestEnd is the expiry of the chain that is valid longest.
func latestEnd(chains [][]*x509.Certificate) time.Time {
	var end time.Time
	for _, chain := range chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(end) {
			end = first.NotAfter
		}
	}
	return end
}

// leaf returns the leaf with its chain, without self-signed certificates: peers have their own copy.
func (p providedCert) leaf(req Request, key Key, now, end time.Time) *Leaf {
	chain := []*x509.Certificate{p.cert}
	for _, signer := range p.rest {
		if !selfSigned(signer) {
			chain = append(chain, signer)
		}
	}
	leaf := newLeaf(req.Identity, chain, key, now)
	leaf.NotAfter = end
	// A provider that ignores the requested lifetime does not delay renewals.
	if asked := now.Add(cmp.Or(req.TTL, DefaultTTL)); asked.Before(end) {
		end = asked
	}
	leaf.RenewAt = renewAt(req.Identity, now, end)
	return leaf
}

// ParseChain reads PEM certificates that a provider or a Secret holds. It returns at least one.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty: see the provider's own log")
	}
	chain, err := parseChain(data)
	return chain, withoutKey(err)
}

// withoutKey removes the key of the root's Secret from an error about data that comes from elsewhere.
func withoutKey(err error) error {
	if wrong, ok := errors.AsType[*RootError](err); ok {
		return fmt.Errorf("%s: %s", wrong.Problem, wrong.Fix)
	}
	return err
}

// Pool returns certificates for use with crypto/x509.
func Pool(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool
}

func texts[T any](values []T, text func(T) string) []string {
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = text(value)
	}
	return out
}

// sorted returns the values in order and once each.
func sorted(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}
