package provider

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// vaultRoot returns the object of a root that a server signs with, with the token NAME/KEY or a login.
func vaultRoot(t testing.TB, server, token string) *v1alpha2.MeshRootCertificate {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(at.Port(), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	object := tresorRoot("planted", "", v1alpha2.RootRoleActive)
	spec := &v1alpha2.VaultProviderSpec{Host: at.Hostname(), Port: int32(port), Role: "mesh", Protocol: at.Scheme}
	if name, key, ok := strings.Cut(token, "/"); ok {
		spec.Token = &v1alpha2.VaultTokenSpec{SecretKeyRef: v1alpha2.SecretKeyRef{SecretRef: v1alpha2.SecretRef{Name: name, Namespace: "osm-system"}, Key: key}}
	}
	object.Spec.Provider = v1alpha2.ProviderSpec{Vault: spec}
	return object
}

// TestNoTokenForAPlantedServer: if an object names a server that the installation does not allow, no token is sent
// there, nor any other request, whatever the installation; readiness names the object and the fix.
func TestNoTokenForAPlantedServer(t *testing.T) {
	given := filepath.Join(t.TempDir(), "given")
	must(t, os.WriteFile(given, []byte("hvs.given"), 0o600))
	files := []string{"--vault-token-file=" + given, "--vault-token-secret=vault/token"}
	for name, args := range map[string][]string{
		"tresor":       files,
		"vault":        append([]string{"--certificate-provider=vault", "--vault-address=https://vault.vault:8200"}, files...),
		"cert-manager": append([]string{"--certificate-provider=cert-manager"}, files...),
	} {
		t.Run(name, func(t *testing.T) {
			var heard atomic.Int32
			planted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if heard.Add(1) == 1 {
					t.Errorf("the planted server was sent %s %s with token %q", r.Method, r.URL.Path, r.Header.Get("X-Vault-Token"))
				}
				w.WriteHeader(http.StatusForbidden)
			}))
			defer planted.Close()
			rig := newRig(t, parse(t, args...))
			w := &testCluster{rig: rig, t: t, dynamic: objects(t)}
			rig.cfg.Dynamic = w.dynamic
			w.write(vaultRoot(t, planted.URL, "vault/token"))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := Open(ctx, rig.cfg); err == nil {
				t.Error("opened")
			}
			if !slices.ContainsFunc(rig.ready.all(), func(reason string) bool {
				return strings.Contains(reason, "MeshRootCertificate planted: ") && strings.Contains(reason, "osm upgrade")
			}) {
				t.Errorf("readiness said %q", rig.ready.all())
			}
		})
	}
}
