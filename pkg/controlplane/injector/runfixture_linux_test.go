package injector_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/injector"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
	"github.com/osm-edge/osm/tests/catest"
	"github.com/osm-edge/osm/tests/realapi"
)

const (
	// settle is how long a replica still serves after it turned unready.
	settle = 5 * time.Second
	shop   = "shop"
)

// fixture is a real API server with what the chart installs for injectors, which run in the test's process. The
// API server reaches them as in a cluster: by the chart's webhook configuration, through a Service.
type fixture struct {
	t       *testing.T
	api     *realapi.Server
	client  *kubernetes.Clientset
	service *service
	first   *ca.Issuer // of the roots
	roots   *ca.RootSet
	changed chan struct{} // wakes the leader
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, running) })
	f := &fixture{t: t, api: realapi.Start(t), changed: make(chan struct{})}
	f.client = f.api.Client(t)
	f.service = newService(t)
	f.first = catest.New(t)
	f.roots = catest.NewRootSet(t, f.first)
	config := f.api.Config()
	f.link(config)
	f.must(bootstrap.Run(t.Context(), bootstrap.Config{REST: config, Logger: slog.New(slog.DiscardHandler)}))
	f.installChart()
	f.member(shop, nil)
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// link gives a client a network of its own, which ends with the test.
func (f *fixture) link(config *rest.Config) {
	link := &realapi.Link{}
	f.t.Cleanup(link.Close)
	config.Dial = link.Dial
}

func (f *fixture) await(what string, holds func() bool) {
	f.t.Helper()
	realapi.Await(f.t, what, holds)
}

// installChart creates the injectors' objects of the chart, as its golden file shows them, and a Service that leads to
// the replicas: an API server asks the ClusterIP or, here, the name.
func (f *fixture) installChart() {
	f.t.Helper()
	ctx := f.t.Context()
	text, err := os.ReadFile("../../../charts/testdata/default.golden.yaml")
	f.must(err)
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			continue // a kind that only the API server knows
		}
		if o, ok := object.(metav1.Object); !ok || o.GetLabels()["app"] != api.AppInjector {
			continue
		}
		switch o := object.(type) {
		case *corev1.ServiceAccount:
			_, err = f.client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.ClusterRole:
			_, err = f.client.RbacV1().ClusterRoles().Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.ClusterRoleBinding:
			_, err = f.client.RbacV1().ClusterRoleBindings().Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.Role:
			_, err = f.client.RbacV1().Roles(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.RoleBinding:
			_, err = f.client.RbacV1().RoleBindings(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		case *admissionv1.MutatingWebhookConfiguration:
			port := f.service.port()
			o.Webhooks[0].ClientConfig.Service.Port = &port
			_, err = f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, o, metav1.CreateOptions{})
		case *corev1.Service:
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: o.Name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "127.0.0.1"}}
			_, err = f.client.CoreV1().Services(o.Namespace).Create(ctx, service, metav1.CreateOptions{})
		}
		f.must(err)
	}
}

// member creates a namespace of the mesh, or makes an existing one a member.
func (f *fixture) member(name string, more map[string]string) {
	f.t.Helper()
	labels := map[string]string{api.LabelMonitoredBy: api.DefaultMeshName}
	for key, value := range more {
		labels[key] = value
	}
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{api.AnnotationInjection: "enabled"}}}
	namespaces := f.client.CoreV1().Namespaces()
	if _, err := namespaces.Get(f.t.Context(), name, metav1.GetOptions{}); err != nil {
		_, err = namespaces.Create(f.t.Context(), object, metav1.CreateOptions{})
		f.must(err)
		return
	}
	_, err := namespaces.Update(f.t.Context(), object, metav1.UpdateOptions{})
	f.must(err)
}

