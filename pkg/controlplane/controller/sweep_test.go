package controller

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
)

// TestSweepFollowsTheFirstRound: a term of the Lease writes what the mesh needs, and then looks once
// for what is left of others, everywhere but in the control plane's namespace.
func TestSweepFollowsTheFirstRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := []runtime.Object{namespace("shop", "osm"), namespace("left", ""), namespace("other", "blue"), namespace("osm-system", "")}
		for _, ns := range []string{"shop", "left", "other", "osm-system"} {
			objects = append(objects, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "app"}})
		}
		client := fake.NewClientset(objects...)
		var touched touches
		client.PrependReactor("*", "secrets", touched.react)
		p := newRooted(t, newIssuer(t))
		p.client, p.cfg.MeshName, p.cfg.Namespace = client, "osm", "osm-system"
		p.pipeline = &pipeline{problems: &problems{log: p.cfg.Log}}
		var err error
		p.watch, err = kube.New(kube.Config{
			Client: client, Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
				{Group: "config.openservicemesh.io", Version: "v1alpha2", Resource: "meshconfigs"}: "MeshConfigList",
			}),
			MeshName: "osm", Namespace: "osm-system", Log: p.cfg.Log, Changed: func(string) {}, MembersChanged: func() {},
		}, time.Now)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = p.watch.Run(ctx) }) // ends with ctx
		time.Sleep(time.Minute)                     // in the bubble: until the caches are filled
		if waiting := p.watch.Waiting(); len(waiting) > 0 {
			t.Fatalf("still waiting for %v", waiting)
		}
		writer, err := secrets.NewProxyController(secrets.ProxyConfig{Client: client, Authority: p.roots, Mesh: "osm", TrustDomain: "cluster.local"})
		must(t, err)
		running.Go(func() { _ = p.keepProxySecrets(ctx, writer) }) // ends with ctx
		time.Sleep(10 * time.Second)
		seen := touched.all()
		outside := slices.Compact(slices.DeleteFunc(slices.Clone(seen), func(ns string) bool { return ns == "shop" }))
		slices.Sort(outside)
		if len(seen) == 0 || seen[0] != "shop" || !slices.Equal(outside, []string{"left", "other"}) {
			t.Errorf("Secrets were touched in namespaces %v, want shop first, then left and other", seen)
		}
		cancel()
		running.Wait()
	})
}

func namespace(name, mesh string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	if mesh != "" {
		ns.Labels[api.LabelMonitoredBy] = mesh
	}
	return ns
}

// touches notes in which namespaces Secrets are written, and refuses it.
type touches struct {
	mu         sync.Mutex
	namespaces []string
}

func (s *touches) react(action clienttesting.Action) (bool, runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespaces = append(s.namespaces, action.GetNamespace())
	return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", nil)
}

func (s *touches) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.namespaces)
}
