//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/demo/provider"
	"github.com/osm-edge/osm/pkg/api"
	meshcluster "github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/tests/e2e/canary"
)

// TestProviders tests the life of a small mesh with each certificate provider, which really runs on the
// cluster. Its invariant: proxies present what the provider signed, and no
// secret can be read outside a Secret.
func TestProviders(t *testing.T) {
	env := must(readEnvironment())(t)
	s := &story{cluster: connect(t, env.kubeconfig), env: env}
	s.empty(t)
	before := s.inventory(t)
	for _, row := range []struct {
		kind   string
		deploy func(*story, *testing.T) signer
	}{
		{"vault", (*story).deployVault},
		{"cert-manager", (*story).deployCertManager},
		{"tresor", (*story).deployTresor},
	} {
		t.Run(row.kind, func(t *testing.T) {
			s := &story{cluster: s.cluster, env: env}
			p := row.deploy(s, t)
			t.Cleanup(func() { s.cleanUp(t); s.awaitRemoval(t) })
			t.Cleanup(func() { s.keepEvidence(t) })
			s.provide(t, p)
		})
	}
	s.unchangedSince(t, before)
}

// provide runs the life of the mesh. One controller is enough, and makes clear which identities it
// knows: it cannot sign for an identity that is new to it while the provider is unavailable.
func (s *story) provide(t *testing.T, p signer) {
	record := s.record(t)
	s.osm(t, slices.Concat([]string{"install"}, p.values, s.narrowed(t), s.env.imageValues())...)
	s.deployPair(t)
	if t.Failed() {
		t.Fatal("without client and servers no step can run")
	}
	s.step(t, "leaves", func(t *testing.T) { s.leavesOf(t, p) })
	if p.name != "" {
		s.step(t, "provider away", func(t *testing.T) { s.providerAway(t, p) })
	}
	var early []canary.Place // logs of controllers that are about to be replaced
	s.step(t, "logs", func(t *testing.T) { early = s.logs(t) })
	if p.kind == provider.KindVault {
		s.step(t, "provider away and controller killed", func(t *testing.T) {
			s.providerAndControllerAway(t, p)
			early = append(early, s.logs(t)...)
		})
	}
	// Not earlier: a reconnecting proxy keeps its certificate, so the new replica
	// has never had one signed for that identity.
	s.step(t, "restart", s.restartAll)
	s.step(t, "canary", func(t *testing.T) { s.searchSecrets(t, p, early) })
	s.step(t, "rights", func(t *testing.T) { s.fits(t, record, certManagerRights) })
	s.step(t, "uninstall", func(t *testing.T) {
		s.deleteNamespace(t, nsClient) // first, and at the same time: both take a while
		s.deleteNamespace(t, nsServer)
		s.osm(t, "uninstall", "mesh", "--force", "--delete-cluster-wide-resources", "--delete-namespace")
	})
}

// deployPair deploys a client and two servers, all in the mesh.
func (s *story) deployPair(t *testing.T) {
	t.Helper()
	s.apps = testApps{
		client: app{namespace: s.namespace(t, nsClient), name: "client"},
		server: app{namespace: s.namespace(t, nsServer), name: "server"},
	}
	s.osm(t, "namespace", "add", nsClient, nsServer)
	s.apps.addresses = map[string]string{"server": s.serviceOf(t, s.apps.server, "server", "", serverPorts()...).Spec.ClusterIP}
	for _, pod := range append(s.deploy(t, s.apps.server, 2), s.deploy(t, s.apps.client, 1)...) {
		if !injected(pod) {
			t.Errorf("pod %s/%s of the mesh has no sidecar", pod.Namespace, pod.Name)
		}
	}
}

// leavesOf checks that every proxy presents a certificate that the provider's CA signed for its identity.
func (s *story) leavesOf(t *testing.T, p signer) {
	root := p.root(t)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	for a, count := range map[app]int{s.apps.client: 1, s.apps.server: 2} {
		for _, pod := range s.ready(t, a, count) {
			leaf := s.leaf(t, pod, a.spiffe())
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				t.Errorf("%s presents what %s (CA %s) has not signed: %v", pod.Name, p.kind, root.Subject, err)
			}
			if loaded := s.loaded(t, pod); !loaded[leaf.SerialNumber.Text(16)] || !loaded[root.SerialNumber.Text(16)] {
				t.Errorf("%s has loaded certificates %v, want the leaf %x and the CA %x", pod.Name, loaded, leaf.SerialNumber, root.SerialNumber)
			}
		}
	}
	_, client := s.onlyPod(t, s.apps.client)
	if seen := reach(t, client, s.apps.everything()[0]); seen.Peer != s.apps.client.spiffe() {
		t.Errorf("server saw peer %q, want %q", seen.Peer, s.apps.client.spiffe())
	}
}

