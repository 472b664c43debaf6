package certmanager_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/tests/realapi"
)

// The users of the cluster under test, by their tokens. The first has only the rights that the chart grants
// and makes the requests; the other does everything else.
const (
	adminToken = "admin-token"
	meshToken  = "mesh-token"
	meshUser   = "osm-controller"
)

// processTimeout is how long a process of the cluster may take to get anything done.
const processTimeout = 60 * time.Second

// cluster is an API server with its storage, and cert-manager as a process. All listen on loopback.
type cluster struct {
	t          *testing.T
	dir        string
	etcdURL    string
	port       string
	program    struct{ apiserver, etcd, certManager string }
	server     *realapi.Process
	admin      *kubernetes.Clientset
	objects    dynamic.Interface // as admin
	kubeconfig string
}

// newCluster starts an API server with cert-manager's definitions.
func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, dir: t.TempDir()}
	c.program.certManager = realapi.Program(t, "CERT_MANAGER", "scripts/certmanager.sh")
	c.program.apiserver = realapi.Program(t, "KUBE_APISERVER", "`bin/cluster path kube-apiserver`")
	var err error
	if c.program.etcd, err = exec.LookPath("etcd"); err != nil {
		t.Skip("SKIPPED: no etcd on the PATH: install etcd-server")
	}
	c.startStorage()
	c.port = realapi.FreePort(t)
	c.writeFiles()
	config, client := c.config(adminToken)
	if c.admin, err = kubernetes.NewForConfigAndClient(config, client); err != nil {
		t.Fatal(err)
	}
	c.objects = c.client(adminToken)
	c.startServer()
	c.define()
	return c
}

func (c *cluster) startStorage() {
	client, peer := "http://127.0.0.1:"+realapi.FreePort(c.t), "http://127.0.0.1:"+realapi.FreePort(c.t)
	c.etcdURL = client
	realapi.Run(c.t, filepath.Join(c.dir, "etcd.log"), c.program.etcd, "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
}

func (c *cluster) startServer() {
	file := func(name string) string { return filepath.Join(c.dir, name) }
	c.server = realapi.Run(c.t, file("apiserver.log"), c.program.apiserver, "--etcd-servers="+c.etcdURL,
		"--bind-address=127.0.0.1", "--secure-port="+c.port, "--cert-dir="+file("certs"), "--endpoint-reconciler-type=none",
		"--authorization-mode=RBAC", "--token-auth-file="+file("tokens.csv"),
		"--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.77.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("accounts.key"),
		"--service-account-signing-key-file="+file("accounts.key"))
	c.eventually("the API server to be ready", func() error {
		return c.admin.Discovery().RESTClient().Get().AbsPath("/readyz").Do(c.t.Context()).Error()
	})
}

// writeFiles writes what the API server and cert-manager read.
func (c *cluster) writeFiles() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		c.t.Fatal(err)
	}
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	for name, content := range map[string][]byte{
		"accounts.key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"tokens.csv":   []byte(adminToken + ",admin,1,system:masters\n" + meshToken + "," + meshUser + ",2\n"),
		"kubeconfig": fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://127.0.0.1:%s", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
`, c.port, adminToken),
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// config returns the configuration of a user, by its token. The connections close when the test ends.
func (c *cluster) config(token string) (*rest.Config, *http.Client) {
	config := &rest.Config{
		Host: "https://127.0.0.1:" + c.port, BearerToken: token, QPS: 1000, Burst: 1000,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // the server's certificate is self-made
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.CloseIdleConnections)
	return config, client
}

func (c *cluster) client(token string) dynamic.Interface {
	config, client := c.config(token)
	objects, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		c.t.Fatal(err)
	}
	return objects
}

// define applies cert-manager's definitions and waits until they are served.
func (c *cluster) define() {
	crds, err := exec.CommandContext(c.t.Context(), c.program.certManager, "crds").Output()
	if err != nil {
		c.t.Fatalf("print cert-manager's definitions: %v", err)
	}
	definitions := c.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, document := range strings.Split(string(crds), "\n---\n") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			c.t.Fatal(err)
		}
		if _, err := definitions.Create(c.t.Context(), &object, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, resource := range []string{"certificaterequests", "issuers", "clusterissuers"} {
		c.eventually(resource+" to be served", func() error {
			_, err := c.resource(resource).List(c.t.Context(), metav1.ListOptions{})
			return err
		})
	}
}

func (c *cluster) resource(name string) dynamic.NamespaceableResourceInterface {
	return c.objects.Resource(schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: name})
}

// startCertManager starts cert-manager. Its log stays beside the cluster's other files.
func (c *cluster) startCertManager(t *testing.T, flags ...string) *realapi.Process {
	log := filepath.Join(c.dir, fmt.Sprintf("cert-manager-%s.log", strings.ReplaceAll(t.Name(), "/", "-")))
	return realapi.Run(t, log, c.program.certManager, append([]string{"--kubeconfig=" + c.kubeconfig, "--cluster-resource-namespace=cert-manager"}, flags...)...)
}

// eventually waits until attempt succeeds.
func (c *cluster) eventually(what string, attempt func() error) {
	c.t.Helper()
	eventually(c.t, what, attempt)
}

func eventually(t *testing.T, what string, attempt func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(processTimeout); ; <-tick.C {
		err := attempt()
		if err == nil {
			return
		}
		if time.Now().After(end) || t.Context().Err() != nil {
			t.Fatalf("waited %v for %s: %v", processTimeout, what, err)
		}
	}
}
