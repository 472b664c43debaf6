package controller_test

import (
	"bytes"
	"crypto/elliptic"
	"maps"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/tests/catest"
	"github.com/osm-edge/osm/tests/realapi"
	"github.com/osm-edge/osm/tests/sim/fleet"
)

// TestRun runs whole controllers on a real API server. The steps build on one another, since starting an
// API server takes longer than all of them.
func TestRun(t *testing.T) {
	f := newFixture(t)
	first := f.startsInOrder()
	proxies := f.fleet(first)
	f.servesWithoutAPIServer(first, proxies)
	f.noticesSilence(first, proxies)
	proxies.Close()
	second := f.start("second", nil).awaitReady()
	f.oneLeader(second)
	f.repairsProxySecrets()
	f.keepsTheRoot(first, second)
	f.drains(first, second)
}

// startsInOrder: a replica opens the xDS port only when it holds the root and all objects, and says what it
// waits for. Fails if the port is opened before the resync.
func (f *fixture) startsInOrder() *replica {
	f.t.Helper()
	slices := realapi.NewGate("/endpointslices")
	first := f.start("first", slices)
	f.await("the first replica waits for the EndpointSlices", func() bool { return first.WaitsFor("reading [endpointslices]") })
	if first.ready() || first.listens() {
		f.t.Error("a replica without its objects is ready or listens for proxies")
	}
	slices.Open()
	first.awaitReady()
	if !first.listens() {
		f.t.Error("a ready replica does not listen for proxies")
	}
	return first
}

// servesWithoutAPIServer: while the API server is gone, a replica stays ready, says so, and configures
// proxies, new ones included. Afterwards it catches up. Fails if an outage makes a replica unready.
func (f *fixture) servesWithoutAPIServer(r *replica, proxies *fleet.Fleet) {
	f.t.Helper()
	r.Link.Cut()
	f.await("the outage is noted", func() bool { return r.notesOutage() && r.gauge("osm_snapshot_stale_seconds") > 0 })
	proxies.Cut(true)
	f.configured(proxies)
	if !r.ready() {
		f.t.Error("an outage of the API server makes a replica unready")
	}
	r.Link.Heal()
	f.toggled(proxies)
	f.await("the end of the outage is noted", func() bool { return !r.notesOutage() && r.gauge("osm_snapshot_stale_seconds") == 0 })
}

// noticesSilence: packets that are dropped end no request. A replica notices all the same. Fails if only
// requests that have ended count.
func (f *fixture) noticesSilence(r *replica, proxies *fleet.Fleet) {
	f.t.Helper()
	r.Link.Drop()
	f.await("the silence is noted", func() bool { return r.notesOutage() })
	if stale := r.gauge("osm_snapshot_stale_seconds"); stale < kube.MaxSilence.Seconds() || stale > 3*kube.MaxSilence.Seconds() {
		f.t.Errorf("the API server has been silent for %v s; want a little more than %v", stale, kube.MaxSilence)
	}
	if !r.ready() {
		f.t.Error("a silent API server makes a replica unready")
	}
	r.Link.Heal()
	f.toggled(proxies)
	f.await("the end of the silence is noted", func() bool { return !r.notesOutage() })
}

// oneLeader: one replica has the Lease and writes the proxies' Secrets. The first one may have lost it to the
// second while it could not reach the API server. Fails without a Lease.
func (f *fixture) oneLeader(second *replica) {
	f.t.Helper()
	f.await("the proxies' Secrets are written", func() bool {
		list, err := f.client.CoreV1().Secrets(f.world.Services[0].Namespace).List(f.t.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) > 0
	})
	f.await("a replica holds the Lease", func() bool { return f.holder() != "" })
	if f.holder() != second.Name && second.Logged("acquired leadership") {
		f.t.Errorf("%s holds the Lease, and both lead", f.holder())
	}
}

