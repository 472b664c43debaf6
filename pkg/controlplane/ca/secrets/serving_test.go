package secrets_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/catest"
)

const keyServing = "osm-system/" + api.InjectorCertificateSecret

// serving is a ServingController with an apiServer.
type serving struct {
	*secrets.ServingController
	server *apiServer
	clock  *catest.Clock
	roots  *ca.RootSet
}

func newServing(t *testing.T) *serving {
	t.Helper()
	k := &serving{server: newAPIServer(t), clock: &catest.Clock{}}
	issuer, _ := catest.NewIssuer(t, k.clock.Now)
	var err error
	k.roots, err = ca.NewRootSet(nil, issuer)
	must(t, err)
	k.ServingController, err = secrets.NewServingController(secrets.ServingConfig{
		Client: k.server.client, Authority: k.roots, Mesh: "osm", TrustDomain: catest.Domain, Host: api.InjectorHost("osm-system"),
		Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: api.AppInjector},
		Name:     api.InjectorCertificateSecret, Label: api.LabelInjectorCertificate, Now: k.clock.Now,
	})
	must(t, err)
	return k
}

// step reconciles the Secret and compares the requests to the API server.
func (k *serving) step(t *testing.T, what string, requests ...string) (renewAt time.Time) {
	t.Helper()
	renewAt, err := k.Reconcile(t.Context(), "uid", k.roots.Trust())
	must(t, err)
	for i := range requests {
		requests[i] += " " + keyServing
	}
	if diff := cmp.Diff(requests, k.server.took()); diff != "" {
		t.Errorf("%s: requests (-want +got):\n%s", what, diff)
	}
	served, err := secrets.ParseServed(k.server.secret(keyServing).Data, api.InjectorHost("osm-system"), k.clock.Now())
	must(t, err)
	if trust := k.roots.Trust(); served.Trust.Fingerprint != trust.Fingerprint || string(served.Trust.Bundle) != string(trust.Bundle) {
		t.Errorf("%s: the Secret is of CA %.8s with another bundle, want %.8s", what, served.Trust.Fingerprint, trust.Fingerprint)
	}
	if evidence, ok := k.Evidence(); !ok || evidence.Signer != k.roots.Trust().Fingerprint || evidence.Account != "osm-system/osm-injector" {
		t.Errorf("%s: evidence %+v, %t", what, evidence, ok)
	}
	return renewAt
}

// TestServingSecretIsKept: the Secret is written once, not changed while it is valid, and replaced after half of
// its lifetime and whenever its bundle, signer, owner or content is different.
func TestServingSecretIsKept(t *testing.T) {
	k := newServing(t)
	if _, ok := k.Evidence(); ok {
		t.Error("evidence of a Secret that was never probed")
	}
	due := k.step(t, "first", "probe", "write")
	k.step(t, "again", "probe")
	k.clock.Jump(due.Sub(k.clock.Now()) - time.Minute)
	k.step(t, "not due", "probe")
	k.clock.Jump(2 * time.Minute)
	k.step(t, "due", "probe", "write")

	former, _ := catest.NewIssuer(t, k.clock.Now)
	next, _ := catest.NewIssuer(t, k.clock.Now)
	must(t, k.roots.Set(former))
	k.step(t, "another root", "probe", "write")
	must(t, k.roots.Set(former, next))
	k.step(t, "another bundle", "probe", "write")
	must(t, k.roots.Set(next, former))
	k.step(t, "another signer", "probe", "write")

	for what, spoil := range map[string]func(*corev1.Secret){
		"no owner":      func(s *corev1.Secret) { s.OwnerReferences = nil },
		"another key":   func(s *corev1.Secret) { s.Data[corev1.TLSPrivateKeyKey] = []byte("x") },
		"no bundle":     func(s *corev1.Secret) { delete(s.Data, api.CAKeyCert) },
		"a proxy's":     func(s *corev1.Secret) { s.Data = proxyData(t, k) },
		"another's key": func(s *corev1.Secret) { s.Data[corev1.TLSCertKey] = proxyData(t, k)[corev1.TLSCertKey] },
	} {
		spoil(k.server.secret(keyServing))
		k.step(t, what, "probe", "write")
	}
}

// proxyData is a Secret of the right CA and the wrong identity.
func proxyData(t *testing.T, k *serving) map[string][]byte {
	t.Helper()
	leaf, err := k.roots.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageServing, DNSNames: []string{api.InjectorHost("osm-system")}})
	must(t, err)
	return map[string][]byte{corev1.TLSCertKey: leaf.CertPEM, corev1.TLSPrivateKeyKey: leaf.KeyPEM(), api.CAKeyCert: k.roots.Trust().Bundle}
}

// TestServingSecretNeedsTrust: a certificate of a CA that clients do not trust yet is never written, and
// a foreign Secret is never changed.
func TestServingSecretNeedsTrust(t *testing.T) {
	k := newServing(t)
	trusted := k.roots.Trust()
	next, _ := catest.NewIssuer(t, k.clock.Now)
	must(t, k.roots.Set(next))
	if _, err := k.Reconcile(t.Context(), "uid", trusted); err == nil || !strings.Contains(err.Error(), "the CA that signs now is not in the bundle") {
		t.Errorf("reconciled with %v", err)
	}
	if diff := cmp.Diff([]string{"probe " + keyServing}, k.server.took()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	k.server.put(keyServing, &corev1.Secret{Type: corev1.SecretTypeTLS, Data: proxyData(t, k), ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"mine": "x"}}})
	if _, err := k.Reconcile(t.Context(), "uid", k.roots.Trust()); err == nil || !strings.Contains(err.Error(), "somebody else's Secret: lacks the label openservicemesh.io/injector-certificate=osm") {
		t.Errorf("reconciled with %v", err)
	}
	if diff := cmp.Diff([]string{"probe " + keyServing}, k.server.took()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
