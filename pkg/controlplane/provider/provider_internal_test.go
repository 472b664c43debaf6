package provider

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// TestMain finds goroutines that a test leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestZeroFlagsAreTheDefaults: flags that were not bound equal flags parsed without arguments.
func TestZeroFlagsAreTheDefaults(t *testing.T) {
	bound, zero := parse(t), Flags{}
	for _, kind := range bound.kinds() {
		if kind.Name() == api.ProviderVault {
			continue // its defaults are tested in its package
		}
		want, err := kind.Spec("osm-system")
		must(t, err)
		got, err := zero.kind(kind.Name()).Spec("osm-system")
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: bound %+v, zero %+v", kind.Name(), want, got)
		}
	}
	if bound.selected() != api.ProviderTresor || zero.selected() != api.ProviderTresor {
		t.Errorf("%s signs if the flags are bound, %s if not", bound.selected(), zero.selected())
	}
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		says []string // empty: valid
	}{
		"none":                 {},
		"vault":                {args: []string{"--certificate-provider=vault", "--vault-address=https://vault:8200"}},
		"vault, token":         {args: []string{"--certificate-provider=vault", "--vault-address=http://127.0.0.1:8200", "--vault-token-file=/t"}},
		"cert-manager":         {args: []string{"--certificate-provider=cert-manager", "--cert-manager-issuer-kind=ClusterIssuer"}},
		"external issuer":      {args: []string{"--certificate-provider=cert-manager", "--cert-manager-issuer-kind=StepIssuer", "--cert-manager-issuer-group=step.sm"}},
		"unknown":              {[]string{"--certificate-provider=certmanager"}, []string{"--certificate-provider", `"certmanager"`, "cert-manager"}},
		"no address":           {[]string{"--certificate-provider=vault"}, []string{"--vault-address", "https://"}},
		"address without port": {[]string{"--certificate-provider=vault", "--vault-address=vault:8200"}, []string{"--vault-address", "https://vault.vault:8200"}},
		"address with token":   {[]string{"--certificate-provider=vault", "--vault-address=https://t:hvs.x@vault"}, []string{"--vault-address"}},
		"CA and http":          {[]string{"--certificate-provider=vault", "--vault-address=http://vault", "--vault-ca-file=/c"}, []string{"--vault-ca-file", "https"}},
		"token and login":      {[]string{"--certificate-provider=vault", "--vault-address=https://vault", "--vault-token-file=/t", "--vault-login-role=r"}, []string{"--vault-token-file", "--vault-login-role", "omit one"}},
		"the API's token":      {[]string{"--certificate-provider=vault", "--vault-address=https://vault", "--vault-login-token-file=/var/run/secrets//kubernetes.io/serviceaccount/token"}, []string{"--vault-login-token-file", "audience"}},
		"the API's, given":     {[]string{"--certificate-provider=vault", "--vault-address=https://vault", "--vault-token-file=/run/secrets/kubernetes.io/serviceaccount/token"}, []string{"--vault-token-file", "audience"}},
		"address for tresor":   {[]string{"--vault-address=https://vault"}, []string{"--vault-address", "--certificate-provider=vault"}},
		"issuer kind":          {[]string{"--certificate-provider=cert-manager", "--cert-manager-issuer-kind=issuer"}, []string{"--cert-manager-issuer-kind", "ClusterIssuer", "--cert-manager-issuer-group"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := parse(t, test.args...).Validate()
			if (err == nil) != (len(test.says) == 0) {
				t.Fatalf("got error %v", err)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v\nwant it to say %q", err, text)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hvs.") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func parse(t *testing.T, args ...string) Flags {
	t.Helper()
	var flags Flags
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Bind(set)
	must(t, set.Parse(args))
	return flags
}

// TestTresor: Open waits while the Secret is broken, and readiness shows the fault; once repaired, its root
// signs, is in the metrics, and is watched.
func TestTresor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, err := ca.NewRoot(time.Now())
		must(t, err)
		broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "osm-system", Name: "osm-ca-bundle"}, Data: map[string][]byte{"ca.crt": []byte("x")}}
		client := fake.NewClientset(broken)
		rig := newRig(t, Flags{})
		rig.cfg.Client = client
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var opened *Provider
		done := make(chan error, 1)
		go func() {
			var err error
			opened, err = Open(ctx, rig.cfg)
			done <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if reason := rig.ready.last(); !strings.Contains(reason, "Secret osm-system/osm-ca-bundle") || !strings.Contains(reason, "private.key") {
			t.Errorf("readiness says %q, want the Secret and its key at fault", reason)
		}
		repaired := broken.DeepCopy()
		repaired.Data = root.SecretData()
		_, err = client.CoreV1().Secrets("osm-system").Update(ctx, repaired, metav1.UpdateOptions{})
		must(t, err)
		must(t, <-done)
		if got := opened.Roots.Trust().Fingerprint; got != root.Fingerprint() || rig.ready.last() != "" || !rig.shows(root.Fingerprint()) {
			t.Errorf("root %s, readiness %q, metrics shown %t; want %s", got, rig.ready.last(), rig.shows(root.Fingerprint()), root.Fingerprint())
		}
		if opened.String() != "Secret osm-system/osm-ca-bundle" {
			t.Errorf("named %q", opened)
		}
		go func() { done <- opened.Run(ctx) }()
		time.Sleep(time.Minute) // in the bubble: until the Secret is watched
		other, err := ca.NewRoot(time.Now())
		must(t, err)
		changed := repaired.DeepCopy()
		changed.Data = other.SecretData()
		_, err = client.CoreV1().Secrets("osm-system").Update(ctx, changed, metav1.UpdateOptions{})
		must(t, err)
		time.Sleep(time.Minute)
		if reason := rig.ready.last(); reason != "" {
			t.Errorf("readiness says %q after the Secret was replaced; one bad write must not take all replicas away", reason)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// TestExternal: Open waits for an external provider, metrics count and show it, and its reports reach readiness.
func TestExternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, Flags{Kind: api.ProviderVault, Vault: vault.Flags{Address: "https://vault:1"}})
		away := &fakeLoader{Authority: newIssuer(t), up: make(chan struct{})}
		done := make(chan *Provider, 1)
		go func() {
			opened, err := open(t.Context(), rig.cfg, given(source.Remote(away, "Vault at test", rig.cfg.Metrics)))
			must(t, err)
			done <- opened
		}()
		synctest.Wait()
		if reason := rig.ready.last(); !strings.Contains(reason, "waiting for Vault at test") {
			t.Errorf("readiness says %q", reason)
		}
		close(away.up)
		opened := <-done
		if rig.ready.last() != "" || !rig.shows(away.Trust().Fingerprint) {
			t.Errorf("readiness %q, root in the metrics: %t", rig.ready.last(), rig.shows(away.Trust().Fingerprint))
		}
		_, err := opened.Roots.Issue(t.Context(), ca.Request{Identity: self, Usage: ca.UsageService})
		must(t, err)
		if got := testutil.CollectAndCount(rig.registry, "osm_cert_issued_total"); got != 1 {
			t.Errorf("%d series count issued certificates, want 1", got)
		}
		rig.cfg.report(ca.RootStatus{State: ca.RootDiffers, Provider: "Vault at test", Loaded: "a", Found: "b"})
		if reason := rig.ready.last(); !strings.Contains(reason, "Vault at test holds a different root CA") {
			t.Errorf("readiness says %q", reason)
		}
		rig.cfg.report(ca.RootStatus{State: ca.RootSame})
		if rig.ready.last() != "" {
			t.Errorf("still unready: %q", rig.ready.last())
		}
	})
}

