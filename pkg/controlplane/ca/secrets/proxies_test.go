package secrets_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/catest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// writer is a ProxyController with an apiServer.
type writer struct {
	*secrets.ProxyController
	server *apiServer
	clock  *catest.Clock
	root   *ca.Root
	config secrets.ProxyConfig
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	w := &writer{server: newAPIServer(t), clock: &catest.Clock{}}
	issuer, root := catest.NewIssuer(t, w.clock.Now)
	w.root = root
	w.config = secrets.ProxyConfig{Client: w.server.client, Authority: issuer, Mesh: "osm", TrustDomain: catest.Domain, Now: w.clock.Now, SweepEvery: time.Millisecond}
	w.restart(t)
	return w
}

// restart replaces the controller by that of another replica that becomes the leader.
func (w *writer) restart(t *testing.T) {
	t.Helper()
	secrets, err := secrets.NewProxyController(w.config)
	must(t, err)
	w.ProxyController = secrets
}

func (w *writer) reconcile(t *testing.T, names ...string) secrets.Result {
	t.Helper()
	result, err := w.Reconcile(t.Context(), accounts(names...))
	must(t, err)
	return result
}

func accounts(names ...string) (out []secrets.Account) {
	for _, name := range names {
		out = append(out, secrets.Account{Identity: catest.Workload(name), UID: types.UID("sa-" + name)})
	}
	return out
}

func want(t *testing.T, w *writer, what string, requests ...string) {
	t.Helper()
	if diff := cmp.Diff(requests, w.server.took()); diff != "" {
		t.Errorf("%s: requests (-want +got):\n%s", what, diff)
	}
}

const (
	keyA = "bookstore/osm-proxy-a"
	keyB = "bookstore/osm-proxy-b"
)

// TestReconcile follows two Secrets from creation to deletion, and checks every request.
func TestReconcile(t *testing.T) {
	w := newWriter(t)
	if r := w.reconcile(t, "a", "b", "a"); r.Written != 2 || len(r.Problems) != 0 {
		t.Errorf("at first: %+v", r)
	}
	want(t, w, "at first", "probe "+keyA, "probe "+keyB, "write "+keyA, "write "+keyB)

	if r := w.reconcile(t, "a", "b"); r.Kept != 2 || r.Next.Before(w.clock.Now()) {
		t.Errorf("again: %+v", r)
	}
	want(t, w, "again")

	before := w.server.secret(keyA)
	w.restart(t)
	w.reconcile(t, "a", "b")
	want(t, w, "another replica", "probe "+keyA, "probe "+keyB)

	w.clock.Jump(11 * time.Hour)
	w.reconcile(t, "a", "b")
	want(t, w, "before half of the lifetime", "probe "+keyA, "probe "+keyB)
	if !cmp.Equal(before.Data, w.server.secret(keyA).Data) {
		t.Error("changed before half of its lifetime")
	}
	w.clock.Jump(time.Hour)
	if r := w.reconcile(t, "a", "b"); r.Written != 2 {
		t.Errorf("after half of the lifetime: %+v", r)
	}
	want(t, w, "after half of the lifetime", "probe "+keyA, "probe "+keyB, "write "+keyA, "write "+keyB)

	if r := w.reconcile(t, "a"); r.Deleted != 1 || r.Kept != 1 || w.server.secret(keyB) != nil {
		t.Errorf("b is removed: %+v", r)
	}
	want(t, w, "b is removed", "delete "+keyB)
	w.reconcile(t, "a")
	want(t, w, "b is forgotten")

	delete(w.server.secrets, keyA) // deleted, and no event reports it
	w.clock.Jump(10 * time.Minute)
	w.reconcile(t, "a")
	want(t, w, "deleted by somebody", "probe "+keyA, "write "+keyA)
}

