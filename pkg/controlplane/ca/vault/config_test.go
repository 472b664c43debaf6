package vault_test

import (
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := func() vault.Config {
		return vault.Config{Address: "https://vault.vault:8200", Role: "openservicemesh", TrustDomain: domain, Login: vault.Login{TokenFile: "/token"}}
	}
	if _, err := vault.New(good()); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*vault.Config){
		`address "": want http://`:                        func(c *vault.Config) { c.Address = "" },
		`address "vault:8200": want`:                      func(c *vault.Config) { c.Address = "vault:8200" },
		`address "ftp://vault": want`:                     func(c *vault.Config) { c.Address = "ftp://vault" },
		`address "https://vault/v1": want`:                func(c *vault.Config) { c.Address = "https://vault/v1" },
		`address "https://me:xxxxx@vault": want`:          func(c *vault.Config) { c.Address = "https://me:secret@vault" },
		"address: parse":                                  func(c *vault.Config) { c.Address = "https://vault:port" },
		"a role of the PKI engine is required":            func(c *vault.Config) { c.Role = "" },
		"a trust domain is required":                      func(c *vault.Config) { c.TrustDomain = "" },
		"a CA bundle needs https":                         func(c *vault.Config) { c.Address, c.CABundle = "http://vault", []byte("x") },
		"the CA bundle holds no PEM certificate":          func(c *vault.Config) { c.CABundle = []byte("x") },
		`role "a b": not a name`:                          func(c *vault.Config) { c.Role = "a b" },
		`mount "../sys": not a name`:                      func(c *vault.Config) { c.Mount = "../sys" },
		`login mount "a?b": not a name`:                   func(c *vault.Config) { c.Login.Mount = "a?b" },
		`login role "a#": not a name`:                     func(c *vault.Config) { c.Login.Role = "a#" },
		"the file of a token to log in with, is required": func(c *vault.Config) { c.Login.TokenFile = "" },
		"poll -1s": func(c *vault.Config) { c.Poll = -time.Second },
		"certificate provider vault: a trust domain is require": func(c *vault.Config) { c.TrustDomain = "" },
	} {
		config := good()
		spoil(&config)
		_, err := vault.New(config)
		contains(t, err, want)
	}
}

// TestPlainTextWarning checks the warning that others can read the token, unless the server is on this host.
func TestPlainTextWarning(t *testing.T) {
	t.Parallel()
	for address, warned := range map[string]bool{
		"http://vault.vault:8200": true, "http://10.0.0.1:8200": true,
		"http://127.0.0.1:8200": false, "http://[::1]:8200": false, "http://localhost:8200": false, "https://vault.vault:8200": false,
	} {
		log := &journal{}
		config := newStub(t).config()
		config.Address, config.Log = address, log.logger()
		a, err := vault.New(config)
		must(t, err)
		must(t, a.Load(t.Context()))
		if got := log.contains("plain http"); got != warned {
			t.Errorf("%s: warned %v, want %v: %s", address, got, warned, log)
		}
	}
}
