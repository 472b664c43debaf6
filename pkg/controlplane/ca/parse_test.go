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
	"github.com/osm-edge/osm/tests/reach"
)

func TestParseRootAccepts(t *testing.T) {
	ec := authority(t, ecKey(t, elliptic.P256()), nil, nil)
	ecDER, err := x509.MarshalECPrivateKey(ecKey(t, elliptic.P256()))
	must(t, err)
	sec1, err := x509.ParseECPrivateKey(ecDER)
	must(t, err)
	sec1Root := authority(t, sec1, nil, nil)
	rsaRoot := authority(t, rsaKey(t, 2048), nil, nil)
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaRoot.key.(*rsa.PrivateKey)))
	intermediate := authority(t, ecKey(t, elliptic.P384()), &ec, nil)

	tests := map[string]map[string][]byte{
		"ECDSA, PKCS #8":          ec.secret(t),
		"ECDSA, SEC 1":            secret(sec1Root.certPEM(), block("EC PRIVATE KEY", ecDER)),
		"SEC 1 after parameters":  secret(sec1Root.certPEM(), append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), block("EC PRIVATE KEY", ecDER)...)),
		"RSA, PKCS #8":            rsaRoot.secret(t),
		"RSA, PKCS #1":            secret(rsaRoot.certPEM(), pkcs1),
		"PKCS #8 as RSA":          secret(rsaRoot.certPEM(), bytes.ReplaceAll(rsaRoot.keyPEM(t), []byte("PRIVATE KEY"), []byte("RSA PRIVATE KEY"))),
		"P-521":                   authority(t, ecKey(t, elliptic.P521()), nil, nil).secret(t),
		"trailing newlines":       secret(append(ec.certPEM(), "\n\n \n"...), append(ec.keyPEM(t), "\n\n"...)),
		"no newline at the end":   secret(bytes.TrimSpace(ec.certPEM()), bytes.TrimSpace(ec.keyPEM(t))),
		"CRLF":                    secret(crlf(ec.certPEM()), crlf(ec.keyPEM(t))),
		"text around the block":   secret(append([]byte("Certificate:\n  Data:\n"), ec.certPEM()...), ec.keyPEM(t)),
		"no key usage":            authority(t, ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.KeyUsage = 0 }).secret(t),
		"any extended key usage":  authority(t, ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }).secret(t),
		"an intermediate alone":   intermediate.secret(t),
		"an intermediate, parent": secret(append(intermediate.certPEM(), ec.certPEM()...), intermediate.keyPEM(t)),
		"other keys beside":       with(ec.secret(t), "tls.crt", []byte("x")),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := ca.ParseRoot(data, today)
			must(t, err)
			if n := bytes.Count(root.Bundle(), []byte("BEGIN CERTIFICATE")); n != 1 || bytes.Contains(root.Bundle(), []byte("\r")) {
				t.Errorf("the trust bundle holds %d certificates, want the signer alone, normalised:\n%s", n, root.Bundle())
			}
			again, err := ca.ParseRoot(root.SecretData(), today)
			must(t, err)
			if again.Fingerprint() != root.Fingerprint() || !again.NotAfter().Equal(root.NotAfter()) {
				t.Errorf("read back as %s, want %s", again, root)
			}
			// What is accepted must also be able to sign.
			_, err = ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: domain, Now: at(today)})
			must(t, err)
		})
	}
}

// broken is data of a Secret that is no usable root.
type broken struct {
	name string
	data map[string][]byte
	want string // part of the sentence
}

