package provider_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/provider"
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
		values := release.Values{"osm": map[string]any{"certificateProvider": map[string]any{"kind": "vault"}, "vault": map[string]any{"host": host, "port": 8200}}}
		if got := provider.FromValues(values, "osm-system").Vault.Server(); got != want {
			t.Errorf("the server of host %q is %s, want %s", host, got, want)
		}
	}
}

// TestKinds: each kind that the API knows is here, and its flags start with its name, by which
// osm mesh rotate-root tells whose they are.
func TestKinds(t *testing.T) {
	var names []string
	for _, kind := range provider.Kinds() {
		names = append(names, kind.Name())
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		kind.Flags().Bind(set)
		set.VisitAll(func(f *pflag.Flag) {
			if !strings.HasPrefix(f.Name, kind.Name()+"-") {
				t.Errorf("--%s is a flag of %s; let it start with --%s-", f.Name, kind.Name(), kind.Name())
			}
		})
		if spec := kind.FromValues(release.Values{}, "osm-system"); provider.Of(spec).Name() != kind.Name() {
			t.Errorf("the values of %s describe a provider of kind %q", kind.Name(), spec.Kind())
		}
	}
	if !slices.Equal(names, api.ProviderKinds()) {
		t.Errorf("the kinds are %q, and the API has %q", names, api.ProviderKinds())
	}
}
