package provider

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// tresorRoot is the object of a root in the Secret of that name.
func tresorRoot(name, secret string, role v1alpha2.RootRole, change ...func(*v1alpha2.MeshRootCertificate)) *v1alpha2.MeshRootCertificate {
	object := &v1alpha2.MeshRootCertificate{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha2.GroupVersion().String(), Kind: v1alpha2.RootCertificateKind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "osm-system"},
		Spec:       v1alpha2.MeshRootCertificateSpec{TrustDomain: "cluster.local", Role: role},
	}
	object.Spec.Provider.Tresor = &v1alpha2.TresorProviderSpec{CA: v1alpha2.TresorCASpec{SecretRef: v1alpha2.SecretRef{Name: secret, Namespace: "osm-system"}}}
	for _, f := range change {
		f(object)
	}
	return object
}

func wantedAt(at string) func(*v1alpha2.MeshRootCertificate) {
	return func(o *v1alpha2.MeshRootCertificate) {
		o.Annotations = map[string]string{v1alpha2.AnnotationRotateTo: at}
	}
}

func seen(o *v1alpha2.MeshRootCertificate) { o.Status.Fingerprint = "once" }

// testCluster is an API server with objects and Secrets, and a provider that runs in it.
type testCluster struct {
	*rig
	t       *testing.T
	dynamic *dynamicfake.FakeDynamicClient
	opened  *Provider
	end     func()
}

func newTestCluster(t *testing.T, have ...*v1alpha2.MeshRootCertificate) *testCluster {
	t.Helper()
	rig := newRig(t, Flags{})
	client := objects(t)
	rig.cfg.Dynamic = client
	w := &testCluster{rig: rig, t: t, dynamic: client}
	w.write(have...)
	return w
}

// start opens the provider and runs it until the test ends.
func (w *testCluster) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	opened, err := Open(ctx, w.cfg)
	must(w.t, err)
	w.opened = opened
	done := make(chan error, 1)
	go func() { done <- opened.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Run ended with %v", err)
		}
	}
	synctest.Wait()
}

// write makes objects, or replaces them.
func (w *testCluster) write(have ...*v1alpha2.MeshRootCertificate) {
	w.t.Helper()
	client := w.dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace("osm-system")
	for _, object := range have {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		must(w.t, err)
		_, err = client.Update(w.t.Context(), &unstructured.Unstructured{Object: content}, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.Create(w.t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
		}
		must(w.t, err)
	}
}

// put writes objects and waits until nothing happens anymore.
func (w *testCluster) put(have ...*v1alpha2.MeshRootCertificate) {
	w.t.Helper()
	w.write(have...)
	time.Sleep(time.Minute) // in the bubble
	synctest.Wait()
}

// fingerprint returns that of the root in a Secret.
func (w *testCluster) fingerprint(secret string) string {
	w.t.Helper()
	object, err := w.cfg.Client.CoreV1().Secrets("osm-system").Get(w.t.Context(), secret, metav1.GetOptions{})
	must(w.t, err)
	root, err := ca.ParseRoot(object.Data, time.Now())
	must(w.t, err)
	return root.Fingerprint()
}

// check compares the signer and the trusted roots, by the names of their Secrets.
func (w *testCluster) check(signer string, trusted ...string) {
	w.t.Helper()
	trust := w.opened.Roots.Trust()
	var want []string
	for _, secret := range trusted {
		want = append(want, w.fingerprint(secret))
	}
	slices.Sort(want)
	if trust.Fingerprint != w.fingerprint(signer) || !slices.Equal(trust.Fingerprints(), want) {
		w.t.Errorf("%s signs, trusted are %v; want %s (%s), trusted %v", trust.Fingerprint, trust.Fingerprints(), w.fingerprint(signer), signer, trusted)
	}
	if reason := w.ready.last(); reason != "" {
		w.t.Errorf("unready: %s", reason)
	}
}

// TestRootsFollowObjects runs through a rotation, as a replica sees it.
func TestRootsFollowObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const asked = "2026-01-02T03:04:05Z"
		w := newTestCluster(t)
		w.start()
		defer func() { w.end() }()
		w.check("osm-ca-bundle", "osm-ca-bundle")

		w.put(tresorRoot("one", "osm-ca-bundle", v1alpha2.RootRoleActive), tresorRoot("two", "next", v1alpha2.RootRoleInactive, wantedAt(asked)))
		w.check("osm-ca-bundle", "osm-ca-bundle")
		if _, err := w.cfg.Client.CoreV1().Secrets("osm-system").Get(t.Context(), "next", metav1.GetOptions{}); err == nil {
			t.Error("an unused root was created")
		}
		w.put(tresorRoot("two", "next", v1alpha2.RootRolePassive, wantedAt(asked)))
		w.check("osm-ca-bundle", "osm-ca-bundle", "next")
		w.put(tresorRoot("two", "next", v1alpha2.RootRoleActive, wantedAt(asked)))
		w.check("next", "osm-ca-bundle", "next")
		loaded, problems := w.opened.Loaded()
		if len(problems) > 0 || len(loaded) != 2 || loaded[0].Name != "one" || loaded[1].Role != rotation.Active || loaded[1].Fingerprint != w.fingerprint("next") {
			t.Errorf("loaded %v, problems %v", loaded, problems)
		}
		// A replica that starts in the middle.
		w.end()
		w.start()
		w.check("next", "osm-ca-bundle", "next")
		w.put(tresorRoot("one", "osm-ca-bundle", v1alpha2.RootRolePassive))
		w.check("next", "osm-ca-bundle", "next")
		w.put(tresorRoot("one", "osm-ca-bundle", v1alpha2.RootRoleInactive))
		w.check("next", "next")
		if got := w.opened.String(); got != "Secret osm-system/next" {
			t.Errorf("named %q", got)
		}
		// A root that is no longer used may change.
		_, err := w.cfg.Client.CoreV1().Secrets("osm-system").Update(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "osm-system", Name: "osm-ca-bundle"}}, metav1.UpdateOptions{})
		must(t, err)
		time.Sleep(time.Minute)
		if reason := w.ready.last(); reason != "" {
			t.Errorf("unready: %s", reason)
		}
	})
}