// leaf returns the certificate that a proxy was sent for an identity, not the one in its files.
func (s *story) leaf(t *testing.T, pod *corev1.Pod, id string) *x509.Certificate {
	t.Helper()
	var dump struct {
		Configs []struct {
			Secrets []struct {
				Name   string `json:"name"`
				Secret struct {
					TLS struct {
						Chain struct {
							Inline string `json:"inline_bytes"`
						} `json:"certificate_chain"`
					} `json:"tls_certificate"`
				} `json:"secret"`
			} `json:"dynamic_active_secrets"`
		} `json:"configs"`
	}
	text := s.osm(t, "proxy", "get", "config_dump", pod.Name, "-n", pod.Namespace)
	if err := json.Unmarshal([]byte(text), &dump); err != nil {
		t.Fatalf("read configuration of %s: %v", pod.Name, err)
	}
	for _, config := range dump.Configs {
		for _, secret := range config.Secrets {
			chain := must(base64.StdEncoding.DecodeString(secret.Secret.TLS.Chain.Inline))(t)
			if secret.Name != envoy.SecretWorkload || len(chain) == 0 {
				continue // the proxy's own client certificate names the same identity
			}
			if leaf := certificate(t, chain); len(leaf.URIs) == 1 && leaf.URIs[0].String() == id {
				return leaf
			}
		}
	}
	t.Fatalf("proxy of %s has no certificate for %s", pod.Name, id)
	return nil
}

// loaded returns the serial numbers, in lower-case hexadecimal, of the certificates that a proxy reports as in use.
func (s *story) loaded(t *testing.T, pod *corev1.Pod) map[string]bool {
	t.Helper()
	type listed []struct {
		Serial string `json:"serial_number"`
	}
	var answer struct {
		Certificates []struct {
			CA    listed `json:"ca_cert"`
			Chain listed `json:"cert_chain"`
		} `json:"certificates"`
	}
	text := s.osm(t, "proxy", "get", "certs", pod.Name, "-n", pod.Namespace)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("read certificates of %s: %v", pod.Name, err)
	}
	serials := map[string]bool{}
	for _, entry := range answer.Certificates {
		for _, one := range append(entry.CA, entry.Chain...) {
			if n, ok := new(big.Int).SetString(one.Serial, 16); ok {
				serials[n.Text(16)] = true
			}
		}
	}
	return serials
}

// restartAll replaces every pod of the control plane while traffic flows, and waits until the new ones
// serve all proxies.
func (s *story) restartAll(t *testing.T) {
	pod, client := s.onlyPod(t, s.apps.client)
	meshed := until(t, s.pods(nsServer, ""), podTime, func([]*corev1.Pod) string { return "" })
	meshed = append(meshed, pod)
	load := flow(t, client, s.apps.everything()...)
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339))
	for _, name := range controlPlane() {
		must(s.kube.AppsV1().Deployments(api.DefaultNamespace).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}))(t)
	}
	for _, name := range controlPlane() {
		until(t, s.deployments(api.DefaultNamespace, name), podTime, only(func(d *appsv1.Deployment) string {
			if st := d.Status; st.ObservedGeneration < d.Generation || st.UpdatedReplicas != st.Replicas || st.AvailableReplicas != st.Replicas || st.Replicas == 0 {
				return fmt.Sprintf("%s has %+v", d.Name, st)
			}
			return ""
		}))
	}
	eventually(t, noticeTime, func(ctx context.Context) string { return s.unconnected(ctx, meshed, "") })
	load.more(t, 100)
	load.stop(t)
}

