package injector

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
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

// patchFunc is a webhookPatcher.
type patchFunc func(name string, pt types.PatchType, data []byte, opts metav1.PatchOptions) error

func (f patchFunc) Patch(_ context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, _ ...string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return nil, f(name, pt, data, opts)
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"osm-injector"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func testConfig(t *testing.T) Config {
	t.Helper()
	cert := selfSigned(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = free.Close() }()
	return Config{
		REST: &rest.Config{}, Settings: testSettings(), Address: free.Addr().String(),
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		Bundle:      func() []byte { return []byte("PEM") },
		Health:      serve.NewHealth(nil), Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}
}

// TestRunInjects is a whole injector over fake clients: it turns ready, answers over TLS with the
// MeshConfig of the moment, and leaves without a trace.
func TestRunInjects(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := testConfig(t)
	writes := make(chan string, 16)
	p, err := assemble(cfg, metadataClient(namespaceObject("shop")), meshConfigClient(meshConfigObject("example.com/envoy:a")),
		patchFunc(func(name string, _ types.PatchType, _ []byte, _ metav1.PatchOptions) error {
			writes <- name
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	if name := <-writes; name != "osm-webhook-osm" {
		t.Errorf("wrote to %s", name)
	}
	response := ask(t, cfg.Address)
	if !response.Allowed || !strings.Contains(string(response.Patch), "example.com/envoy:a") {
		t.Errorf("allowed %v, patch %s", response.Allowed, response.Patch)
	}
	if ready, waiting := cfg.Health.Ready(); !ready {
		t.Errorf("answers, but waits for %v", waiting)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("end: %v", err)
	}
	if ready, _ := cfg.Health.Ready(); ready {
		t.Error("still ready after the end")
	}
}

// ask sends one review as soon as the server listens.
func ask(t *testing.T, address string) *admissionv1.AdmissionResponse {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // the test's own server
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

// TestRunWithoutMeshConfigKind serves although the CRD is missing, with the configured defaults.
func TestRunWithoutMeshConfigKind(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := testConfig(t)
	configs := meshConfigClient()
	configs.PrependReactor("list", "meshconfigs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "meshconfigs"}, "")
	})
	p, err := assemble(cfg, metadataClient(namespaceObject("shop")), configs, patchFunc(func(string, types.PatchType, []byte, metav1.PatchOptions) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	if response := ask(t, cfg.Address); !strings.Contains(string(response.Patch), cfg.Settings.SidecarImage) {
		t.Errorf("patch %s", response.Patch)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
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

// TestBundleMergesIntoTheWebhook applies to a configuration as the chart makes it, in a fake that
// has the API server's field management.
func TestBundleMergesIntoTheWebhook(t *testing.T) {
	name, path, none := api.WebhookConfigName("osm"), WebhookPath, admissionregistrationv1.SideEffectClassNone
	chart := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: api.WebhookName, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Name: "osm-injector", Namespace: "osm-system", Path: &path}},
		}},
	}
	client := fake.NewClientset()
	configs := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configs.Create(t.Context(), chart, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	w := &bundleWriter{client: configs, name: name}
	for _, bundle := range []string{"first", "second"} {
		w.bundle = func() []byte { return []byte(bundle) }
		if err := w.write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := configs.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := chart.DeepCopy()
	want.Webhooks[0].ClientConfig.CABundle = []byte("second")
	if diff := cmp.Diff(want.Webhooks, got.Webhooks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBundleWriterRhythm writes at once, soon after a failure, each minute and at every change.
func TestBundleWriterRhythm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		var bundle atomic.Pointer[[]byte]
		bundle.Store(new([]byte))
		changed := make(chan struct{})
		m, err := newMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		var results []error
		w := &bundleWriter{
			name: "osm-webhook-osm", changed: changed, metrics: m, log: slog.New(slog.DiscardHandler),
			bundle: func() []byte { return *bundle.Load() }, written: func(err error) { results = append(results, err) },
			client: patchFunc(func(_ string, pt types.PatchType, data []byte, opts metav1.PatchOptions) error {
				if pt != types.ApplyPatchType || opts.FieldManager != "osm-injector" || !strings.Contains(string(data), "caBundle") {
					t.Errorf("patch %s by %s: %s", pt, opts.FieldManager, data)
				}
				at = append(at, time.Since(start))
				if len(at) == 1 {
					return errors.New("away")
				}
				return nil
			}),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.run(ctx) }()
		synctest.Wait()
		bundle.Store(ptr([]byte("PEM")))                           // at 0 s there was none
		<-time.After(2*bundleRetry + bundleInterval + time.Second) // the bubble's clock
		changed <- struct{}{}
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []time.Duration{bundleRetry, 2 * bundleRetry, 2*bundleRetry + bundleInterval, 2*bundleRetry + bundleInterval + time.Second}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if len(results) != 5 || results[0] == nil || results[1] == nil || results[2] != nil {
			t.Errorf("results %v", results)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	if err := testConfig(t).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Drain: -1, Settings: Settings{PullPolicy: "Sometimes"}}.Validate()
	for _, want := range []string{"--mesh-name", "--osm-namespace", "--sidecar-image", "--init-image", "--image-pull-policy", "--webhook-address", "--drain-period", "certificate", "bundle", "registry", "logger", "health", "API server"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