// keepsTheRoot: the root outlives its Secret. A replica puts a deleted Secret back; a Secret with another root
// takes no replica away, and none starts with it. Fails if a missing Secret means a new root, or a bad write
// unready replicas.
func (f *fixture) keepsTheRoot(running ...*replica) {
	f.t.Helper()
	secrets := f.client.CoreV1().Secrets(api.DefaultNamespace)
	original, err := secrets.Get(f.t.Context(), api.CABundleSecret, metav1.GetOptions{})
	f.must(err)
	f.trust(original.Data[api.CAKeyCert])
	f.must(secrets.Delete(f.t.Context(), api.CABundleSecret, metav1.DeleteOptions{}))
	early := f.start("early", nil) // while there is no root to be read
	var restored *corev1.Secret
	f.await("the root's Secret is restored", func() bool {
		restored, err = secrets.Get(f.t.Context(), api.CABundleSecret, metav1.GetOptions{})
		return err == nil
	})
	if !maps.EqualFunc(restored.Data, original.Data, bytes.Equal) {
		f.t.Error("the restored Secret holds something else than the deleted one")
	}
	early.awaitReady()
	early.Stop()

	stranger := catest.NewCA(f.t, catest.ECKey(f.t, elliptic.P256()), nil, nil)
	restored.Data = stranger.Secret(f.t)
	restored, err = secrets.Update(f.t.Context(), restored, metav1.UpdateOptions{})
	f.must(err)
	for _, r := range running {
		f.await("the other root is noticed", func() bool { return r.Logged("holds a different root CA") })
		if !r.ready() {
			f.t.Errorf("%s is unready because of a bad write", r.Name)
		}
	}
	newcomer := f.start("newcomer", nil)
	f.await("the newcomer waits for the mesh's root", func() bool { return newcomer.WaitsFor("and the mesh uses the root") })
	if newcomer.ready() || newcomer.listens() {
		f.t.Error("a replica serves with another root than the mesh's")
	}
	restored.Data = original.Data
	_, err = secrets.Update(f.t.Context(), restored, metav1.UpdateOptions{})
	f.must(err)
	newcomer.awaitReady()
	newcomer.Stop()
}

// trust makes the webhook that calls the mesh's injectors trust a root, as the leader does where the chart has
// installed one.
func (f *fixture) trust(bundle []byte) {
	f.t.Helper()
	none, path := admissionv1.SideEffectClassNone, "/mutate"
	_, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(f.t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfigName(api.DefaultMeshName)},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: api.WebhookName, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: api.DefaultNamespace, Name: api.AppInjector, Path: &path}, CABundle: bundle},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"test": "none"}},
		}},
	}, metav1.CreateOptions{})
	f.must(err)
}

// drains: a replica that is told to stop turns unready, serves a while longer, and sends its proxies away one
// after another. The proxies find the other replica, which has nothing new for them. Fails without the drain,
// if all streams end at once, or if replicas differ in a byte or a version.
func (f *fixture) drains(first, second *replica) {
	f.t.Helper()
	proxies := f.fleet(first, second)
	moving, before := first.proxies(), proxies.Stats()
	if moving == 0 || moving == proxies.Size() {
		f.t.Fatalf("%d of %d proxies chose the first replica", moving, proxies.Size())
	}
	proxies.Route(second.xds)
	first.Signal()
	f.await("the first replica is unready", func() bool { return !first.ready() })
	if n := first.proxies(); n != moving {
		f.t.Errorf("%d of %d proxies are left as soon as the replica is unready; nobody knows yet", n, moving)
	}
	if settle := "settle=" + (drainPeriod / 4).String(); !first.Logged(settle) {
		f.t.Errorf("the replica does not serve for a while after it is unready; want %s in its log", settle)
	}
	seen := map[int]bool{}
	f.await("all proxies have left", func() bool {
		n := first.proxies()
		seen[n] = true
		return n == 0
	})
	if len(seen) < min(moving, 4) {
		f.t.Errorf("%d proxies left in %d steps; want them spread over the drain", moving, len(seen))
	}
	first.Stop()
	f.await("all proxies are at the second replica", func() bool { return second.proxies() == proxies.Size() })
	f.configured(proxies)
	after := proxies.Stats().Sub(before)
	for _, kind := range []fleet.Kind{fleet.CDS, fleet.EDS, fleet.LDS, fleet.RDS} {
		if n := after.Resources[kind]; n > 0 {
			f.t.Errorf("the second replica sent %d resources of %v again, which the proxies had from the first", n, kind)
		}
	}
	f.await("the second replica leads", func() bool { return f.holder() == second.Name })
	f.toggled(proxies)
}
