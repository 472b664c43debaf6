package release_test

import (
	"testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// TestVaultServer reads hosts as charts have them. A MeshRootCertificate has IPv6 addresses without brackets.
func TestVaultServer(t *testing.T) {
	for host, want := range map[string]string{
		"vault.vault.svc": "vault.vault.svc:8200",
		"10.0.0.1":        "10.0.0.1:8200",
		"fd00::1":         "[fd00::1]:8200",
		"[fd00::1]":       "[fd00::1]:8200",
	} {
		values := release.Values{"osm": map[string]any{"vault": map[string]any{"host": host, "port": 8200}}}
		if got := values.Provider(api.ProviderVault, "osm-system").Vault.Server(); got != want {
			t.Errorf("the server of host %q is %s, want %s", host, got, want)
		}
	}
}
