package provider

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
	"github.com/osm-edge/osm/tests/reach"
)

// TestAllowedServerGetsLoginToken: a server that the installation allows gets the login's token and no other.
func TestAllowedServerGetsLoginToken(t *testing.T) {
	login := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(login, []byte("for-vault\n"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var jwt atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ JWT string }
		if json.NewDecoder(r.Body).Decode(&body) == nil && strings.HasSuffix(r.URL.Path, "/auth/kubernetes/login") {
			jwt.Store(body.JWT)
			cancel()
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	_, host, _ := strings.Cut(server.URL, "//")
	rig := newRig(t, parse(t, "--vault-login-token-file="+login))
	rig.cfg.Flags.AdditionalKinds = []string{"vault"}
	rig.cfg.Flags.Vault.AllowedHosts, rig.cfg.Flags.Vault.AllowHTTP = []string{host}, true
	w := &testCluster{rig: rig, t: t, dynamic: objects(t)}
	rig.cfg.Dynamic = w.dynamic
	w.write(vaultRoot(t, server.URL, ""))
	if _, err := Open(ctx, rig.cfg); err == nil || t.Context().Err() != nil {
		t.Fatalf("opened: %v", err)
	}
	if jwt.Load() != "for-vault" {
		t.Errorf("the server received %q", jwt.Load())
	}
}

func TestAllowedIsChecked(t *testing.T) {
	hosts := func(hosts ...string) Flags { return Flags{Vault: vault.Flags{AllowedHosts: hosts}} }
	for want, allowed := range map[string]Flags{
		`--additional-certificate-providers "acme"`: {AdditionalKinds: []string{"acme"}},
		`--vault-allowed-hosts "vault"`:             hosts("vault"),
		`--vault-allowed-hosts "vault:0"`:           hosts("vault:0"),
		`--vault-allowed-hosts "a@b:1"`:             hosts("a@b:1"),
		`--vault-allowed-hosts ":8200"`:             hosts(":8200"),
	} {
		if err := allowed.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", allowed, err, want)
		}
	}
	good := hosts("vault:8200", "[::1]:1")
	good.AdditionalKinds = []string{"vault"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzMeshRootCertificate: for any object, its provider's configuration holds no server, no
// protocol, no kind and no file that the installation does not name.
func FuzzMeshRootCertificate(f *testing.F) {
	for _, spec := range []string{
		`{"tresor":{"ca":{"secretRef":{"name":"osm-ca-bundle","namespace":"osm-system"}}}}`,
		`{"vault":{"host":"vault.vault","port":8200,"role":"mesh"}}`,
		`{"vault":{"host":"vault.vault","port":8200,"role":"mesh","protocol":"https","token":{"secretKeyRef":{"name":"vault","namespace":"osm-system","key":"token"}}}}`,
		`{"vault":{"host":"::1","port":8200,"role":"mesh"}}`,
		`{"certManager":{"issuerName":"osm-ca","issuerKind":"Issuer","issuerGroup":"cert-manager.io"}}`,
		`{"certManager":{"issuerName":"other"}}`,
		`{"certManager":{"issuerName":"other","issuerKind":"ClusterIssuer"}}`,
		`{"vault":{"host":"vault.vault","port":8200,"role":"mesh","protocol":"http"}}`,
		`{"vault":{"host":"vault.vault:8200@evil","port":8200,"role":"../../x"}}`,
		`{"vault":{"host":"evil","port":8200,"role":"mesh"}}`,
		`{"vault":{"host":"vault.vault","port":70000,"role":"mesh"},"tresor":{}}`,
	} {
		f.Add([]byte(`{"metadata":{"name":"a"},"spec":{"trustDomain":"cluster.local","role":"active","provider":` + spec + `}}`))
	}
	cfg := Config{
		Flags: Flags{
			AdditionalKinds: []string{"vault", "cert-manager"},
			Vault:           vault.Flags{LoginTokenFile: "/login", TokenFile: "/given", TokenSecret: "vault/token", AllowedHosts: []string{"vault.vault:8200", "[::1]:8200"}},
		},
		Client: fake.NewClientset(), Namespace: "osm-system", Mesh: "osm", TrustDomain: "cluster.local",
		Ready: &readiness{}, Log: slog.New(slog.DiscardHandler),
	}
	outcomes := reach.All(f, api.ProviderTresor, api.ProviderVault, api.ProviderCertManager, reach.Refused)
	f.Fuzz(func(t *testing.T, data []byte) {
		var object v1alpha2.MeshRootCertificate
		if json.Unmarshal(data, &object) != nil {
			return
		}
		wanted := cfg.wanted([]v1alpha2.MeshRootCertificate{object})
		if len(wanted) != 1 || wanted[0].Name != object.Name || wanted[0].Problem != "" && wanted[0].used() {
			t.Fatalf("wanted %+v", wanted)
		}
		accepted, err := cfg.accepted(&object.Spec)
		if err != nil {
			outcomes.Note(reach.Refused)
			if !reflect.DeepEqual(accepted, v1alpha2.ProviderSpec{}) || wanted[0].key != "" || wanted[0].Problem == "" {
				t.Fatalf("refused by %v, but got %+v", err, wanted[0])
			}
			return
		}
		outcomes.Note(accepted.Kind())
		checkAccepted(t, cfg, &object.Spec, accepted)
	})
}

// checkAccepted checks the spec independently. Files are not part of a spec: TestConfigOfSpec in
// package vault checks that they come from the flags.
func checkAccepted(t *testing.T, cfg Config, spec *v1alpha2.MeshRootCertificateSpec, accepted v1alpha2.ProviderSpec) {
	t.Helper()
	switch accepted.Kind() {
	case api.ProviderTresor:
		if spec.Provider.Tresor == nil || accepted.Tresor.CA.SecretRef.Namespace != "osm-system" {
			t.Fatalf("%+v", accepted)
		}
	case api.ProviderCertManager:
		if i := accepted.CertManager; i.IssuerKind != "Issuer" || i.IssuerGroup != "cert-manager.io" {
			t.Fatalf("%+v", i)
		}
	case api.ProviderVault:
		v := accepted.Vault
		at, err := url.Parse(v.Address())
		if err != nil || at.Scheme != "https" || at.User != nil || at.Path != "" || at.Host != "vault.vault:8200" && at.Host != "[::1]:8200" {
			t.Fatalf("a token would go to %q: %v", v.Address(), err)
		}
		if v.Token != nil && (spec.Provider.Vault.Token == nil || *v.Token != *v1alpha2.VaultToken("osm-system", "vault", "token")) {
			t.Fatalf("token %+v", v.Token)
		}
		if opened, err := build(cfg, accepted); err == nil && opened.String() != "Vault at https://"+net.JoinHostPort(spec.Provider.Vault.Host, "8200")+", PKI engine pki" {
			t.Fatalf("opened %s", opened)
		}
	default:
		t.Fatalf("kind %q", accepted.Kind())
	}
}
