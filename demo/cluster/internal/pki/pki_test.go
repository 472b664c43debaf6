package pki

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func open(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, leaf Leaf) tls.Certificate {
	t.Helper()
	if err := a.Issue(leaf); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(a.CertFile(leaf.Name), a.KeyFile(leaf.Name))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// A handshake proves chain, names and key usages at once, on both sides.
func TestLeavesAuthenticateToEachOther(t *testing.T) {
	a := open(t, t.TempDir())
	server := issue(t, a, Leaf{Name: "apiserver", CommonName: "kube-apiserver", Addresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	client := issue(t, a, Leaf{Name: "admin", CommonName: "admin", Organization: "system:masters"})
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)

	var user string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		subject := r.TLS.PeerCertificates[0].Subject
		user = subject.CommonName + "/" + strings.Join(subject.Organization, ",")
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	s.StartTLS()
	defer s.Close()
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{client}}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if user != "admin/system:masters" {
		t.Errorf("server saw user %q", user)
	}
}

func TestNothingIsIssuedTwice(t *testing.T) {
	dir := t.TempDir()
	leaf := Leaf{Name: "node-1", CommonName: "system:node:node-1"}
	first := func() map[string]string {
		a := open(t, dir)
		issue(t, a, leaf)
		if err := a.KeyPair("service-account"); err != nil {
			t.Fatal(err)
		}
		return contents(t, dir)
	}
	if diff := cmp.Diff(first(), first()); diff != "" {
		t.Errorf("second run changed files:\n%s", diff)
	}
}

func TestAnInterruptedIssueIsRepeated(t *testing.T) {
	dir := t.TempDir()
	leaf := Leaf{Name: "node-1", CommonName: "system:node:node-1"}
	a := open(t, dir)
	issue(t, a, leaf)
	if err := os.Remove(a.CertFile("node-1")); err != nil { // as if the run had ended after the key
		t.Fatal(err)
	}
	issue(t, open(t, dir), leaf) // loads the pair, so fails if key and certificate do not match
}

func TestPrivateFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	issue(t, a, Leaf{Name: "admin", CommonName: "admin"})
	path := filepath.Join(dir, "admin.yaml")
	if err := a.Kubeconfig(path, "osmc", "https://10.210.0.2:6443", "admin"); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{a.KeyFile("ca"), a.KeyFile("admin"), path} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", file, info.Mode().Perm())
		}
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	for file, content := range map[string]string{a.CertFile("ca"): "authority", a.CertFile("admin"): "certificate", a.KeyFile("admin"): "key"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "admin.yaml")
	if err := a.Kubeconfig(path, "osmc", "https://10.210.0.2:6443", "admin"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "kubeconfig.golden")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("kubeconfig differs from %s; run with -update if this is intended:\n%s", golden, diff)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v", files, err)
	}
	all := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(content)
	}
	return all
}
