package injector_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/tests/catest"
	"github.com/osm-edge/osm/tests/realapi"
)

// TestRun runs whole injectors, which a real API server calls. The steps build on one another, since starting an API
// server takes longer than all of them.
func TestRun(t *testing.T) {
	f := newFixture(t)
	f.locksNobodyOut()
	first, second, endLeader := f.startsInOrder()
	f.rotates(first, second)
	endLeader()
	f.servesAlone(first, second)
	f.drains(first)
	second.Stop()
	f.locksNobodyOut()
}

// locksNobodyOut: without an injector, pods of the mesh are refused and all others are created: the mesh's own, and the
// system's even if somebody has made them members. Fails if a selector of the webhook misses one of them, or if an
// unreachable injector lets pods in without a sidecar.
func (f *fixture) locksNobodyOut() {
	f.t.Helper()
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, api.DefaultNamespace} {
		f.member(name, nil)
	}
	f.member("ignored", map[string]string{api.LabelIgnore: "true"})
	var err error
	f.await("pods of the mesh are refused", func() bool {
		_, err = f.admit(shop, pod())
		return err != nil
	})
	if !strings.Contains(err.Error(), api.WebhookName) {
		f.t.Errorf("the refusal is %q; want the webhook's name %s in it", err, api.WebhookName)
	}
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, api.DefaultNamespace, "ignored", metav1.NamespaceDefault} {
		if _, err := f.admit(name, pod()); err != nil {
			f.t.Errorf("no pod can be created in namespace %s without an injector: %v", name, err)
		}
	}
	own := pod()
	own.Labels = map[string]string{api.LabelName: api.NameValue}
	if _, err := f.admit(shop, own); err != nil {
		f.t.Errorf("no pod of the mesh's own can be created without an injector: %v", err)
	}
}

// startsInOrder: a replica is ready, and listens, only when it knows the namespaces and has its certificate, which the
// leader writes after the bundle by which the API server trusts it. It says what it waits for. Fails if it serves
// before one of them, or if the leader writes the certificate first.
func (f *fixture) startsInOrder() (first, second *replica, endLeader func()) {
	f.t.Helper()
	namespaces := realapi.NewGate("/namespaces")
	first, second = f.start("first", namespaces), f.start("second", nil)
	waits := func(r *replica, text, not string) {
		f.t.Helper()
		f.await(r.Name+" waits for: "+text, func() bool { return r.WaitsFor(text) && (not == "" || !r.WaitsFor(not)) })
		if r.ready() || r.listens() {
			f.t.Errorf("%s waits for %q, but is ready or listens", r.Name, text)
		}
	}
	const objects, certificate = "namespaces and MeshConfig not read yet", "osm-injector-certificate, which the controller that holds the Lease writes"
	waits(first, objects, "")
	waits(second, certificate, objects)
	endLeader = f.lead()
	f.await("the leader has written the certificate", func() bool { return f.secret() != nil })
	if !f.bundled() {
		f.t.Error("the injectors have a certificate that the API server does not trust yet")
	}
	second.awaitReady()
	waits(first, objects, certificate)
	namespaces.Open()
	first.awaitReady()
	f.knows()
	f.admitted(shop, pod())
	return first, second, endLeader
}

// secret is the one with the injectors' certificate, nil if there is none.
func (f *fixture) secret() *corev1.Secret {
	secret, err := f.client.CoreV1().Secrets(api.DefaultNamespace).Get(f.t.Context(), api.InjectorCertificateSecret, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return secret
}

// bundled reports whether the webhook's configuration has the bundle of the moment.
func (f *fixture) bundled() bool {
	f.t.Helper()
	config, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(f.t.Context(), api.WebhookConfigName(api.DefaultMeshName), metav1.GetOptions{})
	f.must(err)
	return bytes.Equal(config.Webhooks[0].ClientConfig.CABundle, f.roots.Trust().Bundle)
}

// knows waits until the API server goes by the webhook configurations of the moment. It hears of them in order, so it
// knows the others when it calls one that has just been made.
func (f *fixture) knows() {
	f.t.Helper()
	none, nowhere := admissionv1.SideEffectClassNone, "https://127.0.0.1:1"
	configs, ctx := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations(), f.t.Context()
	probe, err := configs.Create(ctx, &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "probe.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ClientConfig: admissionv1.WebhookClientConfig{URL: &nowhere},
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}},
		}},
	}, metav1.CreateOptions{})
	f.must(err)
	f.await("the API server calls the probe", func() bool {
		_, err := f.client.CoreV1().ConfigMaps(shop).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil
	})
	f.must(configs.Delete(ctx, probe.Name, metav1.DeleteOptions{}))
}

