package driver_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/driver"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
	"github.com/osm-edge/osm/tests/realapi"
)

// TestMain finds goroutines that a test leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	namespace    = "osm-system"
	awaitTimeout = 60 * time.Second
)

// cluster is a mesh on a real API server: replicas of the control plane with real roots, certificates
// and evidence over mutual TLS. Its proxies accept at once what they are sent, unless lag holds them back.
type cluster struct {
	t       *testing.T
	client  *kubernetes.Clientset
	dynamic dynamic.Interface
	port    int

	mu       sync.Mutex
	replicas []*replica
	lagging  bool // the proxy of the first replica acknowledges nothing
	held     ca.Trust
}

// replica is one process of the control plane, as far as roots are concerned.
type replica struct {
	cluster  *cluster
	name     string
	app      string
	provider *provider.Provider
	driver   *driver.Driver
	serving  *secrets.ServingController
	hooks    *webhook.Metrics
	leads    atomic.Bool
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	server := realapi.Start(t)
	c := &cluster{t: t, client: server.Client(t)}
	var err error
	c.dynamic, err = dynamic.NewForConfig(server.Config())
	must(t, err)
	extensions, err := apiextensions.NewForConfig(server.Config())
	must(t, err)
	must(t, bootstrap.ApplyCRDs(t.Context(), extensions.ApiextensionsV1().CustomResourceDefinitions(), slog.New(slog.DiscardHandler)))
	_, err = c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	must(t, err)
	c.port = listener.Addr().(*net.TCPAddr).Port
	must(t, listener.Close())
	return c
}

// add starts a replica at an address of loopback.
func (c *cluster) add(name, app, ip string) *replica {
	c.t.Helper()
	r := &replica{cluster: c, name: name, app: app}
	health := serve.NewHealth(time.Now)
	opened, err := provider.Open(c.t.Context(), provider.Config{
		Client: c.client, Dynamic: c.dynamic, Namespace: namespace, Mesh: "osm", TrustDomain: api.DefaultDomain,
		Ready: health.Require("root CA", "not asked"), Log: slog.New(slog.DiscardHandler),
	})
	must(c.t, err)
	r.provider = opened
	cert, err := opened.ServingCert(c.t.Context(), ca.ServingConfig{
		Identity: identity.Identity{Namespace: namespace, ServiceAccount: app}, DNSNames: []string{app + "." + namespace + ".svc"},
	})
	must(c.t, err)
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(c.port)))
	must(c.t, err)
	r.serving, err = secrets.NewServingController(secrets.ServingConfig{
		Client: c.client, Authority: opened.Roots, Mesh: "osm", TrustDomain: api.DefaultDomain, Name: api.InjectorCertificateSecret, Label: api.LabelInjectorCertificate,
		Identity: identity.Identity{Namespace: namespace, ServiceAccount: api.AppInjector}, Host: api.InjectorHost(namespace),
	})
	must(c.t, err)
	r.hooks, err = webhook.NewMetrics(prometheus.NewRegistry())
	must(c.t, err)
	collector := &collect.Collector{
		Client: c.client, Namespace: namespace, Mesh: "osm", TrustDomain: api.DefaultDomain, Roots: opened.Roots,
		Self: name, Own: r.own, Port: c.port, WebhookPort: c.port, Now: time.Now,
	}
	r.driver = driver.New(driver.Config{
		Dynamic: c.dynamic, Namespace: namespace, Roots: opened, Collect: collector.Collect,
		Delivery: time.Nanosecond, Every: 100 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	c.run(opened.Run)
	c.run(func(ctx context.Context) error {
		return serve.HTTPServer{Handler: collect.Handler(namespace, api.DefaultDomain, opened.Roots.Trust, collect.Pages{collect.Path: func(ctx context.Context) any { return r.own(ctx) }}), TLS: cert.MutualTLS()}.Serve(ctx, listener)
	})
	c.pod(name, app, ip)
	c.mu.Lock()
	c.replicas = append(c.replicas, r)
	c.mu.Unlock()
	opened.Roots.Subscribe(func(ca.Change) { c.checkInvariant() })
	return r
}

// run runs something until the test ends.
func (c *cluster) run(work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = work(ctx) // the cause of ctx
	}()
	c.t.Cleanup(func() { cancel(); <-done })
}

