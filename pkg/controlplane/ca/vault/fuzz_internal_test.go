package vault

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/reach"
)

// signingServer responds to signing requests with a text in which CERT stands for the requested certificate
// and CA for its signer: no text made in advance could hold the former.
type signingServer struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	ca     *x509.Certificate
	status int
	answer string
}

func (s *signingServer) RoundTrip(r *http.Request) (*http.Response, error) {
	var asked struct {
		CSR string `json:"csr"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		s.t.Fatal(err)
	}
	text := strings.NewReplacer("CERT", inJSON(s.sign(asked.CSR)), "CA", inJSON(s.ca.Raw)).Replace(s.answer)
	return &http.Response{Request: r, StatusCode: s.status, Proto: "HTTP/1.1", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func (s *signingServer) sign(csrPEM string) []byte {
	block, _ := pem.Decode([]byte(csrPEM))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: csr.Subject, URIs: csr.URIs, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses,
		NotBefore: fuzzTime.Add(-time.Minute), NotAfter: fuzzTime.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, s.ca, csr.PublicKey, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

// inJSON returns a certificate as PEM, escaped for a JSON string.
func inJSON(der []byte) string {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return strings.ReplaceAll(string(text), "\n", `\n`)
}

var fuzzTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// FuzzAnswer checks that every response yields a leaf for the request or an error that says which request
// failed, and that no error contains the token.
func FuzzAnswer(f *testing.F) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: fuzzTime.Add(-time.Hour), NotAfter: fuzzTime.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	for _, answer := range []string{
		`{"data": {"certificate": "CERT", "issuing_ca": "CA", "ca_chain": ["CA"]}}`,
		`{"data": {"certificate": "CERT", "issuing_ca": "CA", "ca_chain": null}}`,
		`{"data": {"certificate": "CERT"}}`,
		`{"data": {"certificate": "CA", "issuing_ca": "CA"}}`,
		`{"data": {"certificate": 1, "ca_chain": [1]}}`,
		`{"data": null}`, `{}`, `[]`, ``, `<html>`,
		`{"wrap_info": {"token": "x"}, "auth": null, "warnings": ["a\nb"]}`,
	} {
		f.Add(200, answer)
	}
	f.Add(400, `{"errors": ["1 error occurred:\n\t* unknown role"]}`)
	f.Add(403, `{"errors": ["permission denied"]}`)
	f.Add(307, ``)
	f.Add(503, `<html>`)
	outcomes := reach.All(f, reach.Accepted, "unfit", "refused")
	const token = "s.this-is-the-token"
	f.Fuzz(func(t *testing.T, status int, answer string) {
		if status < 200 || status > 599 || strings.Contains(answer, token) {
			t.Skip("no final response, or one that contains the token")
		}
		cfg, err := Config{
			Address: "https://vault.test:8200", Role: "mesh", TrustDomain: "cluster.local", Login: Login{TokenFile: "/none"}, Now: func() time.Time { return fuzzTime },
			transport: &signingServer{t, key, signer, status, answer},
		}.complete()
		if err != nil {
			t.Fatal(err)
		}
		a := &Authority{cfg: cfg, server: newServer(cfg), gate: newGate(cfg.Now)}
		a.session = newSession(cfg, a.server)
		a.session.hold(&grant{token: token, since: fuzzTime})
		req := ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: "web"}, Usage: ca.UsageService}
		leaf, trust, err := a.sign(t.Context(), req, time.Hour, nil)
		_, unfit := errors.AsType[*unusableError](err)
		switch {
		case err == nil && leaf != nil && trust.Fingerprint != "":
			outcomes.Note(reach.Accepted)
		case err == nil || leaf != nil || trust.Fingerprint != "":
			t.Errorf("leaf %v, trust %v, error %v", leaf, trust, err)
		case strings.Contains(err.Error(), token):
			t.Errorf("the token is in %q", err)
		case !strings.Contains(err.Error(), cfg.Address):
			t.Errorf("%q does not say which server", err)
		case unfit:
			outcomes.Note("unfit")
		default:
			outcomes.Note("refused")
		}
	})
}
