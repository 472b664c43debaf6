package catest

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
)

// BrokenRoot is the data of a Secret that holds no usable root.
type BrokenRoot struct {
	Name string
	Data map[string][]byte
	Want string // part of the error
}

// BrokenRoots lists mistakes that users make with the Secret of a root, at Today.
func BrokenRoots(t *testing.T) []BrokenRoot {
	good := NewCA(t, ECKey(t, elliptic.P256()), nil, nil)
	other := NewCA(t, ECKey(t, elliptic.P256()), nil, nil)
	expired := NewCA(t, ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = Today().Add(-time.Second) })
	change := func(f func(*x509.Certificate)) map[string][]byte {
		return NewCA(t, ECKey(t, elliptic.P256()), nil, f).Secret(t)
	}
	cert, key := good.CertPEM(), good.KeyPEM(t)
	pkcs1 := PEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(RSAKey(t, 2048)))
	locked := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")})

	return []BrokenRoot{
		{"no data", nil, `key "ca.crt" and key "private.key" are missing`},
		{"no certificate", map[string][]byte{api.CAKeyPrivate: key}, `key "ca.crt" is missing`},
		{"no key", map[string][]byte{api.CAKeyCert: cert}, `key "private.key" is missing`},
		{"empty certificate", SecretData(nil, key), `key "ca.crt" is empty`},
		{"blank key", SecretData(cert, []byte(" \n")), `key "private.key" is empty`},
		{"swapped", SecretData(key, cert), `swap the two values`},
		{"certificate is no PEM", SecretData([]byte("hello"), key), `key "ca.crt" holds no PEM block`},
		{"key is no PEM", SecretData(cert, []byte("hello")), `key "private.key" holds no PEM block`},
		{"certificate is DER", SecretData(good.Cert.Raw, key), `key "ca.crt" is in DER form`},
		{"certificate encoded twice", SecretData([]byte(base64.StdEncoding.EncodeToString(cert)), key), `key "ca.crt" is base64-encoded twice`},
		{"key encoded twice", SecretData(cert, []byte(base64.StdEncoding.EncodeToString(key))), `key "private.key" is base64-encoded twice`},
		{"certificate cut off", SecretData(cert[:len(cert)-30], key), `key "ca.crt" holds a PEM block that is cut off`},
		{"first certificate damaged", SecretData(append(bytes.Replace(cert, []byte("M"), []byte("!"), 1), other.CertPEM()...), key), `key "ca.crt" holds a PEM block that is cut off`},
		{"key cut off", SecretData(cert, key[:len(key)-30]), `key "private.key" holds a PEM block that is cut off`},
		{"a request, not a certificate", SecretData(PEM("CERTIFICATE REQUEST", good.Cert.Raw), key), `key "ca.crt" holds a PEM block of type "CERTIFICATE REQUEST"`},
		{"key beside the certificate", SecretData(append(bytes.Clone(cert), key...), key), `key "ca.crt" holds a private key beside`},
		{"certificate of garbage", SecretData(PEM("CERTIFICATE", []byte("x")), key), `key "ca.crt" holds a certificate (number 1) that cannot be read`},
		{"a public key", SecretData(cert, PEM("PUBLIC KEY", []byte("x"))), `key "private.key" holds a PEM block of type "PUBLIC KEY"`},
		{"an OpenSSH key", SecretData(cert, PEM("OPENSSH PRIVATE KEY", []byte("x"))), `key "private.key" holds a PEM block of type "OPENSSH PRIVATE KEY"`},
		{"key of garbage", SecretData(cert, PEM("PRIVATE KEY", []byte("x"))), `key "private.key" holds a private key that cannot be read`},
		{"locked PKCS #8 key", SecretData(cert, PEM("ENCRYPTED PRIVATE KEY", []byte("x"))), `locked by a passphrase`},
		{"locked PKCS #1 key", SecretData(cert, locked), `locked by a passphrase`},
		{"two keys", SecretData(cert, append(bytes.Clone(key), pkcs1...)), `key "private.key" holds 2 PEM blocks`},
		{"another key", SecretData(cert, other.KeyPEM(t)), `key "private.key" does not belong to the first certificate`},
		{"a key of another kind", SecretData(cert, pkcs1), `key "private.key" does not belong to the first certificate`},
		{"weak RSA key", NewCA(t, RSAKey(t, 1024), nil, nil).Secret(t), `RSA key of 1024 bits`},
		{"weak curve", NewCA(t, ECKey(t, elliptic.P224()), nil, nil).Secret(t), `curve P-224`},
		{"Ed25519", NewCA(t, EdKey(t), nil, nil).Secret(t), `Envoy cannot verify`},
		{"not a CA", change(func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageDigitalSignature }), `not a CA`},
		{"no basic constraints", change(func(c *x509.Certificate) { c.IsCA = false; c.BasicConstraintsValid = false }), `not a CA`},
		{"cannot sign certificates", change(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), `key usage does not include certificate signing`},
		{"servers only", change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), `excludes TLS servers or clients`},
		{"expired", expired.Secret(t), `expired at 2026-03-04T05:06:06Z`},
		{"not valid yet", change(func(c *x509.Certificate) { c.NotBefore = Today().Add(time.Hour) }), `not valid before 2026-03-04T06:06:07Z`},
		{"chain of strangers", SecretData(append(bytes.Clone(cert), other.CertPEM()...), key), `(number 2) that did not sign the one before it`},
		{"chain the wrong way round", reversed(t, good), `(number 2) that did not sign`},
		{"expired parent", expiredParent(t), `holds an issuer (number 2) that expired`},
	}
}

// reversed returns a chain in the wrong order.
func reversed(t *testing.T, root CA) map[string][]byte {
	intermediate := NewCA(t, ECKey(t, elliptic.P256()), &root, nil)
	return SecretData(append(root.CertPEM(), intermediate.CertPEM()...), root.KeyPEM(t))
}

// expiredParent returns a chain whose issuer has expired.
func expiredParent(t *testing.T) map[string][]byte {
	parent := NewCA(t, ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = Today().Add(-time.Minute) })
	child := NewCA(t, ECKey(t, elliptic.P256()), &parent, nil)
	return SecretData(append(child.CertPEM(), parent.CertPEM()...), child.KeyPEM(t))
}
