package vault

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// TestZeroFlagsAreTheDefaults: flags that were not bound equal flags parsed without arguments.
func TestZeroFlagsAreTheDefaults(t *testing.T) {
	t.Parallel()
	var bound, zero Flags
	bound.Bind(pflag.NewFlagSet("", pflag.ContinueOnError))
	zero = zero.withDefaults()
	bound.AllowedHosts, zero.AllowedHosts = nil, nil // slices cannot be compared
	if got, want := strings.Join(fields(zero), " "), strings.Join(fields(bound), " "); got != want {
		t.Errorf("bound %s, zero %s", want, got)
	}
}

func fields(f Flags) []string {
	return []string{f.Address, f.Role, f.Mount, f.Namespace, f.LoginMount, f.LoginRole, f.LoginTokenFile, f.TokenFile, f.TokenSecret, f.CAFile}
}

// TestConfigOfSpec: the spec names the server and the role; everything else, above all the files, comes from the flags.
func TestConfigOfSpec(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	caFile, tokenFile := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(caFile, bundle, 0o600))
	must(t, os.WriteFile(tokenFile, []byte("hvs.one"), 0o600))
	flags := &Flags{
		Address: "https://own", Role: "own", Namespace: "platform", Mount: "team", LoginMount: "jwt", LoginRole: "login", LoginTokenFile: "/login",
		CAFile: caFile, TokenFile: tokenFile, AllowedHosts: []string{"vault:8200"},
	}
	for name, test := range map[string]struct {
		spec    v1alpha2.VaultProviderSpec
		address string
		bundle  string
	}{
		"login": {v1alpha2.VaultProviderSpec{Host: "vault", Port: 8200, Role: "mesh"}, "https://vault:8200", string(bundle)},
		"token": {v1alpha2.VaultProviderSpec{Host: "vault", Port: 8200, Role: "mesh", Protocol: "https", Token: v1alpha2.VaultToken("osm-system", "vault", "token")}, "https://vault:8200", string(bundle)},
		"http":  {v1alpha2.VaultProviderSpec{Host: "::1", Port: 8200, Role: "mesh", Protocol: "http"}, "http://[::1]:8200", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := flags.config(test.spec)
			must(t, err)
			if config.Address != test.address || config.Role != "mesh" || config.Namespace != "platform" || config.Mount != "team" {
				t.Errorf("asks %+v", config)
			}
			if config.Login != (Login{Mount: "jwt", Role: "login", TokenFile: "/login"}) || string(config.CABundle) != test.bundle {
				t.Errorf("login %+v, CA bundle %q", config.Login, config.CABundle)
			}
			if !slices.Equal(config.Hosts, []string{"vault:8200", "own:443"}) {
				t.Errorf("hosts %q", config.Hosts)
			}
			if (config.Token != nil) != (test.spec.Token != nil) {
				t.Fatalf("a ready-made token: %t", config.Token != nil)
			}
			if config.Token != nil {
				if got, err := config.Token(t.Context()); err != nil || got != "hvs.one" {
					t.Errorf("token %q, %v", got, err)
				}
			}
		})
	}
}

// TestSpecOfFlags: an address becomes protocol, host and port; a token without a Secret is still a token.
func TestSpecOfFlags(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://vault": "https://vault:443", "http://[::1]": "http://[::1]:80", "https://vault:8200/": "https://vault:8200",
		"https://vault/v1": "", "https://vault?a=b": "", "https://vault#a": "", "https://vault:70000": "", "https://vault:0": "", "ftp://vault": "", "https://u@vault": "", "https://:8200": "",
	} {
		spec, err := (&Flags{Address: address}).Spec("osm-system")
		switch {
		case want == "":
			if err == nil || !strings.Contains(err.Error(), "--vault-address: want https://") || strings.Contains(err.Error(), address) {
				t.Errorf("%s: %v", address, err)
			}
		case err != nil:
			t.Errorf("%s: %v", address, err)
		case spec.Vault.Address() != want || spec.Vault.Role != "openservicemesh" || spec.Vault.Token != nil:
			t.Errorf("%s: %+v", address, spec.Vault)
		}
	}
	spec, err := (&Flags{Address: "https://vault", TokenFile: "/token"}).Spec("osm-system")
	if err != nil || spec.Vault.Token == nil {
		t.Errorf("%+v, %v", spec.Vault, err)
	}
}

// TestTokenIsReadEachTime checks that each call reads the file, without a trailing line break.
func TestTokenIsReadEachTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	token := tokenFrom(file)
	if _, err := token(t.Context()); err == nil || !strings.Contains(err.Error(), "--vault-token-file") {
		t.Errorf("no file: %v", err)
	}
	for _, text := range []string{"one\n", "two"} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if got, err := token(t.Context()); err != nil || got != strings.TrimSpace(text) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	must(t, os.WriteFile(file, []byte(" \n"), 0o600))
	if _, err := token(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("empty file: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
