package ca_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const keyServing = "osm-system/" + api.InjectorCertificateSecret

// keeper is a ServingSecret before an apiServer.
type keeper struct {
	*ca.ServingSecret
	server *apiServer
	clock  *wall
	roots  *ca.Roots
}

func newServingKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{server: newAPIServer(t), clock: &wall{}}
	issuer, _ := newIssuer(t, k.clock.now)
	var err error
	k.roots, err = ca.NewRoots(nil, issuer)
	must(t, err)
	k.ServingSecret, err = ca.NewServingSecret(ca.ServingSecretConfig{
		Client: k.server.client, Authority: k.roots, Mesh: "osm", TrustDomain: domain, Host: api.InjectorHost("osm-system"),
		Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: api.AppInjector},
		Name:     api.InjectorCertificateSecret, Label: api.LabelInjectorCertificate, Now: k.clock.now,
	})
	must(t, err)
	return k
}

// step keeps the Secret, and compares what that asked of the API server.
func (k *keeper) step(t *testing.T, what string, requests ...string) (renewAt time.Time) {
	t.Helper()
	renewAt, err := k.Keep(t.Context(), "uid", k.roots.Trust())
	must(t, err)
	for i := range requests {
		requests[i] += " " + keyServing
	}
	if diff := cmp.Diff(requests, k.server.took()); diff != "" {
		t.Errorf("%s: requests (-want +got):\n%s", what, diff)
	}
	served, err := ca.ParseServed(k.server.secret(keyServing).Data, api.InjectorHost("osm-system"), k.clock.now())
	must(t, err)
	if trust := k.roots.Trust(); served.Trust.Fingerprint != trust.Fingerprint || string(served.Trust.Bundle) != string(trust.Bundle) {
		t.Errorf("%s: the Secret is of CA %.8s with another bundle, want %.8s", what, served.Trust.Fingerprint, trust.Fingerprint)
	}
	if evidence, ok := k.Evidence(); !ok || evidence.Signer != k.roots.Trust().Fingerprint || evidence.Account != "osm-system/osm-injector" {
		t.Errorf("%s: evidence %+v, %t", what, evidence, ok)
	}
	return renewAt
}

// TestServingSecretIsKept: written once, left alone while it is fit, replaced when half of its life is over
// and whenever bundle, signer, owner or content is another.
func TestServingSecretIsKept(t *testing.T) {
	k := newServingKeeper(t)
	if _, ok := k.Evidence(); ok {
		t.Error("evidence of a Secret that nobody has looked at")
	}
	due := k.step(t, "first", "probe", "write")
	k.step(t, "again", "probe")
	k.clock.jump(due.Sub(k.clock.now()) - time.Minute)
	k.step(t, "not due", "probe")
	k.clock.jump(2 * time.Minute)
	k.step(t, "due", "probe", "write")

	former, _ := newIssuer(t, k.clock.now)
	next, _ := newIssuer(t, k.clock.now)
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
func proxyData(t *testing.T, k *keeper) map[string][]byte {
	t.Helper()
	leaf, err := k.roots.Issue(t.Context(), ca.Request{Identity: workload("a"), Usage: ca.UsageServing, DNSNames: []string{api.InjectorHost("osm-system")}})
	must(t, err)
	return map[string][]byte{corev1.TLSCertKey: leaf.CertPEM, corev1.TLSPrivateKeyKey: leaf.KeyPEM(), api.CAKeyCert: k.roots.Trust().Bundle}
}

// TestServingSecretNeedsTrust: what is signed by a CA that clients were not told of is never written, nor
// is a Secret of somebody else's touched.
func TestServingSecretNeedsTrust(t *testing.T) {
	k := newServingKeeper(t)
	told := k.roots.Trust()
	next, _ := newIssuer(t, k.clock.now)
	must(t, k.roots.Set(next))
	if _, err := k.Keep(t.Context(), "uid", told); err == nil || !strings.Contains(err.Error(), "another CA signs now") {
		t.Errorf("kept with %v", err)
	}
	if diff := cmp.Diff([]string{"probe " + keyServing}, k.server.took()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	k.server.put(keyServing, &corev1.Secret{Type: corev1.SecretTypeTLS, Data: proxyData(t, k), ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"mine": "x"}}})
	if _, err := k.Keep(t.Context(), "uid", k.roots.Trust()); err == nil || !strings.Contains(err.Error(), "somebody else's Secret: lacks the label openservicemesh.io/injector-certificate=osm") {
		t.Errorf("kept with %v", err)
	}
	if diff := cmp.Diff([]string{"probe " + keyServing}, k.server.took()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