func (c *cluster) pod(name, app, ip string) {
	c.t.Helper()
	pod, err := c.client.CoreV1().Pods(namespace).Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{api.LabelApp: app, api.LabelInstance: "osm"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{})
	must(c.t, err)
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
	_, err = c.client.CoreV1().Pods(namespace).UpdateStatus(c.t.Context(), pod, metav1.UpdateOptions{})
	must(c.t, err)
}

// own returns the evidence of the replica and its one proxy.
func (r *replica) own(ctx context.Context) rotation.Replica {
	signer := func() string { return r.provider.Roots.Trust().Fingerprint }
	return collect.Replica(ctx, rotation.Replica{At: time.Now()}, r.provider, signer, func(e *rotation.Replica) {
		trust := r.cluster.trustOf(r)
		pod := "apps/of-" + r.name
		e.Proxies = []rotation.Proxy{{Pod: pod, Identity: "apps/default", Trusts: trust.Fingerprints(), Root: trust.Fingerprint, Serial: "ab", At: e.At}}
		injectors, known := r.serving.Evidence()
		if e.Leads = known && r.leads.Load(); !e.Leads {
			return
		}
		e.Secrets = []rotation.Secret{{Account: injectors.Account, Trusts: injectors.Trusts, Signer: injectors.Signer}, {Account: "apps/default", Trusts: trust.Fingerprints(), Signer: trust.Fingerprint, Since: e.At.Add(-time.Hour)}}
	})
}

// trustOf returns what the replica's proxy trusts.
func (c *cluster) trustOf(r *replica) ca.Trust {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := r.provider.Roots.Trust(); !c.lagging || r != c.replicas[0] {
		return now
	}
	return c.held
}

// lag stops the proxy of the first replica from acknowledging, or lets it continue.
func (c *cluster) lag(lagging bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lagging, c.held = lagging, c.replicas[0].provider.Roots.Trust()
}

// checkInvariant checks that every replica and every proxy trusts every signer.
func (c *cluster) checkInvariant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, signing := range c.replicas {
		signer := signing.provider.Roots.Trust().Fingerprint
		for _, r := range c.replicas {
			if !slices.Contains(r.provider.Roots.Trust().Fingerprints(), signer) {
				c.t.Errorf("%s signs with %.8s, which %s does not trust", signing.name, signer, r.name)
			}
		}
		if c.lagging && !slices.Contains(c.held.Fingerprints(), signer) {
			c.t.Errorf("%s signs with %.8s, which the proxy that lags does not trust", signing.name, signer)
		}
	}
}

// webhook creates the webhook's configuration, as the chart does.
func (c *cluster) webhook() {
	c.t.Helper()
	none := admissionv1.SideEffectClassNone
	_, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(c.t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfigName("osm")},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: api.WebhookName, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Name: api.AppInjector, Namespace: namespace}},
		}},
	}, metav1.CreateOptions{})
	must(c.t, err)
}

// injector starts a webhook that presents the certificate currently in the Secret.
func (c *cluster) injector(name, ip string) {
	c.t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(c.port)))
	must(c.t, err)
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		served, err := c.served(hello.Context())
		if err != nil {
			return nil, err
		}
		return &served.Certificate, nil
	}}
	c.run(func(ctx context.Context) error {
		return serve.HTTPServer{Handler: http.NotFoundHandler(), TLS: config}.Serve(ctx, listener)
	})
	c.pod(name, api.AppInjector, ip)
}