// brokenRoots is the list of what users have put into their Secrets.
func brokenRoots(t *testing.T) []broken {
	good := authority(t, ecKey(t, elliptic.P256()), nil, nil)
	other := authority(t, ecKey(t, elliptic.P256()), nil, nil)
	expired := authority(t, ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = today.Add(-time.Second) })
	change := func(f func(*x509.Certificate)) map[string][]byte {
		return authority(t, ecKey(t, elliptic.P256()), nil, f).secret(t)
	}
	cert, key := good.certPEM(), good.keyPEM(t)
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey(t, 2048)))
	locked := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")})

	return []broken{
		{"no data", nil, `key "ca.crt" and key "private.key" are missing`},
		{"no certificate", map[string][]byte{api.CAKeyPrivate: key}, `key "ca.crt" is missing`},
		{"no key", map[string][]byte{api.CAKeyCert: cert}, `key "private.key" is missing`},
		{"empty certificate", secret(nil, key), `key "ca.crt" is empty`},
		{"blank key", secret(cert, []byte(" \n")), `key "private.key" is empty`},
		{"swapped", secret(key, cert), `swap the two values`},
		{"certificate is no PEM", secret([]byte("hello"), key), `key "ca.crt" holds no PEM block`},
		{"key is no PEM", secret(cert, []byte("hello")), `key "private.key" holds no PEM block`},
		{"certificate is DER", secret(good.cert.Raw, key), `key "ca.crt" is in DER form`},
		{"certificate encoded twice", secret([]byte(base64.StdEncoding.EncodeToString(cert)), key), `key "ca.crt" is base64-encoded twice`},
		{"key encoded twice", secret(cert, []byte(base64.StdEncoding.EncodeToString(key))), `key "private.key" is base64-encoded twice`},
		{"certificate cut off", secret(cert[:len(cert)-30], key), `key "ca.crt" holds a PEM block that is cut off`},
		{"first certificate damaged", secret(append(bytes.Replace(cert, []byte("M"), []byte("!"), 1), other.certPEM()...), key), `key "ca.crt" holds a PEM block that is cut off`},
		{"key cut off", secret(cert, key[:len(key)-30]), `key "private.key" holds a PEM block that is cut off`},
		{"a request, not a certificate", secret(block("CERTIFICATE REQUEST", good.cert.Raw), key), `key "ca.crt" holds a PEM block of type "CERTIFICATE REQUEST"`},
		{"key beside the certificate", secret(append(bytes.Clone(cert), key...), key), `key "ca.crt" holds a private key beside`},
		{"certificate of garbage", secret(block("CERTIFICATE", []byte("x")), key), `key "ca.crt" holds a certificate (number 1) that cannot be read`},
		{"a public key", secret(cert, block("PUBLIC KEY", []byte("x"))), `key "private.key" holds a PEM block of type "PUBLIC KEY"`},
		{"an OpenSSH key", secret(cert, block("OPENSSH PRIVATE KEY", []byte("x"))), `key "private.key" holds a PEM block of type "OPENSSH PRIVATE KEY"`},
		{"key of garbage", secret(cert, block("PRIVATE KEY", []byte("x"))), `key "private.key" holds a private key that cannot be read`},
		{"locked PKCS #8 key", secret(cert, block("ENCRYPTED PRIVATE KEY", []byte("x"))), `locked by a passphrase`},
		{"locked PKCS #1 key", secret(cert, locked), `locked by a passphrase`},
		{"two keys", secret(cert, append(bytes.Clone(key), pkcs1...)), `key "private.key" holds 2 PEM blocks`},
		{"another key", secret(cert, other.keyPEM(t)), `key "private.key" does not belong to the first certificate`},
		{"a key of another kind", secret(cert, pkcs1), `key "private.key" does not belong to the first certificate`},
		{"weak RSA key", authority(t, rsaKey(t, 1024), nil, nil).secret(t), `RSA key of 1024 bits`},
		{"weak curve", authority(t, ecKey(t, elliptic.P224()), nil, nil).secret(t), `curve P-224`},
		{"Ed25519", authority(t, edKey(t), nil, nil).secret(t), `Envoy cannot verify`},
		{"not a CA", change(func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageDigitalSignature }), `not a CA`},
		{"no basic constraints", change(func(c *x509.Certificate) { c.IsCA = false; c.BasicConstraintsValid = false }), `not a CA`},
		{"cannot sign certificates", change(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), `key usage does not include certificate signing`},
		{"servers only", change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), `leaves out TLS servers or clients`},
		{"expired", expired.secret(t), `expired at 2026-03-04T05:06:06Z`},
		{"not valid yet", change(func(c *x509.Certificate) { c.NotBefore = today.Add(time.Hour) }), `not valid before 2026-03-04T06:06:07Z`},
		{"chain of strangers", secret(append(bytes.Clone(cert), other.certPEM()...), key), `(number 2) that did not sign the one before it`},
		{"chain the wrong way round", reversed(t, good), `(number 2) that did not sign`},
		{"expired parent", expiredParent(t), `holds an issuer (number 2) that expired`},
	}
}

