package injector

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/tests/catest"
)

// servingSecret is what a controller writes; change spoils it.
func servingSecret(t *testing.T, authority ca.Authority, change ...func(map[string][]byte)) *corev1.Secret {
	t.Helper()
	leaf, err := authority.Issue(t.Context(), ca.Request{
		Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: api.AppInjector}, DNSNames: []string{api.InjectorHost("osm-system")},
		TTL: time.Hour, Usage: ca.UsageServing,
	})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "osm-system", Name: api.InjectorCertificateSecret}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: leaf.CertPEM, corev1.TLSPrivateKeyKey: leaf.KeyPEM(), api.CAKeyCert: authority.Trust().Bundle},
	}
	for _, f := range change {
		f(secret.Data)
	}
	return secret
}

// cacheRig is a certificateCache that is told of Secrets by hand.
type cacheRig struct {
	*certificateCache
	health   *serve.Health
	registry *prometheus.Registry
	shown    []ca.Trust
}

func newCacheRig(t *testing.T) *cacheRig {
	t.Helper()
	cfg := testConfig(t)
	rig := &cacheRig{health: cfg.Health, registry: prometheus.NewRegistry()}
	cfg.Metrics, cfg.Roots = rig.registry, func(trust ca.Trust) { rig.shown = append(rig.shown, trust) }
	var err error
	if rig.certificateCache, err = newCertificateCache(fake.NewClientset(), cfg); err != nil {
		t.Fatal(err)
	}
	return rig
}

func (r *cacheRig) serial(t *testing.T) string {
	t.Helper()
	cert, err := r.certificate(&tls.ClientHelloInfo{})
	if err != nil {
		return ""
	}
	return cert.Leaf.SerialNumber.Text(16)
}

func (r *cacheRig) reason() string {
	_, waiting := r.health.Ready()
	return strings.Join(waiting, "; ")
}

// TestOnlyValidCertificatesAreServed: what the API server would refuse never takes the place of what it accepts.
func TestOnlyValidCertificatesAreServed(t *testing.T) {
	authority, other := catest.New(t), catest.New(t)
	for name, change := range map[string]func(map[string][]byte){
		"no key": func(d map[string][]byte) { delete(d, corev1.TLSPrivateKeyKey) },
		"another's key": func(d map[string][]byte) {
			d[corev1.TLSPrivateKeyKey] = servingSecret(t, other).Data[corev1.TLSPrivateKeyKey]
		},
		"no certificate": func(d map[string][]byte) { d[corev1.TLSCertKey] = []byte("x") },
		"another CA":     func(d map[string][]byte) { d[api.CAKeyCert] = other.Trust().Bundle },
		"no CA":          func(d map[string][]byte) { delete(d, api.CAKeyCert) },
		"another host": func(d map[string][]byte) {
			leaf, err := authority.Issue(t.Context(), ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: "till"}, Usage: ca.UsageServing})
			if err != nil {
				t.Fatal(err)
			}
			d[corev1.TLSCertKey], d[corev1.TLSPrivateKeyKey] = leaf.CertPEM, leaf.KeyPEM()
		},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newCacheRig(t)
			rig.set(servingSecret(t, authority, change))
			if rig.serial(t) != "" || !strings.Contains(rig.reason(), "Secret osm-system/osm-injector-certificate") {
				t.Errorf("serves %s; readiness says %q", rig.serial(t), rig.reason())
			}
			rig.set(servingSecret(t, authority))
			good := rig.serial(t)
			rig.set(servingSecret(t, authority, change))
			if good == "" || rig.serial(t) != good || strings.Contains(rig.reason(), "certificate") {
				t.Errorf("serves %s, want %s; readiness says %q", rig.serial(t), good, rig.reason())
			}
			if len(rig.shown) != 1 || rig.shown[0].Fingerprint != authority.Trust().Fingerprint {
				t.Errorf("shows roots %+v", rig.shown)
			}
		})
	}
}

// TestExpiryIsTold by readiness and a metric, and forgotten when another certificate comes.
func TestExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := catest.New(t)
		rig := newCacheRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- rig.run(ctx) }()
		rig.set(servingSecret(t, authority))
		time.Sleep(59 * time.Minute) // in the bubble
		if strings.Contains(rig.reason(), "certificate") {
			t.Errorf("unready before the end: %s", rig.reason())
		}
		time.Sleep(2 * time.Minute)
		if reason := rig.reason(); !strings.Contains(reason, "its certificate expired at") || !strings.Contains(reason, "osm-controller") {
			t.Errorf("readiness says %q after the end", reason)
		}
		if rig.serial(t) == "" {
			t.Error("what expired is not served: the API server cannot say what is wrong")
		}
		if n := testutil.CollectAndCount(rig.registry, "osm_admission_certificate_expiry_timestamp_seconds"); n != 1 {
			t.Errorf("%d series", n)
		}
		if got := rig.expiry(); got > float64(time.Now().Unix()) || got == 0 {
			t.Errorf("metric %v", got)
		}
		rig.set(servingSecret(t, authority))
		if strings.Contains(rig.reason(), "certificate") {
			t.Errorf("unready with another certificate: %s", rig.reason())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestUnreadSecretIsTold: without the right to read it, readiness says what the API server said.
func TestUnreadSecretIsTold(t *testing.T) {
	rig := newCacheRig(t)
	rig.unread(errors.New("secrets is forbidden"))
	if !strings.Contains(rig.reason(), "secrets is forbidden") {
		t.Errorf("readiness says %q", rig.reason())
	}
}
