package ca_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/tests/catest"
	"github.com/osm-edge/osm/tests/reach"
)

func TestParseRootAccepts(t *testing.T) {
	ec := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	ecDER, err := x509.MarshalECPrivateKey(catest.ECKey(t, elliptic.P256()))
	must(t, err)
	sec1, err := x509.ParseECPrivateKey(ecDER)
	must(t, err)
	sec1Root := catest.NewCA(t, sec1, nil, nil)
	rsaRoot := catest.NewCA(t, catest.RSAKey(t, 2048), nil, nil)
	pkcs1 := catest.PEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaRoot.Key.(*rsa.PrivateKey)))
	intermediate := catest.NewCA(t, catest.ECKey(t, elliptic.P384()), &ec, nil)

	tests := map[string]map[string][]byte{
		"ECDSA, PKCS #8":          ec.Secret(t),
		"ECDSA, SEC 1":            catest.SecretData(sec1Root.CertPEM(), catest.PEM("EC PRIVATE KEY", ecDER)),
		"SEC 1 after parameters":  catest.SecretData(sec1Root.CertPEM(), append(catest.PEM("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), catest.PEM("EC PRIVATE KEY", ecDER)...)),
		"RSA, PKCS #8":            rsaRoot.Secret(t),
		"RSA, PKCS #1":            catest.SecretData(rsaRoot.CertPEM(), pkcs1),
		"PKCS #8 as RSA":          catest.SecretData(rsaRoot.CertPEM(), bytes.ReplaceAll(rsaRoot.KeyPEM(t), []byte("PRIVATE KEY"), []byte("RSA PRIVATE KEY"))),
		"P-521":                   catest.NewCA(t, catest.ECKey(t, elliptic.P521()), nil, nil).Secret(t),
		"trailing newlines":       catest.SecretData(append(ec.CertPEM(), "\n\n \n"...), append(ec.KeyPEM(t), "\n\n"...)),
		"no newline at the end":   catest.SecretData(bytes.TrimSpace(ec.CertPEM()), bytes.TrimSpace(ec.KeyPEM(t))),
		"CRLF":                    catest.SecretData(crlf(ec.CertPEM()), crlf(ec.KeyPEM(t))),
		"text around the block":   catest.SecretData(append([]byte("Certificate:\n  Data:\n"), ec.CertPEM()...), ec.KeyPEM(t)),
		"no key usage":            catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.KeyUsage = 0 }).Secret(t),
		"any extended key usage":  catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }).Secret(t),
		"an intermediate alone":   intermediate.Secret(t),
		"an intermediate, parent": catest.SecretData(append(intermediate.CertPEM(), ec.CertPEM()...), intermediate.KeyPEM(t)),
		"other keys beside":       with(ec.Secret(t), "tls.crt", []byte("x")),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := ca.ParseRoot(data, catest.Today())
			must(t, err)
			if n := bytes.Count(root.Bundle(), []byte("BEGIN CERTIFICATE")); n != 1 || bytes.Contains(root.Bundle(), []byte("\r")) {
				t.Errorf("the trust bundle holds %d certificates, want the signer alone, normalised:\n%s", n, root.Bundle())
			}
			again, err := ca.ParseRoot(root.SecretData(), catest.Today())
			must(t, err)
			if again.Fingerprint() != root.Fingerprint() || !again.NotAfter().Equal(root.NotAfter()) {
				t.Errorf("read back as %s, want %s", again, root)
			}
			// What is accepted must also be able to sign.
			_, err = ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: catest.Domain, Now: catest.At(catest.Today())})
			must(t, err)
		})
	}
}

// TestParseRootRefuses: every case has its own error, which names the Secret's key, and the
// fix after the last colon.
func TestParseRootRefuses(t *testing.T) {
	sentences := map[string]string{}
	for _, tt := range catest.BrokenRoots(t) {
		t.Run(tt.Name, func(t *testing.T) {
			root, err := ca.ParseRoot(tt.Data, catest.Today())
			var fault *ca.RootError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v and %v, want a *RootError", root, err)
			}
			text := err.Error()
			if !strings.Contains(text, tt.Want) {
				t.Errorf("got %q, want it to contain %q", text, tt.Want)
			}
			if fault.Fix == "" || strings.Contains(text, "\n") || strings.Contains(text, "BEGIN PRIVATE") {
				t.Errorf("want one sentence with a fix and without the secret, got %q", text)
			}
			sentences[fault.Key+fault.Problem] = tt.Name
		})
	}
	// Faults of parents may share an error; all others must be distinguishable.
	if len(sentences) < 30 {
		t.Errorf("%d different sentences, want at least 30: %v", len(sentences), slices.Sorted(maps.Keys(sentences)))
	}
}

func TestRootOutlives(t *testing.T) {
	root, err := ca.ParseRoot(catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = catest.Today().Add(time.Hour) }).Secret(t), catest.Today())
	must(t, err)
	if err := root.Outlives(catest.Today(), time.Minute); err != nil {
		t.Errorf("a minute: %v", err)
	}
	if err := root.Outlives(catest.Today(), 2*time.Hour); err == nil || !strings.Contains(err.Error(), `"ca.crt"`) {
		t.Errorf("two hours: got %v, want an error that names the key", err)
	}
}

// FuzzParseRoot: whatever the Secret holds, an error is one sentence about one of its keys, and
// a Secret that is accepted is read back as the same root.
func FuzzParseRoot(f *testing.F) {
	// The keys are fixed: an input of another process must be accepted here as well.
	key := newSameKey(f, 1)
	good := catest.CA{Cert: catest.NewCA(f, key, nil, nil).Cert, Key: key.PrivateKey}
	f.Add(good.CertPEM(), good.KeyPEM(f))
	f.Add(good.KeyPEM(f), good.CertPEM())
	f.Add(good.Cert.Raw, []byte("0"))
	f.Add(append(good.CertPEM(), good.CertPEM()...), crlf(good.KeyPEM(f)))
	f.Add([]byte(base64.StdEncoding.EncodeToString(good.CertPEM())), []byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n"))
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		root, err := ca.ParseRoot(catest.SecretData(cert, key), catest.Today())
		outcomes.Error(err)
		if err != nil {
			var fault *ca.RootError
			if !errors.As(err, &fault) || strings.Contains(err.Error(), "\n") || (fault.Key != api.CAKeyCert && fault.Key != api.CAKeyPrivate) || fault.Fix == "" {
				t.Fatalf("got %#v, want a *RootError about a key of the Secret", err)
			}
			return
		}
		again, err := ca.ParseRoot(root.SecretData(), catest.Today())
		must(t, err)
		if again.Fingerprint() != root.Fingerprint() {
			t.Fatal("read back as another root")
		}
	})
}

// TestPEMDecodeSkips documents why the number of blocks is compared with the number of headings:
// the decoder silently skips a damaged block.
func TestPEMDecodeSkips(t *testing.T) {
	damaged := bytes.Replace(catest.PEM("CERTIFICATE", []byte("first")), []byte("\n"), []byte("\n!"), 1)
	got, _ := pem.Decode(append(damaged, catest.PEM("CERTIFICATE", []byte("second"))...))
	if got == nil || string(got.Bytes) != "second" {
		t.Fatalf("got %v, want the second block", got)
	}
}

func crlf(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) }

func with(data map[string][]byte, key string, value []byte) map[string][]byte {
	data[key] = value
	return data
}
