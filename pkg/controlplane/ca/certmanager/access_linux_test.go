package certmanager_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
)

// access is the namespaces and, for the control plane's user, the rights that the chart gives.
// Reading the issuer serves better messages only.
const access = `
{apiVersion: v1, kind: Namespace, metadata: {name: osm-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: cert-manager}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: osm-controller, namespace: osm-system}
rules:
  - {apiGroups: [cert-manager.io], resources: [certificaterequests], verbs: [create, get, list, watch, delete]}
  - {apiGroups: [cert-manager.io], resources: [issuers], resourceNames: [osm-ca], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: osm-controller, namespace: osm-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: osm-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: osm-controller}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: osm-controller}
rules:
  - {apiGroups: [cert-manager.io], resources: [clusterissuers], resourceNames: [osm-ca], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: osm-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: osm-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: osm-controller}]
`

// issuerName is the issuer of all tests, secretName that of its CA.
const (
	issuerName = "osm-ca"
	secretName = "osm-ca-secret"
)

// grant creates the namespaces and gives the control plane's user its rights.
func (c *cluster) grant() {
	for document := range strings.SplitSeq(access, "\n---\n") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			c.t.Fatal(err)
		}
		gvk := object.GroupVersionKind()
		resource := c.objects.Resource(gvk.GroupVersion().WithResource(strings.ToLower(gvk.Kind) + "s"))
		var err error
		if ns := object.GetNamespace(); ns != "" {
			_, err = resource.Namespace(ns).Create(c.t.Context(), &object, metav1.CreateOptions{})
		} else {
			_, err = resource.Create(c.t.Context(), &object, metav1.CreateOptions{})
		}
		if err != nil {
			c.t.Fatalf("create %s %s: %v", gvk.Kind, object.GetName(), err)
		}
	}
}

// putIssuer creates an issuer of type CA, which it deletes when the test ends.
func (c *cluster) putIssuer(t *testing.T, kind string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": map[string]any{"name": issuerName},
		"spec": map[string]any{"ca": map[string]any{"secretName": secretName}},
	}}
	var err error
	if kind == certmanager.KindClusterIssuer {
		_, err = c.resource("clusterissuers").Create(t.Context(), object, metav1.CreateOptions{})
	} else {
		_, err = c.resource("issuers").Namespace(namespace).Create(t.Context(), object, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.dropIssuer(kind) })
}

func (c *cluster) dropIssuer(kind string) {
	if kind == certmanager.KindClusterIssuer {
		_ = c.resource("clusterissuers").Delete(context.Background(), issuerName, metav1.DeleteOptions{}) // may be deleted already
	} else {
		_ = c.resource("issuers").Namespace(namespace).Delete(context.Background(), issuerName, metav1.DeleteOptions{}) // may be deleted already
	}
}

// putCA gives the issuer its CA until the test ends: the signing CA first, then its parents. root is the root
// in the Secret, which may be omitted.
func (c *cluster) putCA(t *testing.T, kind string, signer *authority, root []byte) {
	t.Helper()
	where := namespace
	if kind == certmanager.KindClusterIssuer {
		where = "cert-manager"
	}
	data := map[string]any{"tls.crt": signer.pem(), "tls.key": signer.keyPEM(), "ca.crt": root}
	patch, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": map[string]any{"name": secretName}, "data": data,
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets := c.objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(where)
	force := true
	if _, err := secrets.Patch(t.Context(), secretName, types.ApplyPatchType, patch, metav1.PatchOptions{FieldManager: "test", Force: &force}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = secrets.Delete(context.Background(), secretName, metav1.DeleteOptions{}) }) // may be deleted already
}

// newProvider returns a provider that has only the control plane's rights in the cluster.
func (c *cluster) newProvider(t *testing.T, kind string, changes ...func(*certmanager.Config)) *certmanager.Authority {
	t.Helper()
	cfg := certmanager.Config{
		Client: c.client(meshToken), Namespace: namespace, Mesh: "osm", TrustDomain: domain,
		Issuer: certmanager.IssuerRef{Name: issuerName, Kind: kind},
	}
	for _, change := range changes {
		change(&cfg)
	}
	provider, err := certmanager.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// loaded returns a provider that has loaded the CA of a working issuer.
func (c *cluster) loaded(t *testing.T, kind string, signer *authority, changes ...func(*certmanager.Config)) *certmanager.Authority {
	t.Helper()
	c.putCA(t, kind, signer, nil)
	c.putIssuer(t, kind)
	provider := c.newProvider(t, kind, changes...)
	load(t, provider)
	return provider
}

// count returns the number of the mesh's requests.
func (c *cluster) count(t *testing.T) int {
	t.Helper()
	list, err := c.resource("certificaterequests").Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: certmanager.LabelRequest})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// wantNone fails if a request was left over.
func (c *cluster) wantNone(t *testing.T) {
	t.Helper()
	if n := c.count(t); n != 0 {
		t.Errorf("%d CertificateRequests are left, want none", n)
	}
}

// decide adds a condition to each new request, as an approver does, until the test ends or stop is called.
func (c *cluster) decide(t *testing.T, kind, message string) (stop func()) {
	t.Helper()
	requests := c.resource("certificaterequests").Namespace(namespace)
	patch := []byte(`{"status":{"conditions":[{"type":"` + kind + `","status":"True","reason":"Test","message":"` + message + `"}]}}`)
	return c.follow(t, func(event watch.Event, name string) {
		if event.Type != watch.Added {
			return
		}
		if _, err := requests.Patch(context.Background(), name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			t.Logf("%s %s: %v", kind, name, err) // it may be deleted already
		}
	})
}

// follow calls a function for each change of a request, until the test ends or stop is called.
func (c *cluster) follow(t *testing.T, each func(watch.Event, string)) (stop func()) {
	t.Helper()
	requests := c.resource("certificaterequests").Namespace(namespace)
	list, err := requests.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// An API server under load drops watches: resume where it was dropped.
	watcher, err := toolswatch.NewRetryWatcherWithContext(context.Background(), list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: requests.Watch,
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			if object, ok := event.Object.(*unstructured.Unstructured); ok {
				each(event, object.GetName())
			}
		}
	}()
	stop = func() {
		watcher.Stop()
		<-done
	}
	t.Cleanup(stop)
	return stop
}
