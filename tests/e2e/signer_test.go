//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"

	"github.com/osm-edge/osm/demo/provider"
	"github.com/osm-edge/osm/demo/stage"
	"github.com/osm-edge/osm/pkg/api"
	meshcluster "github.com/osm-edge/osm/pkg/cli/cluster"
)

// signer is a certificate provider that runs on the cluster, ready for requests.
type signer struct {
	kind string
	// values are the arguments of osm install that select it.
	values []string
	// namespace and name of its Deployment; "" for the built-in provider.
	namespace, name string
	// root reads the CA's certificate from the provider, not from the mesh.
	root func(*testing.T) *x509.Certificate
}

func (s *story) stage() *stage.Stage {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.kube.Discovery()))
	return &stage.Stage{Dynamic: s.dynamic, Mapper: mapper, Kube: s.kube, Progress: func(string) {}}
}

// deployTresor is for tests with a row for each provider. Tresor is built into the mesh, so there is nothing to deploy.
func (s *story) deployTresor(t *testing.T) signer {
	t.Helper()
	return s.startSigner(t, signer{kind: provider.KindTresor, root: s.secretRoot(api.DefaultNamespace, "osm-ca-bundle", "ca.crt")}, provider.Tresor())
}

// deployVault starts OpenBao, and removes it when the test ends. The CA stays the same
// until then. For an operator's requests, see vault.
func (s *story) deployVault(t *testing.T) signer {
	t.Helper()
	if s.env.openbao == "" {
		t.Skipf("SKIPPED: %s is not set: the cluster's nodes have another architecture than the available OpenBao", varOpenBao)
	}
	deployment := must(provider.Vault(t.Context(), s.kube, s.env.openbao, time.Now()))(t)
	return s.startSigner(t, signer{
		kind: provider.KindVault, namespace: provider.VaultNamespace, name: provider.VaultName,
		root: func(t *testing.T) *x509.Certificate {
			return certificate(t, s.vault(t, http.MethodGet, "pki/ca/pem", nil))
		},
	}, deployment)
}

// deployCertManager starts cert-manager with an Issuer osm-ca in the mesh's namespace, and
// removes it when the test ends. The Issuer is deleted with the mesh's namespace.
func (s *story) deployCertManager(t *testing.T) signer {
	t.Helper()
	if s.env.certManager == "" {
		t.Skipf("SKIPPED: %s is not set: the cluster's nodes have another architecture than the available cert-manager", varCertManager)
	}
	deployment := must(provider.CertManager(s.env.certManager, must(os.ReadFile(s.env.definitions))(t)))(t)
	return s.startSigner(t, signer{
		kind: provider.KindCertManager, namespace: provider.CertManagerNamespace, name: provider.CertManagerName,
		root: s.secretRoot(api.DefaultNamespace, provider.CertManagerCASecret, corev1.TLSCertKey),
	}, deployment)
}

// startSigner deploys a provider and completes the signer.
func (s *story) startSigner(t *testing.T, p signer, deployment *provider.Deployment) signer {
	t.Helper()
	t.Cleanup(func() {
		if err := deployment.Remove(withoutTest(t), s.stage(), podTime); err != nil {
			t.Errorf("remove %s: %v", p.kind, err)
		}
	})
	if err := deployment.Start(t.Context(), s.stage(), podTime); err != nil {
		t.Fatal(err)
	}
	var values bytes.Buffer
	if err := deployment.WriteValues(&values); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), p.kind+".yaml")
	if err := os.WriteFile(file, values.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p.values = []string{"--values=" + file}
	return p
}

// stopSigner deletes the provider's pod, and with it everything that it keeps in memory.
func (s *story) stopSigner(t *testing.T, p signer) {
	t.Helper()
	s.resize(t, p.namespace, p.name, 0)
	s.gone(t, p.namespace, "app="+p.name)
}

// restartSigner starts the provider again.
func (s *story) restartSigner(t *testing.T, p signer) {
	t.Helper()
	s.resize(t, p.namespace, p.name, 1)
	until(t, s.pods(p.namespace, "app="+p.name), podTime, allAvailable(1))
}

// secretRoot reads a CA's certificate from a Secret.
func (s *story) secretRoot(namespace, name, key string) func(*testing.T) *x509.Certificate {
	return func(t *testing.T) *x509.Certificate {
		t.Helper()
		return certificate(t, must(s.kube.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{}))(t).Data[key])
	}
}

// certificate parses the first certificate of a PEM file.
func certificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate in %q", text)
	}
	return must(x509.ParseCertificate(block.Bytes))(t)
}

// vault sends a request to OpenBao with the operator's token: to read, with a nil body,
// or to create an engine or role, with http.MethodPost. OpenBao loses changes when it stops.
func (s *story) vault(t *testing.T, method, path string, body map[string]any) []byte {
	t.Helper()
	keys := must(s.kube.CoreV1().Secrets(provider.VaultNamespace).Get(t.Context(), provider.VaultKeys, metav1.GetOptions{}))(t).Data
	pod := until(t, s.pods(provider.VaultNamespace, "app="+provider.VaultName), podTime, allAvailable(1))[0]
	address, stop, err := meshcluster.Forward(t.Context(), s.config, pod.Namespace, pod.Name, provider.VaultPort)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(keys[provider.KeyTLSCA]) {
		t.Fatal("OpenBao's CA bundle holds no certificate")
	}
	client := &http.Client{Timeout: osmTime, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: provider.VaultHost},
	}}
	request := must(http.NewRequestWithContext(t.Context(), method, "https://"+address+"/v1/"+path, bytes.NewReader(must(json.Marshal(body))(t))))(t)
	request.Header.Set("X-Vault-Token", string(keys[provider.KeyOperatorToken]))
	response := must(client.Do(request))(t)
	defer response.Body.Close()
	text := must(io.ReadAll(response.Body))(t)
	if response.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s %s of OpenBao: %s %s", method, path, response.Status, text)
	}
	return text
}

// awaitRemoval waits until nothing is left of a removed mesh and of the test's own namespaces, even if the
// test is over.
func (s *story) awaitRemoval(t *testing.T) {
	t.Helper()
	left := "not checked"
	err := wait.PollUntilContextTimeout(withoutTest(t), time.Second, podTime, true, func(ctx context.Context) (bool, error) {
		list, err := s.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			left = err.Error()
			return false, nil
		}
		left = ""
		for i := range list.Items {
			if ns := &list.Items[i]; ns.Name == api.DefaultNamespace || ns.Labels[labelMine] != "" {
				left += fmt.Sprintf("namespace %s is %s; ", ns.Name, ns.Status.Phase)
			}
		}
		return left == "", nil
	})
	if err != nil {
		t.Errorf("after %s still: %s", podTime, left)
	}
}
