// Package pki makes the cluster's certificate authority, its leaf certificates, its service account key and the
// kubeconfig files that contain them. It is not a certificate service: it renews nothing, because a cluster lasts
// for days. Invariant: a file that exists is complete, since each is written beside its name and then renamed.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is long enough for a temporary cluster.
const lifetime = 365 * 24 * time.Hour

// Authority signs the certificates of one cluster and keeps them in a folder.
type Authority struct {
	dir  string
	now  func() time.Time
	cert *x509.Certificate
	key  crypto.Signer
}

// Leaf describes a certificate. Every leaf serves both as client and as server.
type Leaf struct {
	// Name is the base name of the files NAME.crt and NAME.key.
	Name string
	// CommonName and Organization become the Kubernetes user and group.
	CommonName   string
	Organization string
	DNSNames     []string
	Addresses    []net.IP
}

// Open loads the authority from dir, or creates one there.
func Open(dir string, now func() time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make certificate folder: %w", err)
	}
	a := &Authority{dir: dir, now: now}
	if !exists(a.CertFile("ca")) {
		if err := a.create(); err != nil {
			return nil, fmt.Errorf("make certificate authority in %s: %w", dir, err)
		}
	}
	var err error
	if a.cert, err = readCert(a.CertFile("ca")); err != nil {
		return nil, err
	}
	if a.key, err = readKey(a.KeyFile("ca")); err != nil {
		return nil, err
	}
	return a, nil
}

// CertFile is the path of the certificate called name.
func (a *Authority) CertFile(name string) string { return filepath.Join(a.dir, name+".crt") }

// KeyFile is the path of the private key called name.
func (a *Authority) KeyFile(name string) string { return filepath.Join(a.dir, name+".key") }

// PublicFile is the path of the public key called name.
func (a *Authority) PublicFile(name string) string { return filepath.Join(a.dir, name+".pub") }

// Issue creates the certificate and key of leaf unless they exist.
func (a *Authority) Issue(leaf Leaf) error {
	if exists(a.CertFile(leaf.Name)) {
		return nil
	}
	template := a.template(leaf.CommonName)
	if leaf.Organization != "" {
		template.Subject.Organization = []string{leaf.Organization}
	}
	template.DNSNames, template.IPAddresses = leaf.DNSNames, leaf.Addresses
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if err := a.sign(leaf.Name, template, a.cert, a.key); err != nil {
		return fmt.Errorf("issue certificate %s: %w", leaf.Name, err)
	}
	return nil
}

// KeyPair creates NAME.key and NAME.pub unless they exist.
func (a *Authority) KeyPair(name string) error {
	if exists(a.PublicFile(name)) {
		return nil
	}
	key, err := a.newKey(name)
	if err != nil {
		return fmt.Errorf("make key %s: %w", name, err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode public key %s: %w", name, err)
	}
	return writePEM(a.PublicFile(name), "PUBLIC KEY", der)
}

func (a *Authority) create() error {
	template := a.template("kubernetes-ca")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return a.sign("ca", template, nil, nil)
}

func (a *Authority) template(commonName string) *x509.Certificate {
	// A serial of 120 random bits never collides and always fits the 20 bytes that RFC 5280 allows.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails on Linux
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    a.now().Add(-time.Minute),
		NotAfter:     a.now().Add(lifetime),
	}
}

// sign writes the key first, so that both exist if the certificate does. A nil parent self-signs.
func (a *Authority) sign(name string, template, parent *x509.Certificate, signer crypto.Signer) error {
	key, err := a.newKey(name)
	if err != nil {
		return err
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	return writePEM(a.CertFile(name), "CERTIFICATE", der)
}

func (a *Authority) newKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(a.KeyFile(name), "EC PRIVATE KEY", der)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func writeFile(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".tmp", path)
}

func readPEM(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("read %s: holds no PEM block", path)
	}
	return block.Bytes, nil
}

func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return cert, nil
}

func readKey(path string) (crypto.Signer, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return key, nil
}