// TestLoadEnds: Open ends with its context while the provider is unavailable.
func TestLoadEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rig := newRig(t, Flags{Kind: api.ProviderVault, Vault: vault.Flags{Address: "https://vault:1"}})
	_, err := open(ctx, rig.cfg, given(source.Remote(&fakeLoader{Authority: newIssuer(t), up: make(chan struct{})}, "Vault", nil)))
	if !errors.Is(err, context.Canceled) || rig.ready.last() == "" {
		t.Errorf("error %v, readiness %q", err, rig.ready.last())
	}
}

// TestServingCertOutlastsOutages: a request that fails after the start is retried, if that can help.
func TestServingCertOutlastsOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flaky := &fakeLoader{Authority: newIssuer(t), up: make(chan struct{}), failures: 3}
		close(flaky.up)
		address := map[string]string{api.ProviderVault: "https://vault:1"}
		for kind, works := range map[string]bool{api.ProviderTresor: false, api.ProviderVault: true} {
			flaky.failures = 3
			opened, err := open(t.Context(), newRig(t, Flags{Kind: kind, Vault: vault.Flags{Address: address[kind]}}).cfg, given(source.Remote(flaky, "it", nil)))
			must(t, err)
			if _, err := opened.ServingCert(t.Context(), ca.ServingConfig{Identity: self}); (err == nil) != works {
				t.Errorf("%s: error %v", kind, err)
			}
		}
	})
}

