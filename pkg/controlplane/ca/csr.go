package ca

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// blockCSR is the PEM type of a certificate signing request.
const blockCSR = "CERTIFICATE REQUEST"

// maxMargin is the most that TTL leaves between a leaf's end and its CA's: providers add the
// duration to a clock that is not ours, and refuse a leaf that would outlive the CA.
const maxMargin = 30 * time.Second

// NewSigningRequest makes a new key and a signing request, as PEM, that names what an Issuer would
// name. The key stays here: a provider only ever sees its public half.
func NewSigningRequest(req Request, domain identity.TrustDomain) (csrPEM []byte, key Key, err error) {
	if _, err := extKeyUsage(req.Usage); err != nil {
		return nil, Key{}, err
	}
	names, err := namesOf(req, domain)
	if err != nil {
		return nil, Key{}, err
	}
	if key, err = generateKey(req.KeyBits); err != nil {
		return nil, Key{}, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: names.common},
		DNSNames:    names.dns,
		IPAddresses: req.Addresses,
		URIs:        []*url.URL{names.uri},
	}, key.signer())
	if err != nil {
		return nil, Key{}, fmt.Errorf("make signing request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockCSR, Bytes: der}), key, nil
}

// TTL is the life to ask a provider for, in whole seconds: the request's, cut short a little before
// the CA ends.
func TTL(req Request, trust Trust, now time.Time) (time.Duration, error) {
	left := trust.NotAfter.Sub(now.Round(0))
	left -= min(maxMargin, max(left/10, 0))
	if _, err := notAfter(now, req.TTL, now.Add(left)); err != nil {
		return 0, err
	}
	return min(cmp.Or(req.TTL, DefaultTTL), left).Truncate(time.Second), nil
}

// ParseTrust reads a provider's CA certificates as PEM: the signing CA first, then its parents if
// it is an intermediate. Only the signing CA is trusted, as with a Root.
func ParseTrust(bundle []byte, now time.Time) (Trust, error) {
	chain, err := parseProvided(bundle)
	if err != nil {
		return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
	}
	if err := provided(checkParents(chain, now.Round(0))); err != nil {
		return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
	}
	return trustIn(chain[0], now)
}

// SignerTrust finds the CA that signed a leaf and returns the trust in that one alone. It looks
// among the certificates that came with the leaf and in the provider's CA bundle, which may be
// empty. With an intermediate that changes more often than its root, use ParseTrust on the root.
func SignerTrust(chainPEM, caBundle []byte, now time.Time) (Trust, error) {
	chain, err := parseProvided(chainPEM)
	if err != nil {
		return Trust{}, fmt.Errorf("the provider's answer %w", err)
	}
	candidates := chain[1:]
	if len(bytes.TrimSpace(caBundle)) > 0 {
		more, err := parseProvided(caBundle)
		if err != nil {
			return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
		}
		candidates = append(candidates, more...)
	}
	for _, signer := range candidates {
		if chain[0].CheckSignatureFrom(signer) == nil {
			return trustIn(signer, now)
		}
	}
	return Trust{}, fmt.Errorf("the provider's answer does not hold the CA %q that signed the certificate: make the provider return its CA certificate", chain[0].Issuer)
}

// trustIn returns the trust in one CA, if it can sign leaves.
func trustIn(signer *x509.Certificate, now time.Time) (Trust, error) {
	if err := provided(checkSigner(signer, now.Round(0))); err != nil {
		return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
	}
	return Trust{
		Bundle:      encodeCertificates([]*x509.Certificate{signer}),
		Fingerprint: sum(signer.Raw),
		NotAfter:    signer.NotAfter,
	}, nil
}

// LeafFromPEM makes a leaf of a provider's answer: the certificate as PEM, followed by its
// intermediates. It accepts it only if a peer with the given trust would, and if it says exactly
// what was asked: a provider may be misconfigured, and a leaf with one name more is another
// workload's. The leaf ends with its CA at the latest, whatever the certificate says.
func LeafFromPEM(req Request, domain identity.TrustDomain, chainPEM []byte, key Key, trust Trust, now time.Time) (*Leaf, error) {
	now = now.Round(0).UTC()
	chain, err := parseProvided(chainPEM)
	if err != nil {
		return nil, fmt.Errorf("the provider's answer %w", err)
	}
	usages, err := extKeyUsage(req.Usage)
	if err != nil {
		return nil, err
	}
	a := answer{cert: chain[0], rest: chain[1:], usages: usages}
	for _, check := range []func() error{
		func() error { return a.checkKey(key) },
		func() error { return a.checkNames(req, domain) },
		a.checkUsages,
		func() error { return a.checkLife(now) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	end, err := a.verify(trust, now)
	if err != nil {
		return nil, err
	}
	if end.Sub(now) < minLife {
		return nil, fmt.Errorf("the provider's certificate ends with its CA at %s: rotate the provider's CA", stamp(end))
	}
	return a.leaf(req, key, now, end), nil
}

// answer is a provider's certificate under examination.
type answer struct {
	cert   *x509.Certificate
	rest   []*x509.Certificate
	usages []x509.ExtKeyUsage
}

func (a answer) checkKey(key Key) error {
	if key.material == nil {
		return errors.New("no private key for the provider's certificate")
	}
	public, ok := key.signer().Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(a.cert.PublicKey) {
		return errors.New("the provider's certificate is for another key than the signing request's: the provider must sign the request's key, and put that certificate first")
	}
	return nil
}

// checkNames compares the names as sets.
func (a answer) checkNames(req Request, domain identity.TrustDomain) error {
	want, err := namesOf(req, domain)
	if err != nil {
		return err
	}
	if got := a.cert.Subject.CommonName; got != want.common {
		return nameError("common name", []string{got}, []string{want.common})
	}
	for _, c := range []struct {
		kind      string
		got, want []string
	}{
		{"URI SANs", texts(a.cert.URIs, (*url.URL).String), []string{want.uri.String()}},
		{"DNS SANs", a.cert.DNSNames, want.dns},
		{"IP SANs", texts(a.cert.IPAddresses, net.IP.String), texts(req.Addresses, net.IP.String)},
		{"e-mail SANs", a.cert.EmailAddresses, nil},
	} {
		if !slices.Equal(sorted(c.got), sorted(c.want)) {
			return nameError(c.kind, c.got, c.want)
		}
	}
	return nil
}

func nameError(kind string, got, want []string) error {
	return fmt.Errorf("the provider's certificate has other %s than were asked for: has [%s], want [%s]: let the provider take its names from the signing request and allow exactly these",
		kind, strings.Join(got, " "), strings.Join(want, " "))
}

// checkUsages asks for what the leaf is used for. More is accepted: with some providers a role
// fixes the usages for everybody.
func (a answer) checkUsages() error {
	if a.cert.IsCA {
		return errors.New("the provider's certificate is itself a CA: let the provider issue end-entity certificates")
	}
	if a.cert.KeyUsage != 0 && a.cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the provider's certificate lacks key usage digitalSignature, without which TLS cannot use it: allow it at the provider")
	}
	for _, usage := range a.usages {
		if !slices.Contains(a.cert.ExtKeyUsage, usage) && !slices.Contains(a.cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
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

// checkLife allows for a provider whose clock is a little ahead.
func (a answer) checkLife(now time.Time) error {
	switch {
	case a.cert.NotBefore.After(now.Add(leafBackdate)):
		return fmt.Errorf("the provider's certificate is not valid before %s: compare the provider's clock with this node's", stamp(a.cert.NotBefore))
	case a.cert.NotAfter.Sub(now) < minLife:
		return fmt.Errorf("the provider's certificate ends at %s, which is now or over: allow longer validities at the provider, or compare its clock with this node's", stamp(a.cert.NotAfter))
	}
	return nil
}

// verify says until when peers accept the certificate: until the first of the chain ends.
func (a answer) verify(trust Trust, now time.Time) (time.Time, error) {
	at := now
	if a.cert.NotBefore.After(at) {
		at = a.cert.NotBefore
	}
	var end time.Time
	for _, usage := range a.usages {
		chains, err := a.cert.Verify(x509.VerifyOptions{
			Roots: trust.Pool(), Intermediates: poolOf(a.rest), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return time.Time{}, fmt.Errorf("the provider's certificate, signed by %q, does not lead to the trusted CA (sha256:%s): %w: if the provider has a new CA, restart the control plane to use it; if not, let the provider return its intermediates",
				a.cert.Issuer, trust.Fingerprint, err)
		}
		if last := latestEnd(chains); end.IsZero() || last.Before(end) {
			end = last
		}
	}
	return end, nil
}

// latestEnd is the end of the chain that lasts longest.
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

// leaf puts the answer together, without self-signed certificates: peers have their own copy.
func (a answer) leaf(req Request, key Key, now, end time.Time) *Leaf {
	chain := []*x509.Certificate{a.cert}
	for _, signer := range a.rest {
		if !selfSigned(signer) {
			chain = append(chain, signer)
		}
	}
	leaf := newLeaf(req.Identity, chain, key, now)
	leaf.NotAfter = end
	// A provider that ignores the wanted life does not stretch the time between renewals.
	if asked := now.Add(cmp.Or(req.TTL, DefaultTTL)); asked.Before(end) {
		end = asked
	}
	leaf.RenewAt = renewAt(req.Identity, now, end)
	return leaf
}

// parseProvided reads certificates that a provider sent; there is at least one.
func parseProvided(data []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty: see the provider's own log")
	}
	chain, err := parseChain(data)
	return chain, provided(err)
}

// provided takes the name of the Secret's key out of an error: what follows did not come from it.
func provided(err error) error {
	if wrong, ok := errors.AsType[*RootError](err); ok {
		return fmt.Errorf("%s: %s", wrong.Problem, wrong.Fix)
	}
	return err
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
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
