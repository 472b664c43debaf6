package realapi

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	token        = "admin-token"
	startTimeout = 60 * time.Second
)

// Server is a running API server.
type Server struct {
	host string
}

// Start starts an API server, or skips the test if the program is not available; where $CI is "true" it must
// be.
func Start(t testing.TB) *Server {
	t.Helper()
	apiserver, etcd := os.Getenv("KUBE_APISERVER"), ""
	etcd, err := exec.LookPath("etcd")
	if apiserver == "" || err != nil {
		missing := "KUBE_APISERVER is not set to what `bin/cluster path kube-apiserver` prints, or there is no etcd on the PATH"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip("SKIPPED: " + missing)
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeFiles(t, file)
	storage, peers, port := "http://127.0.0.1:"+FreePort(t), "http://127.0.0.1:"+FreePort(t), FreePort(t)
	Run(t, file("etcd.log"), etcd, "--data-dir="+file("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+storage, "--advertise-client-urls="+storage,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	Run(t, file("apiserver.log"), apiserver, "--etcd-servers="+storage,
		"--bind-address=127.0.0.1", "--secure-port="+port, "--cert-dir="+file("certs"), "--endpoint-reconciler-type=none",
		"--authorization-mode=RBAC", "--token-auth-file="+file("tokens.csv"),
		"--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("accounts.key"),
		"--service-account-signing-key-file="+file("accounts.key"))
	s := &Server{host: "https://127.0.0.1:" + port}
	s.awaitReady(t)
	return s
}

// Config returns a new configuration for the API server, with all permissions and no rate limit.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host: s.host, BearerToken: token, QPS: -1, Timeout: startTimeout,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // the server makes its certificate itself
	}
}

// Client is a client with Config whose connections end with the test.
func (s *Server) Client(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	config := s.Config()
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := kubernetes.NewForConfigAndClient(config, transport)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (s *Server) awaitReady(t testing.TB) {
	t.Helper()
	client := s.Client(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(startTimeout); ; <-tick.C {
		err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the API server is not ready after %v: %v", startTimeout, err)
		}
	}
}

func writeFiles(t testing.TB, file func(string) string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"accounts.key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"tokens.csv":   []byte(token + ",admin,1,system:masters\n"),
	} {
		if err := os.WriteFile(file(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
