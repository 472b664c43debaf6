package injector

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
)

// certificates is a proxy's directory as the kubelet mounts it, and the control plane's own identity.
type certificates struct {
	t      *testing.T
	dir    string
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	// t.TempDir is closed to Envoy's user.
	dir, err := os.MkdirTemp("", "osm-proxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificates{t: t, dir: dir, key: key}
	template := c.template("test root")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.write()
	return c
}

func (c *certificates) template(name string) *x509.Certificate {
	c.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(c.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
}

// issue returns a certificate and key in PEM for a SPIFFE id.
func (c *certificates) issue(id string) (cert, key []byte) {
	c.t.Helper()
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		c.t.Fatal(err)
	}
	template := c.template("leaf")
	template.URIs = []*url.URL{uri}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca, leaf.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(leaf)
	if err != nil {
		c.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// write puts a new certificate into the directory as the kubelet does: files in a fresh directory,
// to which one symbolic link is swapped.
func (c *certificates) write() {
	c.t.Helper()
	cert, key := c.issue("spiffe://cluster.local/ns/bookstore/sa/default")
	secret := func(name, body string) string {
		return fmt.Sprintf("resources:\n- \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  name: %s\n%s", name, body)
	}
	watched := fmt.Sprintf("    watched_directory: {path: %s}\n", c.dir)
	files := map[string]string{
		api.ProxyCertFile: string(cert), api.ProxyKeyFile: string(key),
		api.ProxyTrustFile: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ca.Raw})),
		api.ProxySDSCert: secret(sdsCertName, fmt.Sprintf("  tls_certificate:\n    certificate_chain: {filename: %s/tls.crt}\n    private_key: {filename: %s/tls.key}\n",
			c.dir, c.dir)+watched),
		api.ProxySDSTrust: secret(sdsTrustName, fmt.Sprintf("  validation_context:\n    trusted_ca: {filename: %s/ca.crt}\n", c.dir)+watched),
	}
	data := fmt.Sprintf("..%d", c.serial)
	check := func(err error) {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	check(os.Mkdir(filepath.Join(c.dir, data), 0o755))
	for name, text := range files {
		check(os.WriteFile(filepath.Join(c.dir, data, name), []byte(text), 0o444))
		link := filepath.Join(c.dir, name)
		if _, err := os.Lstat(link); errors.Is(err, os.ErrNotExist) {
			check(os.Symlink(filepath.Join("..data", name), link))
		}
	}
	check(os.Symlink(data, filepath.Join(c.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(c.dir, "..data_tmp"), filepath.Join(c.dir, "..data")))
}

func (c *certificates) serverTLS(id string) *tls.Config {
	c.t.Helper()
	cert, err := tls.X509KeyPair(c.issue(id))
	if err != nil {
		c.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.ca)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}