// TestParseRootRefuses: every case has a sentence of its own that names the Secret's key, and the
// fix after the last colon.
func TestParseRootRefuses(t *testing.T) {
	sentences := map[string]string{}
	for _, tt := range brokenRoots(t) {
		t.Run(tt.name, func(t *testing.T) {
			root, err := ca.ParseRoot(tt.data, today)
			var fault *ca.RootError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v and %v, want a *RootError", root, err)
			}
			text := err.Error()
			if !strings.Contains(text, tt.want) {
				t.Errorf("got %q, want it to contain %q", text, tt.want)
			}
			if fault.Fix == "" || strings.Contains(text, "\n") || strings.Contains(text, "BEGIN PRIVATE") {
				t.Errorf("want one sentence with a fix and without the secret, got %q", text)
			}
			sentences[fault.Key+fault.Problem] = tt.name
		})
	}
	// Parents do not count as different faults; everything else must be told apart.
	if len(sentences) < 30 {
		t.Errorf("%d different sentences, want at least 30: %v", len(sentences), slices.Sorted(maps.Keys(sentences)))
	}
}

func reversed(t *testing.T, root signed) map[string][]byte {
	intermediate := authority(t, ecKey(t, elliptic.P256()), &root, nil)
	return secret(append(root.certPEM(), intermediate.certPEM()...), root.keyPEM(t))
}

func expiredParent(t *testing.T) map[string][]byte {
	parent := authority(t, ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = today.Add(-time.Minute) })
	child := authority(t, ecKey(t, elliptic.P256()), &parent, nil)
	return secret(append(child.certPEM(), parent.certPEM()...), child.keyPEM(t))
}

func TestRootOutlives(t *testing.T) {
	root, err := ca.ParseRoot(authority(t, ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = today.Add(time.Hour) }).secret(t), today)
	must(t, err)
	if err := root.Outlives(today, time.Minute); err != nil {
		t.Errorf("a minute: %v", err)
	}
	if err := root.Outlives(today, 2*time.Hour); err == nil || !strings.Contains(err.Error(), `"ca.crt"`) {
		t.Errorf("two hours: got %v, want an error that names the key", err)
	}
}

// FuzzParseRoot: whatever is in the Secret, an error is one sentence about one of its keys, and
// what is accepted is read back as the same root.
func FuzzParseRoot(f *testing.F) {
	// Of fixed keys: an input of another process must be accepted here too.
	key := newSameKey(f, 1)
	good := signed{authority(f, key, nil, nil).cert, key.PrivateKey}
	f.Add(good.certPEM(), good.keyPEM(f))
	f.Add(good.keyPEM(f), good.certPEM())
	f.Add(good.cert.Raw, []byte("0"))
	f.Add(append(good.certPEM(), good.certPEM()...), crlf(good.keyPEM(f)))
	f.Add([]byte(base64.StdEncoding.EncodeToString(good.certPEM())), []byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n"))
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		root, err := ca.ParseRoot(secret(cert, key), today)
		outcomes.Error(err)
		if err != nil {
			var fault *ca.RootError
			if !errors.As(err, &fault) || strings.Contains(err.Error(), "\n") || (fault.Key != api.CAKeyCert && fault.Key != api.CAKeyPrivate) || fault.Fix == "" {
				t.Fatalf("got %#v, want a *RootError about a key of the Secret", err)
			}
			return
		}
		again, err := ca.ParseRoot(root.SecretData(), today)
		must(t, err)
		if again.Fingerprint() != root.Fingerprint() {
			t.Fatal("read back as another root")
		}
	})
}

// TestPEMDecodeSkips documents why the number of blocks is compared with the number of headings:
// the decoder passes over a damaged block without a word.
func TestPEMDecodeSkips(t *testing.T) {
	damaged := bytes.Replace(block("CERTIFICATE", []byte("first")), []byte("\n"), []byte("\n!"), 1)
	got, _ := pem.Decode(append(damaged, block("CERTIFICATE", []byte("second"))...))
	if got == nil || string(got.Bytes) != "second" {
		t.Fatalf("got %v, want the second block", got)
	}
}

func crlf(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) }

func with(data map[string][]byte, key string, value []byte) map[string][]byte {
	data[key] = value
	return data
}
