package webhook

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// patchFunc is a Patcher.
type patchFunc func(name string, pt types.PatchType, data []byte, opts metav1.PatchOptions) error

func (f patchFunc) Patch(_ context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, _ ...string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return nil, f(name, pt, data, opts)
}

// reconcileFunc is a Certificate.
type reconcileFunc func(owner types.UID, trust ca.Trust) (time.Time, error)

func (f reconcileFunc) Reconcile(_ context.Context, owner types.UID, trust ca.Trust) (time.Time, error) {
	return f(owner, trust)
}

// bundle is a Truster.
type bundle string

func (b bundle) Trust() ca.Trust { return ca.Trust{Bundle: []byte(b)} }

func newController(t *testing.T, roots ca.Truster, webhooks Patcher, certificate Certificate) *Controller {
	t.Helper()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Mesh: "osm", Webhooks: webhooks, Certificate: certificate, Roots: roots, Owner: func() types.UID { return "uid" },
		Metrics: metrics, Log: slog.New(slog.DiscardHandler),
	})
}

// TestBundleMergesIntoTheWebhook applies to a configuration as the chart renders it, in a fake with the API
// server's field management.
func TestBundleMergesIntoTheWebhook(t *testing.T) {
	name, path, none := api.WebhookConfigName("osm"), "/mutate-pod-creation", admissionregistrationv1.SideEffectClassNone
	chart := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: api.WebhookName, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Name: "osm-injector", Namespace: "osm-system", Path: &path}},
		}},
	}
	configs := fake.NewClientset().AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configs.Create(t.Context(), chart, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		if err := newController(t, bundle(text), configs, nil).writeBundle(t.Context(), []byte(text)); err != nil {
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

// TestBundleFirst checks that the certificate is never reconciled before its bundle is written.
func TestBundleFirst(t *testing.T) {
	var did []string
	away := errors.New("away")
	for name, test := range map[string]struct {
		roots ca.Truster
		fails error
		want  []string
		says  string
	}{
		"both":      {bundle("PEM"), nil, []string{"bundle", "certificate PEM uid"}, ""},
		"no bundle": {bundle(""), nil, nil, "no CA bundle yet"},
		"away":      {bundle("PEM"), away, []string{"bundle"}, "MutatingWebhookConfiguration osm-webhook-osm: away"},
	} {
		did = nil
		c := newController(t, test.roots, patchFunc(func(string, types.PatchType, []byte, metav1.PatchOptions) error {
			did = append(did, "bundle")
			return test.fails
		}), reconcileFunc(func(owner types.UID, trust ca.Trust) (time.Time, error) {
			did = append(did, "certificate "+string(trust.Bundle)+" "+string(owner))
			return time.Now().Add(time.Hour), nil
		}))
		_, err := c.reconcile(t.Context())
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, did); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestReconcileTimes checks that it reconciles at once, soon after a failure, every minute, at every change,
// and when the certificate is due.
func TestReconcileTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		var due atomic.Int64
		due.Store(int64(time.Hour))
		c := newController(t, bundle("PEM"), patchFunc(func(_ string, pt types.PatchType, data []byte, opts metav1.PatchOptions) error {
			if pt != types.ApplyPatchType || opts.FieldManager != "osm-controller" || !*opts.Force || !strings.Contains(string(data), "caBundle") {
				t.Errorf("patch %s by %s: %s", pt, opts.FieldManager, data)
			}
			at = append(at, time.Since(start))
			if len(at) == 1 {
				return errors.New("away")
			}
			return nil
		}), reconcileFunc(func(types.UID, ca.Trust) (time.Time, error) {
			if len(at) == 2 {
				return time.Time{}, errors.New("away")
			}
			return time.Now().Add(time.Duration(due.Load())), nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		changed, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- c.Run(ctx, changed) }()
		time.Sleep(2*retry + interval + time.Second) // in the bubble
		due.Store(int64(20 * time.Second))
		changed <- struct{}{}
		time.Sleep(30 * time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want := []time.Duration{0, retry, 2 * retry, 2*retry + interval, 2*retry + interval + time.Second, 2*retry + interval + 21*time.Second}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}