// TestSignerOutlastsItsObject: without an active root, or without any object, the last roots stay in use.
func TestSignerOutlastsItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestCluster(t, tresorRoot("one", "first", v1alpha2.RootRoleActive), tresorRoot("two", "second", v1alpha2.RootRolePassive))
		w.start()
		defer func() { w.end() }()
		w.check("first", "first", "second")
		w.put(tresorRoot("one", "first", v1alpha2.RootRolePassive))
		w.check("first", "first", "second")
		for _, name := range []string{"one", "two"} {
			must(t, w.dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace("osm-system").Delete(t.Context(), name, metav1.DeleteOptions{}))
		}
		time.Sleep(time.Minute)
		w.check("first", "first", "second")
	})
}

// TestMisconfiguredRootDelaysNoReplica: a replica reports a root that no replica has loaded yet, but does not wait
// for it; it waits for a root whose certificates may be in use.
func TestMisconfiguredRootDelaysNoReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		elsewhere := func(o *v1alpha2.MeshRootCertificate) { o.Spec.Provider.Tresor.CA.SecretRef.Namespace = "default" }
		w := newTestCluster(t, tresorRoot("one", "first", v1alpha2.RootRoleActive), tresorRoot("two", "second", v1alpha2.RootRolePassive, elsewhere))
		w.start()
		w.check("first", "first")
		if _, problems := w.opened.Loaded(); !strings.Contains(problems["two"], "osm-system") {
			t.Errorf("problems %v", problems)
		}
		w.end()

		w = newTestCluster(t, tresorRoot("one", "first", v1alpha2.RootRoleActive), tresorRoot("two", "second", v1alpha2.RootRolePassive, elsewhere, seen))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := Open(ctx, w.cfg); err == nil || !strings.Contains(w.ready.last(), "MeshRootCertificate two") {
			t.Errorf("error %v, readiness %q", err, w.ready.last())
		}
	})
}

// TestNothingActive: a replica that starts while no root is active reports that, and continues once one is.
func TestNothingActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestCluster(t, tresorRoot("one", "first", v1alpha2.RootRolePassive))
		go func() {
			time.Sleep(10 * time.Second)
			if reason := w.ready.last(); !strings.Contains(reason, "nothing signs") {
				t.Errorf("readiness %q", reason)
			}
			w.write(tresorRoot("one", "first", v1alpha2.RootRoleActive))
		}()
		w.start()
		defer func() { w.end() }()
		w.check("first", "first")
	})
}