// TestSignerChangeReplacesServingCerts checks that this needs no handshake.
func TestSignerChangeReplacesServingCerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newIssuer(t), newIssuer(t)
		loader := &fakeLoader{Authority: first, up: make(chan struct{})}
		close(loader.up)
		opened, err := open(t.Context(), newRig(t, Flags{Kind: api.ProviderVault, Vault: vault.Flags{Address: "https://vault:1"}}).cfg, given(source.Remote(loader, "it", nil)))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- opened.Run(ctx) }()
		cert, err := opened.ServingCert(ctx, ca.ServingConfig{Identity: self})
		must(t, err)
		must(t, opened.Roots.Set(first, second))
		synctest.Wait()
		if cert.Signer() != first.Trust().Fingerprint {
			t.Error("replaced although the same CA signs")
		}
		must(t, opened.Roots.Set(second, first))
		synctest.Wait()
		if cert.Signer() != second.Trust().Fingerprint {
			t.Error("the certificate is still of the former CA")
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// TestSources: each kind is opened by its own package, with the values of the flags.
func TestSources(t *testing.T) {
	for name, test := range map[string]struct {
		flags  Flags
		named  string
		broken string
	}{
		"tresor":           {Flags{}, "Secret osm-system/osm-ca-bundle", ""},
		"vault":            {Flags{Kind: api.ProviderVault, Vault: vault.Flags{Address: "http://127.0.0.1:1", TokenFile: "t"}}, "Vault at http://127.0.0.1:1, PKI engine pki", ""},
		"issuer":           {Flags{Kind: api.ProviderCertManager}, `cert-manager's Issuer "osm-ca" in namespace osm-system`, ""},
		"no CA file":       {Flags{Kind: api.ProviderVault, Vault: vault.Flags{Address: "https://vault:1", CAFile: "/does/not/exist"}}, "", "--vault-ca-file: open /does/not/exist"},
		"role with a path": {Flags{Kind: api.ProviderVault, Vault: vault.Flags{Address: "https://vault:1", Role: "../x"}}, "", "role"},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newRig(t, test.flags)
			spec, err := rig.cfg.Flags.spec("osm-system")
			must(t, err)
			s, err := build(rig.cfg, spec)
			switch {
			case test.broken != "":
				if err == nil || !strings.Contains(err.Error(), test.broken) {
					t.Errorf("error %v, want one that says %q", err, test.broken)
				}
			case err != nil:
				t.Error(err)
			case s.String() != test.named:
				t.Errorf("named %q, want %q", s, test.named)
			}
		})
	}
}

var self = identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}

// rig is a configuration whose readiness and metrics can be inspected.
type rig struct {
	cfg      Config
	ready    *readiness
	registry *prometheus.Registry
}

func newRig(t *testing.T, flags Flags) *rig {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := ca.NewMetrics(registry)
	must(t, err)
	ready := &readiness{}
	return &rig{Config{
		Flags: flags, Client: fake.NewClientset(), Dynamic: objects(t),
		Namespace: "osm-system", Mesh: "osm", TrustDomain: "cluster.local", Metrics: metrics, Ready: ready, Log: slog.New(slog.DiscardHandler),
	}, ready, registry}
}

// objects returns an API server that serves MeshRootCertificates and cert-manager's requests.
func objects(t *testing.T) *dynamicfake.FakeDynamicClient {
	t.Helper()
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		v1alpha2.RootCertificateGroupVersionResource():                             v1alpha2.RootCertificateKind + "List",
		{Group: "cert-manager.io", Version: "v1", Resource: "certificaterequests"}: "CertificateRequestList",
	})
}

// given returns one source for every spec.
func given(s source.Source) builder {
	return func(Config, v1alpha2.ProviderSpec) (source.Source, error) { return s, nil }
}

// shows reports whether the metrics name the root and no other.
func (r *rig) shows(fingerprint string) bool {
	want := "# HELP osm_root_info Always 1; the label is the SHA-256 of the CA that this replica signs with, equal on all replicas.\n" +
		"# TYPE osm_root_info gauge\nosm_root_info{fingerprint=\"" + fingerprint + "\"} 1\n"
	return testutil.GatherAndCompare(r.registry, strings.NewReader(want), "osm_root_info") == nil
}

// readiness records the reported reasons; an empty one means ready.
type readiness struct {
	mu      sync.Mutex
	reasons []string
}

func (r *readiness) Met() { r.Unmet("") }

func (r *readiness) Unmet(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons = append(r.reasons, reason)
}

func (r *readiness) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat([]string{""}, r.reasons)[len(r.reasons)]
}

// fakeLoader is an external provider that is unavailable until up is closed, and then fails some requests.
type fakeLoader struct {
	ca.Authority
	up       chan struct{}
	failures int
}

func (f *fakeLoader) Load(ctx context.Context) error {
	select {
	case <-f.up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fakeLoader) Run(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeLoader) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	if f.failures > 0 {
		f.failures--
		return nil, errors.New("sealed")
	}
	return f.Authority.Issue(ctx, req)
}

func newIssuer(t *testing.T) *ca.Issuer {
	t.Helper()
	root, err := ca.NewRoot(time.Now())
	must(t, err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: "cluster.local"})
	must(t, err)
	return issuer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