// providerAway stops the provider and restarts it while traffic flows. Known identities keep working;
// new ones wait, and continue by themselves.
func (s *story) providerAway(t *testing.T, p signer) {
	_, client := s.onlyPod(t, s.apps.client)
	load := flow(t, client, s.apps.everything()...)
	replicas := must(s.kube.CoreV1().Pods(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{}))(t)

	s.stopSigner(t, p)
	load.more(t, 200)
	s.resize(t, nsServer, s.apps.server.name, 3)
	known := s.ready(t, s.apps.server, 3)
	for _, pod := range known {
		eventually(t, effectTime, func(ctx context.Context) string {
			if tally := must(client.Tally(ctx, 0))(t); tally.Servers[pod.Name] == 0 {
				return fmt.Sprintf("%s has answered nothing, others %v", pod.Name, tally.Servers)
			}
			return ""
		})
	}
	t.Logf("without the provider a new pod of a known identity started, and serves: %s", describe(known))

	late := app{namespace: nsServer, name: "newcomer"}
	failed := s.failures(t)
	created := s.open(t, late)
	eventually(t, podTime, func(context.Context) string {
		if now := s.failures(t); now <= failed {
			return fmt.Sprintf("%d certificates could not be had, as before there was a newcomer", now)
		}
		return ""
	})
	s.restartSigner(t, p)
	begin := time.Now()
	pod := until(t, s.pods(nsServer, late.selector()), podTime, allAvailable(1))[0]
	t.Logf("%s, made %s before the provider was back, was ready %s after", pod.Name, begin.Sub(created).Round(time.Second), since(begin))
	seen := call(t, s.direct(t, pod), "http", s.apps.at("server", portHTTP))
	if seen.Peer != late.spiffe() {
		t.Errorf("server saw peer %q, want %q", seen.Peer, late.spiffe())
	}
	for i := range replicas.Items {
		was := &replicas.Items[i]
		now, err := s.kube.CoreV1().Pods(was.Namespace).Get(t.Context(), was.Name, metav1.GetOptions{})
		if was.DeletionTimestamp == nil && was.Status.Phase == corev1.PodRunning && (err != nil || restartsOf(now) != restartsOf(was)) {
			t.Errorf("%s did not survive without a restart: %v", was.Name, err)
		}
	}
	load.stop(t)
}

// providerAndControllerAway kills the only controller while there is no provider. Its successor waits for the root, the
// proxies go on with what they have, and when the provider is back they have a controller again.
func (s *story) providerAndControllerAway(t *testing.T, p signer) {
	pod, client := s.onlyPod(t, s.apps.client)
	meshed := append(until(t, s.pods(nsServer, s.apps.server.selector()), podTime, func([]*corev1.Pod) string { return "" }), pod)
	load := flow(t, client, s.apps.everything()...)
	s.stopSigner(t, p)
	old := until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(1))[0]
	if err := s.kube.CoreV1().Pods(old.Namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}); err != nil {
		t.Fatal(err)
	}
	s.connected(t, meshed, false)
	load.more(t, 500)
	for _, pod := range until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, func(pods []*corev1.Pod) string {
		if len(pods) == 1 && pods[0].UID != old.UID && pods[0].Status.Phase == corev1.PodRunning {
			return ""
		}
		return "no successor runs: " + describe(pods)
	}) {
		if available(pod) {
			t.Errorf("%s is ready without the provider, so the step shows nothing", pod.Name)
		}
	}
	s.restartSigner(t, p)
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(1))
	s.connected(t, meshed, true)
	load.more(t, 200)
	load.stop(t)
}

// open deploys a server and does not wait for it.
func (s *story) open(t *testing.T, a app) time.Time {
	t.Helper()
	s.account(t, a)
	made := must(s.kube.AppsV1().Deployments(a.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: a.meta(),
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: a.labels()}, Template: a.server(s.env.testapp)},
	}, metav1.CreateOptions{}))(t)
	return made.CreationTimestamp.Time
}

// failures returns how many certificate requests of the controllers failed.
func (s *story) failures(t *testing.T) int {
	t.Helper()
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(1))
	return s.counted(t, "osm_cert_issued_total", `result="error"`)
}

// counted adds up a counter of all controllers, over the labels that contain part.
func (s *story) counted(t *testing.T, name, part string) int {
	t.Helper()
	total := 0
	pods := must(s.kube.CoreV1().Pods(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + api.AppController}))(t)
	for i := range pods.Items {
		if !available(&pods.Items[i]) {
			continue
		}
		text := must(meshcluster.ProxyGet(t.Context(), s.kube, &pods.Items[i], api.PortHTTP, "/metrics"))(t)
		for line := range strings.Lines(string(text)) {
			if labels, count, _ := strings.Cut(line, "} "); strings.HasPrefix(labels, name+"{") && strings.Contains(labels, part) {
				total += must(strconv.Atoi(strings.TrimSpace(count)))(t)
			}
		}
	}
	return total
}

// restartsOf counts the restarts of all containers.
func restartsOf(pod *corev1.Pod) (n int32) {
	for _, status := range pod.Status.ContainerStatuses {
		n += status.RestartCount
	}
	return n
}