// TestAcceptedProviders: an object that names a provider that the installation does not allow is refused.
func TestAcceptedProviders(t *testing.T) {
	vaultWith := func(change func(*v1alpha2.VaultProviderSpec)) v1alpha2.ProviderSpec {
		p := &v1alpha2.VaultProviderSpec{Host: "vault", Port: 8200, Role: "mesh"}
		change(p)
		return v1alpha2.ProviderSpec{Vault: p}
	}
	token := func(namespace, name string) func(*v1alpha2.VaultProviderSpec) {
		return func(p *v1alpha2.VaultProviderSpec) { p.Token = v1alpha2.VaultToken(namespace, name, "token") }
	}
	named := func(name, kind, group string) v1alpha2.ProviderSpec {
		return v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{IssuerName: name, IssuerKind: kind, IssuerGroup: group}}
	}
	installed := Flags{
		AdditionalKinds: []string{"vault", "cert-manager"},
		Vault: vault.Flags{
			Mount: "team", LoginMount: "jwt", LoginTokenFile: "/login", CAFile: "/ca", TokenFile: "/token", TokenSecret: "vault/token",
			AllowedHosts: []string{"vault:8200", "[::1]:8200"}, AllowHTTP: true,
		},
	}
	allowed := func(change func(*Flags)) *Flags {
		flags := installed
		change(&flags)
		return &flags
	}
	accepted := func(host, protocol string, token *v1alpha2.VaultTokenSpec) v1alpha2.ProviderSpec {
		return v1alpha2.ProviderSpec{Vault: &v1alpha2.VaultProviderSpec{Host: host, Port: 8200, Role: "mesh", Protocol: protocol, Token: token}}
	}
	for name, test := range map[string]struct {
		spec   v1alpha2.ProviderSpec
		flags  *Flags // nil means installed
		domain string
		want   v1alpha2.ProviderSpec
		broken string
	}{
		"vault, login": {spec: vaultWith(func(*v1alpha2.VaultProviderSpec) {}), want: accepted("vault", "https", nil)},
		"vault, token": {spec: vaultWith(token("osm-system", "vault")), want: accepted("vault", "https", v1alpha2.VaultToken("osm-system", "vault", "token"))},
		"vault, http": {spec: vaultWith(func(p *v1alpha2.VaultProviderSpec) { p.Protocol, p.Host = "http", "::1" }),
			want: accepted("::1", "http", nil)},
		"http, not installed": {spec: vaultWith(func(p *v1alpha2.VaultProviderSpec) { p.Protocol = "http" }), flags: allowed(func(f *Flags) { f.Vault.AllowHTTP = false }), broken: "osm.vault.protocol=http"},
		"other protocol":      {spec: vaultWith(func(p *v1alpha2.VaultProviderSpec) { p.Protocol = "HTTP" }), broken: "spec.provider.vault.protocol"},
		"other host":          {spec: vaultWith(func(p *v1alpha2.VaultProviderSpec) { p.Host = "evil" }), broken: `names the server "evil:8200", and a token may be sent to vault:8200, [::1]:8200 only`},
		"other port":          {spec: vaultWith(func(p *v1alpha2.VaultProviderSpec) { p.Port = 80 }), broken: "osm.vault.allowedHosts"},
		"host after @":        {spec: vaultWith(func(p *v1alpha2.VaultProviderSpec) { p.Host = "vault:8200@evil" }), broken: "osm.vault.allowedHosts"},
		"no host allowed":     {spec: vaultWith(func(*v1alpha2.VaultProviderSpec) {}), flags: allowed(func(f *Flags) { f.Vault.AllowedHosts = nil }), broken: "to none only"},
		"vault, not allowed":  {spec: vaultWith(func(*v1alpha2.VaultProviderSpec) {}), flags: allowed(func(f *Flags) { f.AdditionalKinds = nil }), broken: "osm.certificateProvider.additionalKinds={vault}"},
		"only Vault allowed":  {spec: named("i", "Issuer", "cert-manager.io"), flags: allowed(func(f *Flags) { f.AdditionalKinds = []string{"vault"} }), broken: "additionalKinds={vault,cert-manager}"},
		"issuer, not allowed": {spec: named("i", "Issuer", "cert-manager.io"), flags: allowed(func(f *Flags) { f.AdditionalKinds = nil }), broken: "additionalKinds={cert-manager}"},
		"issuer's kind":       {spec: named("i", "ClusterIssuer", "cert-manager.io"), broken: "osm.certmanager.issuerKind"},
		"issuer's group":      {spec: named("i", "Issuer", "evil.io"), broken: `in group "evil.io"`},
		"two":                 {spec: v1alpha2.ProviderSpec{Vault: &v1alpha2.VaultProviderSpec{}, Tresor: &v1alpha2.TresorProviderSpec{}}, broken: "exactly one"},
		"other token":         {spec: vaultWith(token("osm-system", "other")), broken: "osm.vault.secret.name"},
		"token elsewhere":     {spec: vaultWith(token("default", "vault")), broken: "default/vault"},
		"cert-manager":        {spec: v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{IssuerName: "i", IssuerKind: "Issuer", IssuerGroup: "cert-manager.io"}}, want: named("i", "Issuer", "cert-manager.io")},
		"cert-manager, kind":  {spec: v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{IssuerName: "i", IssuerKind: "X", IssuerGroup: "cert-manager.io"}}, broken: "issuerKind"},
		"issuer's defaults":   {spec: named("i", "", ""), want: named("i", "Issuer", "cert-manager.io")},
		"the API's token": {spec: vaultWith(func(*v1alpha2.VaultProviderSpec) {}), flags: allowed(func(f *Flags) {
			f.Vault.LoginTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
		}), broken: "--vault-login-token-file"},
		"token and login role": {spec: vaultWith(token("osm-system", "vault")), flags: allowed(func(f *Flags) { f.Vault.LoginRole = "r" }), broken: "mutually exclusive"},
		"token without a file": {spec: vaultWith(token("osm-system", "vault")), flags: allowed(func(f *Flags) { f.Vault.TokenFile = "" }), broken: "does not mount"},
		"nothing":              {broken: "spec.provider"},
		"other domain":         {domain: "other.local", broken: "spec.trustDomain"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newRig(t, installed).cfg
			if test.flags != nil {
				cfg.Flags = *test.flags
			}
			spec := &v1alpha2.MeshRootCertificateSpec{Provider: test.spec, TrustDomain: "cluster.local"}
			if test.domain != "" {
				spec.TrustDomain = test.domain
			}
			got, err := cfg.accepted(spec)
			if test.broken != "" {
				if err == nil || !strings.Contains(err.Error(), test.broken) {
					t.Errorf("got %v, want an error that says %q", err, test.broken)
				}
				return
			}
			must(t, err)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// TestAdoptedRootIsTheInstalledOne: an object that names the installation's own provider is the same
// root, so that replicas do not load it a second time.
func TestAdoptedRootIsTheInstalledOne(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		adopt v1alpha2.ProviderSpec
	}{
		"tresor": {nil, v1alpha2.TresorProvider("osm-system", "osm-ca-bundle")},
		"vault, login": {
			[]string{"--certificate-provider=vault", "--vault-address=https://vault:8200/"},
			v1alpha2.ProviderSpec{Vault: &v1alpha2.VaultProviderSpec{Host: "vault", Port: 8200, Role: "openservicemesh", Protocol: "https"}},
		},
		"vault, token": {
			[]string{"--certificate-provider=vault", "--vault-address=http://[::1]", "--vault-role=mesh", "--vault-token-file=/token", "--vault-token-secret=vault/token"},
			v1alpha2.ProviderSpec{Vault: &v1alpha2.VaultProviderSpec{Host: "::1", Port: 80, Role: "mesh", Protocol: "http", Token: v1alpha2.VaultToken("osm-system", "vault", "token")}},
		},
		"cert-manager": {
			[]string{"--certificate-provider=cert-manager", "--cert-manager-issuer=i", "--cert-manager-issuer-kind=ClusterIssuer"},
			v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{IssuerName: "i", IssuerKind: "ClusterIssuer"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newRig(t, parse(t, test.args...)).cfg
			must(t, cfg.Flags.Validate())
			installed := cfg.wanted(nil)[0]
			object := tresorRoot("one", "", v1alpha2.RootRoleActive)
			object.Spec.Provider = test.adopt
			adopted := cfg.wanted([]v1alpha2.MeshRootCertificate{*object})[0]
			if installed.Problem != "" || adopted.Problem != "" || installed.key == "" || installed.key != adopted.key {
				t.Errorf("installed %s %q\nadopted   %s %q", installed.key, installed.Problem, adopted.key, adopted.Problem)
			}
		})
	}
}

// TestStartBesideNewRoot: a replica that starts while a new root cannot be loaded is ready without it,
// and loads it as soon as possible.
func TestStartBesideNewRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestCluster(t, tresorRoot("one", "first", v1alpha2.RootRoleActive), tresorRoot("two", "second", v1alpha2.RootRolePassive))
		var refused atomic.Bool
		refused.Store(true)
		client, ok := w.cfg.Client.(*fake.Clientset)
		if !ok {
			t.Fatal("no fake")
		}
		client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
			created, _ := action.(clienttesting.CreateAction).GetObject().(*corev1.Secret)
			if created.Name == "second" && refused.Load() {
				return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "second", errors.New("by some policy"))
			}
			return false, nil, nil
		})
		w.start()
		defer func() { w.end() }()
		w.check("first", "first")
		time.Sleep(time.Minute)
		if _, problems := w.opened.Loaded(); !strings.Contains(problems["two"], "by some policy") {
			t.Errorf("problems %v, want the API server's error", problems)
		}
		refused.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.check("first", "first", "second")
	})
}