// TestSecretContent compares a Secret with what injected pods and Envoy expect.
func TestSecretContent(t *testing.T) {
	w := newWriter(t)
	w.reconcile(t, "a")
	secret := w.server.secret(keyA)
	if secret.Type != corev1.SecretTypeTLS || secret.Labels[api.LabelProxyCertificate] != "osm" || secret.Labels[api.LabelName] != api.NameValue {
		t.Errorf("type %s, labels %v", secret.Type, secret.Labels)
	}
	owner := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ServiceAccount", Name: "a", UID: "sa-a"}}
	if diff := cmp.Diff(owner, secret.OwnerReferences); diff != "" {
		t.Error(diff)
	}
	keys := slices.Sorted(maps.Keys(secret.Data))
	if diff := cmp.Diff([]string{"ca.crt", "sds-cert.yaml", "sds-trust.yaml", "tls.crt", "tls.key"}, keys); diff != "" {
		t.Error(diff)
	}
	if string(secret.Data["ca.crt"]) != string(w.root.Bundle()) {
		t.Error("ca.crt is not the trust bundle")
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	must(t, err)
	if pair.Leaf.URIs[0].String() != "spiffe://cluster.local/ns/bookstore/sa/a" {
		t.Errorf("certificate of %s", pair.Leaf.URIs)
	}
	for _, name := range []string{"sds-cert.yaml", "sds-trust.yaml"} {
		golden(t, name, secret.Data[name])
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, got, 0o644))
	}
	wanted, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(wanted), string(got)); diff != "" {
		t.Errorf("%s (rewrite with: go test ./pkg/controlplane/ca -update):\n%s", path, diff)
	}
}