func (c *cluster) served(ctx context.Context) (*secrets.Served, error) {
	secret, err := c.client.CoreV1().Secrets(namespace).Get(ctx, api.InjectorCertificateSecret, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return secrets.ParseServed(secret.Data, api.InjectorHost(namespace), time.Now())
}

// keepWebhook maintains the bundle and the certificate, as the leader does.
func (r *replica) keepWebhook(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	defer r.provider.Roots.Subscribe(func(ca.Change) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	return webhook.New(webhook.Config{
		Mesh: "osm", Webhooks: r.cluster.client.AdmissionregistrationV1().MutatingWebhookConfigurations(), Certificate: r.serving, Roots: r.provider.Roots,
		Owner: func() types.UID { return "" }, Metrics: r.hooks, Log: slog.New(slog.DiscardHandler),
	}).Run(ctx, changed)
}

// presented checks the injectors as the API server does: they must never present a certificate that its
// bundle does not cover.
func (c *cluster) presented(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		served, err := c.served(ctx)
		if err != nil {
			continue // not written yet
		}
		hook, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookConfigName("osm"), metav1.GetOptions{})
		if err != nil {
			continue // the end of ctx
		}
		now, err := c.served(ctx)
		if err != nil || now.Certificate.Leaf.SerialNumber.Cmp(served.Certificate.Leaf.SerialNumber) != 0 {
			continue // it has changed since
		}
		trusted := ca.Trust{Bundle: hook.Webhooks[0].ClientConfig.CABundle}.Fingerprints()
		if signer := served.Trust.Fingerprint; !slices.Contains(trusted, signer) {
			c.t.Errorf("injectors serve what %.8s signed, and the API server trusts %.8s", signer, trusted)
		}
	}
}

// ask requests a rotation to a root.
func (c *cluster) ask(name string) {
	c.t.Helper()
	patch := `{"metadata":{"annotations":{"` + v1alpha2.AnnotationRotateTo + `":"` + time.Now().UTC().Format(time.RFC3339Nano) + `"}}}`
	_, err := c.roots().Patch(c.t.Context(), name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	must(c.t, err)
}

func (c *cluster) roots() dynamic.ResourceInterface {
	return c.dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(namespace)
}

// make creates the object of a Tresor root.
func (c *cluster) make(name, secret string, role v1alpha2.RootRole) {
	c.t.Helper()
	object := &v1alpha2.MeshRootCertificate{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha2.GroupVersion().String(), Kind: v1alpha2.RootCertificateKind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1alpha2.MeshRootCertificateSpec{TrustDomain: api.DefaultDomain, Role: role},
	}
	object.Spec.Provider.Tresor = &v1alpha2.TresorProviderSpec{CA: v1alpha2.TresorCASpec{SecretRef: v1alpha2.SecretRef{Name: secret, Namespace: namespace}}}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	must(c.t, err)
	_, err = c.roots().Create(c.t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	must(c.t, err)
}

// objects returns the roots on the API server, by name.
func (c *cluster) objects() map[string]v1alpha2.MeshRootCertificate {
	c.t.Helper()
	list, err := provider.MeshRoots(c.t.Context(), c.dynamic, namespace)
	must(c.t, err)
	objects := map[string]v1alpha2.MeshRootCertificate{}
	for _, object := range list {
		objects[object.Name] = object
	}
	return objects
}

// await waits until a condition on the objects holds.
func (c *cluster) await(what string, is func(map[string]v1alpha2.MeshRootCertificate) bool) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(awaitTimeout); ; <-tick.C {
		objects := c.objects()
		if is(objects) {
			return
		}
		if time.Now().After(end) {
			var states []string
			for _, o := range objects {
				states = append(states, o.Name+": "+string(o.Spec.Role)+", "+o.Status.State)
				for _, c := range o.Status.Conditions {
					states = append(states, c.Reason+": "+c.Message)
				}
			}
			c.t.Fatalf("not after %v: %s\n%s", awaitTimeout, what, strings.Join(states, "\n"))
		}
	}
}