// rotates: while pods are created all the time, the certificate is replaced, and then the root, as osm mesh rotate-root
// does it. No pod is refused. Fails if a replica keeps its first certificate, or the bundle lacks a root in use.
func (f *fixture) rotates(replicas ...*replica) {
	f.t.Helper()
	load := f.load()
	load.more()
	serials := map[*replica]string{}
	for _, r := range replicas {
		serials[r] = r.serial()
	}
	f.must(f.client.CoreV1().Secrets(api.DefaultNamespace).Delete(f.t.Context(), api.InjectorCertificateSecret, metav1.DeleteOptions{}))
	f.changed <- struct{}{}
	for _, r := range replicas {
		f.await(r.Name+" serves the renewed certificate", func() bool { return r.serial() != serials[r] })
	}
	load.more()

	next := catest.New(f.t)
	f.setRoots(f.first, next)
	f.setRoots(next, f.first)
	for _, r := range replicas {
		f.await(r.Name+" serves a certificate of the next root", func() bool { return r.isOf(next) })
	}
	load.more()
	f.setRoots(next)
	load.more()
	load.end()
}

// setRoots waits until the API server trusts exactly these roots, of which the first one signs.
func (f *fixture) setRoots(signer ca.Authority, passive ...ca.Truster) {
	f.t.Helper()
	f.must(f.roots.Set(signer, passive...))
	f.changed <- struct{}{}
	f.await("the bundle is written", f.bundled)
	f.knows()
}

// servesAlone: replicas need neither leader nor API server nor each other to answer. All stay ready and inject. A pod of
// a namespace that they do not know is refused. Fails if an outage makes a replica unready, or if it lets in pods that
// it cannot decide about.
func (f *fixture) servesAlone(replicas ...*replica) {
	f.t.Helper()
	before := map[*replica]int{}
	for _, r := range replicas {
		r.Link.Cut()
		before[r] = r.injected()
	}
	load := f.load()
	for _, r := range replicas {
		f.await(r.Name+" injects", func() bool { return r.injected() > before[r]+10 })
		if !r.ready() {
			f.t.Errorf("an outage of the API server makes %s unready", r.Name)
		}
	}
	load.end()
	f.member("later", nil)
	f.await("the API server asks about pods of the new namespace", func() bool {
		got, err := f.admit("later", pod())
		if err == nil && got.Labels[api.LabelProxyUUID] != "" {
			f.t.Error("a replica injects a pod of a namespace that it cannot know")
		}
		return err != nil && strings.Contains(err.Error(), "read namespace later")
	})
	for _, r := range replicas {
		r.Link.Heal()
	}
	f.await("pods of the new namespace are injected", func() bool {
		got, err := f.admit("later", pod())
		return err == nil && got.Labels[api.LabelProxyUUID] != ""
	})
}

// drains: a replica that is told to stop turns unready and serves a while longer, in which the API server leaves its
// connections. Then it ends, but not before it has answered what it had begun. No pod is refused meanwhile. Fails
// without one of these steps.
func (f *fixture) drains(leaving *replica) {
	f.t.Helper()
	load := f.load()
	load.more()
	slow := leaving.dial()
	head, tail := review()
	_, err := io.WriteString(slow, head)
	f.must(err)
	leaving.Signal()
	f.await("the replica is unready", func() bool { ready, _ := leaving.Health.Ready(); return !ready })

	quick := leaving.dial()
	_, err = io.WriteString(quick, head+tail)
	f.must(err)
	f.answers("while it drains", quick)
	f.await("the replica does not listen any more", func() bool { return !leaving.listens() })
	_, err = io.WriteString(slow, tail)
	f.must(err)
	f.answers("what it had begun", slow)
	leaving.Stop()
	load.more()
	load.end()
}

// answers reads the response to a review, the last one on its connection.
func (f *fixture) answers(what string, conn net.Conn) {
	f.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.t.Fatalf("%s: no answer: %v", what, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	f.must(err)
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"patch"`) {
		f.t.Errorf("%s: %s %s", what, response.Status, body)
	}
	if !response.Close {
		f.t.Errorf("%s: the API server is not told to leave the connection", what)
	}
}