// TestReconcileReplacesUnfit: whatever is wrong with one of the mesh's Secrets is corrected at the next probe.
func TestReconcileReplacesUnfit(t *testing.T) {
	tests := map[string]func(*corev1.Secret, *writer){
		"another key":       func(s *corev1.Secret, w *writer) { s.Data["tls.key"] = w.server.secret(keyB).Data["tls.key"] },
		"certificate of b":  func(s *corev1.Secret, w *writer) { s.Data = w.server.secret(keyB).Data },
		"no certificate":    func(s *corev1.Secret, _ *writer) { s.Data["tls.crt"] = []byte{} },
		"trust bundle":      func(s *corev1.Secret, _ *writer) { s.Data["ca.crt"] = []byte("x") },
		"SDS file":          func(s *corev1.Secret, _ *writer) { delete(s.Data, "sds-cert.yaml") },
		"owner":             func(s *corev1.Secret, _ *writer) { s.OwnerReferences = nil },
		"another root":      func(_ *corev1.Secret, w *writer) { w.config.Authority, _ = catest.NewIssuer(t, w.clock.Now) },
		"lifetime too long": func(_ *corev1.Secret, w *writer) { w.config.TTL = time.Hour },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWriter(t)
			w.reconcile(t, "a", "b")
			spoiled := w.server.secret(keyA).DeepCopy()
			spoil(spoiled, w)
			w.server.secrets[keyA] = spoiled
			w.restart(t)
			r, err := w.Reconcile(t.Context(), accounts("a"))
			must(t, err)
			if r.Written != 1 {
				t.Fatalf("%+v", r)
			}
			w.restart(t)
			if r := w.reconcile(t, "a"); r.Kept != 1 {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

// TestNeverOverwritesForeign: a foreign Secret with the name of a proxy's Secret is not changed, and is a
// problem that names it, until it is deleted.
func TestNeverOverwritesForeign(t *testing.T) {
	data := map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")}
	foreign := map[string]*corev1.Secret{
		"without label":       {Type: corev1.SecretTypeTLS, Data: data},
		"of another mesh":     {Type: corev1.SecretTypeTLS, Data: data, ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{api.LabelProxyCertificate: "other"}, ManagedFields: []metav1.ManagedFieldsEntry{labelOwner("osm-controller", api.LabelProxyCertificate)}}},
		"of another type":     {Type: corev1.SecretTypeOpaque, Data: data},
		"refused by policy":   {Type: corev1.SecretTypeTLS, Data: data},
		"a service account's": {Type: corev1.SecretTypeServiceAccountToken, Data: data},
	}
	for name, object := range foreign {
		t.Run(name, func(t *testing.T) {
			w := newWriter(t)
			w.server.put(keyA, object)
			if name == "refused by policy" {
				w.server.fail = func(_, key string) error {
					if key == keyA && w.server.secrets[keyA] != nil {
						return apierrors.NewForbidden(secretKind, "osm-proxy-a", errors.New("ValidatingAdmissionPolicy denied request"))
					}
					return nil
				}
			}
			stored := object.DeepCopy()
			for range 3 {
				r := w.reconcile(t, "a", "b")
				if r.Failed != 1 || len(r.Problems) != 1 || r.Problems[0].Object != "Secret "+keyA || !strings.Contains(r.Problems[0].Message, "rename or delete") {
					t.Errorf("%+v", r)
				}
				w.clock.Jump(2 * time.Minute)
			}
			next, err := secrets.NewProxyController(w.config)
			must(t, err)
			if swept, err := next.Sweep(t.Context(), []identity.Identity{catest.Workload("a")}); swept != (secrets.Swept{Probed: 1}) || err != nil {
				t.Errorf("swept %+v, %v", swept, err)
			}
			w.reconcile(t, "b")
			if diff := cmp.Diff(stored, w.server.secret(keyA)); diff != "" {
				t.Errorf("the foreign Secret was changed:\n%s", diff)
			}
			w.server.mu.Lock()
			delete(w.server.secrets, keyA)
			w.server.mu.Unlock()
			if r := w.reconcile(t, "a", "b"); r.Written != 1 || len(r.Problems) != 0 {
				t.Errorf("after it was deleted: %+v", r)
			}
		})
	}
}

// TestReconcileRetries: transient errors cause pauses, not problems, and nothing is lost.
func TestReconcileRetries(t *testing.T) {
	w := newWriter(t)
	broken := true
	w.server.fail = func(verb, key string) error {
		if broken && key == keyA && verb != "probe" {
			return apierrors.NewServiceUnavailable("x")
		}
		return nil
	}
	if r := w.reconcile(t, "a", "b"); r.Written != 1 || r.Failed != 1 || len(r.Problems) != 0 || r.Next.Sub(w.clock.Now()) > time.Second {
		t.Errorf("%+v", r)
	}
	w.server.took()
	w.reconcile(t, "a", "b")
	want(t, w, "during the pause")
	for range 20 {
		w.clock.Jump(time.Minute)
		w.reconcile(t, "a", "b")
	}
	broken = false
	w.clock.Jump(time.Minute)
	if r := w.reconcile(t, "a", "b"); r.Written != 1 || r.Failed != 0 {
		t.Errorf("afterwards: %+v", r)
	}
	broken = true
	if r := w.reconcile(t, "b"); r.Failed != 1 || w.server.secret(keyA) == nil {
		t.Errorf("a failed delete: %+v", r)
	}
	broken = false
	w.clock.Jump(time.Minute)
	if r := w.reconcile(t, "b"); r.Deleted != 1 || w.server.secret(keyA) != nil {
		t.Errorf("the delete afterwards: %+v", r)
	}
}

// TestDeleteSparesSuccessor: a foreign Secret that has taken the name since is not deleted.
func TestDeleteSparesSuccessor(t *testing.T) {
	w := newWriter(t)
	w.reconcile(t, "a")
	w.server.put(keyA, &corev1.Secret{Type: corev1.SecretTypeTLS})
	w.reconcile(t)
	if w.server.secret(keyA) == nil {
		t.Error("somebody else's Secret was deleted")
	}
}

func TestTerminatingNamespaceIsNoProblem(t *testing.T) {
	w := newWriter(t)
	w.server.fail = func(string, string) error {
		err := apierrors.NewForbidden(secretKind, "osm-proxy-a", errors.New("namespace is being terminated"))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		return err
	}
	if r := w.reconcile(t, "a"); len(r.Problems) != 0 || r.Failed != 1 {
		t.Errorf("%+v", r)
	}
}

// TestRun checks that Run follows a trigger, and renews certificates for a month without one.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWriter(t)
		var names []string
		trigger := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- w.Run(ctx, func() []secrets.Account { return accounts(names...) }, trigger, func(r secrets.Result) {
				if r.Failed > 0 || len(r.Problems) > 0 {
					t.Errorf("%+v", r)
				}
			})
		}()
		synctest.Wait()
		names = []string{"a"}
		trigger <- struct{}{}
		time.Sleep(time.Second)
		if w.server.secret(keyA) == nil {
			t.Fatal("not written after the trigger")
		}
		for range 30 * 24 {
			time.Sleep(time.Hour)
			synctest.Wait()
			pair, err := tls.X509KeyPair(w.server.secret(keyA).Data["tls.crt"], w.server.secret(keyA).Data["tls.key"])
			must(t, err)
			if left := time.Until(pair.Leaf.NotAfter); left < 11*time.Hour {
				t.Fatalf("%v left", left)
			}
		}
		w.clock.Jump(72 * time.Hour)
		time.Sleep(time.Minute)
		synctest.Wait()
		pair, err := tls.X509KeyPair(w.server.secret(keyA).Data["tls.crt"], w.server.secret(keyA).Data["tls.key"])
		must(t, err)
		if left := pair.Leaf.NotAfter.Sub(w.clock.Now()); left < 23*time.Hour {
			t.Errorf("%v left a minute after a pause of three days", left)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestReconcileEndsWithContext(t *testing.T) {
	w := newWriter(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Reconcile(ctx, accounts("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	want(t, w, "after the end")
}
