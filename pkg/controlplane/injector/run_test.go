package injector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/tests/catest"
)

func namespaceObject(name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{api.LabelMonitoredBy: "osm", "team": "a"},
			Annotations: map[string]string{api.AnnotationInjection: "enabled", "note": "long"},
		},
	}
}

func meshConfigObject(image string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha2.GroupVersion().String(), "kind": v1alpha2.Kind,
		"metadata": map[string]any{"name": api.MeshConfigName, "namespace": "osm-system"},
		"spec":     map[string]any{"sidecar": map[string]any{"envoyImage": image}},
	}}
}

func metadataClient(objects ...runtime.Object) *metadatafake.FakeMetadataClient {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		panic(err)
	}
	return metadatafake.NewSimpleMetadataClient(scheme, objects...)
}

func meshConfigClient(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	kinds := map[schema.GroupVersionResource]string{v1alpha2.GroupVersionResource(): v1alpha2.Kind + "List"}
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, objects...)
}

func testConfig(t *testing.T) Config {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = free.Close() }()
	return Config{
		REST: &rest.Config{}, Settings: testSettings(), Address: free.Addr().String(),
		Health: serve.NewHealth(nil), Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

// running runs a whole injector over fake clients. end ends it as SIGTERM does.
func running(t *testing.T, cfg Config, configs dynamic.Interface, client kubernetes.Interface) (p *server, end func()) {
	t.Helper()
	p, err := assemble(cfg, metadataClient(namespaceObject("shop")), configs, client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	return p, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the injector ended: %v", err)
		}
	}
}

// TestRunInjects is a whole injector over fake clients: it waits for its certificate and says so, turns
// ready, answers over TLS with the MeshConfig of the moment, takes another certificate without a
// restart and leaves a broken one alone, and leaves without a trace.
func TestRunInjects(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := testConfig(t)
	client := fake.NewClientset()
	_, end := running(t, cfg, meshConfigClient(meshConfigObject("example.com/envoy:a")), client)
	ctx := t.Context()
	if ready, waiting := cfg.Health.Ready(); ready || !strings.Contains(strings.Join(waiting, "\n"), "Secret osm-system/osm-injector-certificate, which the controller that holds the Lease writes") {
		t.Errorf("ready %t without a certificate, waits for %q", ready, waiting)
	}
	authority := catest.New(t)
	secrets := client.CoreV1().Secrets("osm-system")
	secret := servingSecret(t, authority)
	if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	trust := authority.Trust()
	response := ask(t, cfg.Address, trust)
	if !response.Allowed || !strings.Contains(string(response.Patch), "example.com/envoy:a") {
		t.Errorf("allowed %v, patch %s", response.Allowed, response.Patch)
	}
	if ready, waiting := cfg.Health.Ready(); !ready {
		t.Errorf("answers, but waits for %v", waiting)
	}
	other := catest.New(t)
	if _, err := secrets.Update(ctx, servingSecret(t, other), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ask(t, cfg.Address, other.Trust()) // until it serves the other one
	if err := secrets.Delete(ctx, secret.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ask(t, cfg.Address, other.Trust())
	end()
	if ready, _ := cfg.Health.Ready(); ready {
		t.Error("still ready after the end")
	}
}

// ask sends one review as soon as the server listens, with a certificate that is trusted.
func ask(t *testing.T, address string, trust ca.Trust) *admissionv1.AdmissionResponse {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust.Pool(), ServerName: api.InjectorHost("osm-system"), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	ticker, deadline := time.NewTicker(10*time.Millisecond), time.After(10*time.Second)
	defer ticker.Stop()
	for {
		out, err := client.Post("https://"+address+WebhookPath, "application/json", bytes.NewReader(review(nil)))
		if err == nil {
			body, _ := io.ReadAll(out.Body)
			_ = out.Body.Close()
			got := &admissionv1.AdmissionReview{}
			if err := json.Unmarshal(body, got); err != nil || got.Response == nil {
				t.Fatalf("%v: %s", err, body)
			}
			return got.Response
		}
		select {
		case <-deadline:
			t.Fatalf("no answer: %v", err)
		case <-ticker.C:
		}
	}
}

// TestTheAPIServerClosesFirst: it keeps idle connections for less time than the injector does.
func TestTheAPIServerClosesFirst(t *testing.T) {
	p, err := assemble(testConfig(t), metadataClient(), meshConfigClient(), fake.NewClientset())
	if err != nil {
		t.Fatal(err)
	}
	client := utilnet.SetTransportDefaults(&http.Transport{}).IdleConnTimeout // what its webhook clients use
	if own := p.https().Limits.Idle; client == 0 || own <= client {
		t.Errorf("the injector closes idle connections after %v, the API server after %v: want it to be the first", own, client)
	}
}

// TestRunWithoutMeshConfigKind serves although the CRD is missing, with the configured defaults.
func TestRunWithoutMeshConfigKind(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := testConfig(t)
	authority := catest.New(t)
	configs := meshConfigClient()
	configs.PrependReactor("list", "meshconfigs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "meshconfigs"}, "")
	})
	_, end := running(t, cfg, configs, fake.NewClientset(servingSecret(t, authority)))
	if response := ask(t, cfg.Address, authority.Trust()); !strings.Contains(string(response.Patch), cfg.Settings.SidecarImage) {
		t.Errorf("patch %s", response.Patch)
	}
	end()
}

// TestNamespaceCache reads a namespace that the informer has not heard of, and keeps only what is needed.
func TestNamespaceCache(t *testing.T) {
	c, err := newNamespaceCache(metadataClient(namespaceObject("new")), "osm")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Namespace(t.Context(), "new")
	if err != nil || got.Annotations[api.AnnotationInjection] != "enabled" {
		t.Errorf("live: %+v, %v", got, err)
	}
	if _, err := c.Namespace(t.Context(), "gone"); !apierrors.IsNotFound(err) {
		t.Errorf("a namespace that does not exist: %v", err)
	}
	trimmed, err := trimNamespace(namespaceObject("shop"))
	if err != nil {
		t.Fatal(err)
	}
	want := Namespace{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}, Annotations: map[string]string{api.AnnotationInjection: "enabled"}}
	if diff := cmp.Diff(want, newNamespace(trimmed.(*metav1.PartialObjectMetadata))); diff != "" {
		t.Errorf("trimmed (-want +got):\n%s", diff)
	}
}

// TestMeshConfigCacheKeepsTheLastGood is fed what a lax API server might hold.
func TestMeshConfigCacheKeepsTheLastGood(t *testing.T) {
	c, err := newMeshConfigCache(meshConfigClient(), "osm-system", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.set(meshConfigObject("example.com/envoy:a"))
	broken := meshConfigObject("x")
	broken.Object["spec"] = map[string]any{"sidecar": "none"}
	c.set(broken)
	other := meshConfigObject("example.com/envoy:other")
	other.SetName("another")
	c.set(other)
	if got := c.spec.Load().Sidecar.EnvoyImage; got != "example.com/envoy:a" {
		t.Errorf("image %s", got)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := testConfig(t).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Drain: -1, Settings: Settings{PullPolicy: "Sometimes"}}.Validate()
	for _, want := range []string{"--mesh-name", "--osm-namespace", "--sidecar-image", "--init-image", "--image-pull-policy", "--webhook-address", "--drain-period", "logger", "API server"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