// lead keeps the webhook's bundle and the injectors' certificate, as the controller that holds the Lease does. end ends
// it.
func (f *fixture) lead() (end func()) {
	f.t.Helper()
	account, err := f.client.CoreV1().ServiceAccounts(api.DefaultNamespace).Get(f.t.Context(), api.AppInjector, metav1.GetOptions{})
	f.must(err)
	serving, err := secrets.NewServingController(secrets.ServingConfig{
		Client: f.client, Authority: f.roots, Mesh: api.DefaultMeshName, TrustDomain: api.DefaultDomain,
		Name: api.InjectorCertificateSecret, Label: api.LabelInjectorCertificate, Host: api.InjectorHost(api.DefaultNamespace),
		Identity: identity.Identity{Namespace: api.DefaultNamespace, ServiceAccount: api.AppInjector},
	})
	f.must(err)
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	f.must(err)
	keeper := webhook.New(webhook.Config{
		Mesh: api.DefaultMeshName, Webhooks: f.client.AdmissionregistrationV1().MutatingWebhookConfigurations(), Certificate: serving,
		Roots: f.roots, Owner: func() types.UID { return account.UID }, Metrics: metrics, Log: slog.New(slog.NewTextHandler(f.t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- keeper.Run(ctx, f.changed) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			f.t.Errorf("the leader ended: %v", err)
		}
	})
	f.t.Cleanup(end)
	return end
}

// replica is one injector.Run.
type replica struct {
	*realapi.Replica
	f       *fixture
	address string
}

// start starts a replica with the rights that the chart gives it. gate may be nil.
func (f *fixture) start(name string, gate *realapi.Gate) *replica {
	f.t.Helper()
	whole, config := f.api.NewReplica(f.t, name, gate)
	config.Impersonate.UserName = "system:serviceaccount:" + api.DefaultNamespace + ":" + api.AppInjector
	r := &replica{Replica: whole, f: f, address: "127.0.0.1:" + realapi.FreePort(f.t)}
	r.Run(func(ctx context.Context) error {
		return injector.Run(ctx, injector.Config{
			REST: config, Address: r.address, HTTPAddress: "127.0.0.1:0", Drain: settle,
			Settings: injector.Settings{
				MeshName: api.DefaultMeshName, Namespace: api.DefaultNamespace, SidecarImage: "envoy", InitImage: "osm",
				Limits: injector.Limits{Read: realapi.Longest},
			},
			Health: r.Health, Metrics: r.Metrics, Log: r.Log(),
		})
	})
	f.service.add(r)
	return r
}

// ready reports whether the replica is ready. Before it has begun to start, it waits for nothing yet.
func (r *replica) ready() bool {
	ok, _ := r.Health.Ready()
	return ok && r.listens()
}

func (r *replica) awaitReady() *replica {
	r.f.t.Helper()
	r.f.await(r.Name+" is ready", r.ready)
	return r
}

// listens reports whether the webhook's port is open.
func (r *replica) listens() bool { return realapi.Listens(r.address) }

// injected is how many pods the replica has given a sidecar.
func (r *replica) injected() int {
	r.f.t.Helper()
	families, err := r.Metrics.Gather()
	r.f.must(err)
	for _, family := range families {
		if family.GetName() != "osm_admission_requests_total" {
			continue
		}
		for _, series := range family.GetMetric() {
			if series.GetLabel()[0].GetValue() == string(injector.Injected) {
				return int(series.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// dial opens a connection to the webhook, as the API server does, which trusts the mesh's roots.
func (r *replica) dial() *tls.Conn {
	r.f.t.Helper()
	trust := r.f.roots.Trust()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: trust.Pool(), ServerName: api.InjectorHost(api.DefaultNamespace), MinVersion: tls.VersionTLS12})
	r.f.must(err)
	r.f.t.Cleanup(func() { _ = conn.Close() })
	r.f.must(conn.SetDeadline(time.Now().Add(realapi.Longest)))
	return conn
}

// leaf is the certificate that the replica serves.
func (r *replica) leaf() *x509.Certificate {
	r.f.t.Helper()
	conn := r.dial()
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0]
}

func (r *replica) serial() string { return r.leaf().SerialNumber.Text(16) }

// isOf reports whether the replica's certificate is of a root.
func (r *replica) isOf(root ca.Truster) bool {
	trust := root.Trust()
	_, err := r.leaf().Verify(x509.VerifyOptions{Roots: trust.Pool()})
	return err == nil
}
