package charts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
	"github.com/osm-edge/osm/tests/catest"
)

// TestRightsSuffice: with the chart's rights and policies the controller keeps bundle and certificate up to date, even
// when the root changes or somebody deletes them, and the injector can read and watch them.
func TestRightsSuffice(t *testing.T) {
	w := newChartCluster(t)
	controller, injector := w.attacker("osm-controller"), w.attacker("osm-injector")
	w.enforced(controller)
	first, second := catest.New(t), catest.New(t)
	roots, err := ca.NewRootSet(nil, first)
	w.must(err)
	account, err := w.admin.CoreV1().ServiceAccounts(releaseNamespace).Get(t.Context(), "osm-injector", metav1.GetOptions{})
	w.must(err)
	serving, err := secrets.NewServingController(secrets.ServingConfig{
		Client: controller, Authority: roots, Mesh: "osm", TrustDomain: "cluster.local", Name: servingSecret, Label: api.LabelInjectorCertificate,
		Identity: identity.Identity{Namespace: releaseNamespace, ServiceAccount: "osm-injector"}, Host: api.InjectorHost(releaseNamespace),
	})
	w.must(err)
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	w.must(err)
	keeper := webhook.New(webhook.Config{
		Mesh: "osm", Webhooks: w.webhooks(controller), Certificate: serving, Roots: roots, Owner: func() types.UID { return account.UID },
		Metrics: metrics, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- keeper.Run(ctx, changed) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()

	watch, err := injector.CoreV1().Secrets(releaseNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + servingSecret})
	w.must(err)
	defer watch.Stop()
	served := w.await(injector, first.Trust())
	if secret, err := w.admin.CoreV1().Secrets(releaseNamespace).Get(ctx, servingSecret, metav1.GetOptions{}); err != nil || len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != account.UID {
		t.Errorf("Secret %+v, %v; want it owned by the injector's ServiceAccount", secret, err)
	}
	if event := <-watch.ResultChan(); event.Object == nil {
		t.Error("the injector's watch shows no change")
	}
	changed <- struct{}{} // nothing to do
	w.must(roots.Set(first, second))
	changed <- struct{}{}
	both := w.await(injector, roots.Trust())
	w.must(roots.Set(second, first))
	changed <- struct{}{}
	w.await(injector, roots.Trust())
	if both.Trust.Fingerprint != first.Trust().Fingerprint || served.Trust.Fingerprint != first.Trust().Fingerprint {
		t.Error("a new CA signed before it was told to")
	}
	w.must(roots.Set(second))
	changed <- struct{}{}
	w.await(injector, second.Trust())
	w.must(w.admin.CoreV1().Secrets(releaseNamespace).Delete(ctx, servingSecret, metav1.DeleteOptions{}))
	_, err = w.webhooks(w.admin).Patch(ctx, api.WebhookConfigName("osm"), types.JSONPatchType, []byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{})
	w.must(err)
	changed <- struct{}{} // as the minute would
	w.await(injector, second.Trust())
}

// await waits until the injector can read a certificate from this signer and the API server has the bundle.
func (w *chartCluster) await(injector client.Interface, trust ca.Trust) *secrets.Served {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		served, err := w.look(injector, trust)
		if err == nil {
			return served
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}

func (w *chartCluster) look(injector client.Interface, trust ca.Trust) (*secrets.Served, error) {
	ctx := w.t.Context()
	list, err := injector.CoreV1().Secrets(releaseNamespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + servingSecret})
	if err != nil {
		return nil, err
	}
	if len(list.Items) != 1 {
		return nil, fmt.Errorf("%d Secrets %s, want one", len(list.Items), servingSecret)
	}
	served, err := secrets.ParseServed(list.Items[0].Data, api.InjectorHost(releaseNamespace), time.Now())
	if err != nil {
		return nil, err
	}
	config, err := w.webhooks(w.admin).Get(ctx, api.WebhookConfigName("osm"), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if held := string(config.Webhooks[0].ClientConfig.CABundle); held != string(trust.Bundle) || string(served.Trust.Bundle) != held || served.Trust.Fingerprint != trust.Fingerprint {
		return nil, fmt.Errorf("the API server trusts %d bytes, the certificate is of %.8s", len(held), served.Trust.Fingerprint)
	}
	return served, nil
}
