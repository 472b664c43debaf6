package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

const (
	renewPath  = "auth/token/renew-self"
	lookupPath = "auth/token/lookup-self"
)

// wait waits until a condition holds.
func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	eventually(t, what, func() error {
		if !condition() {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestTokenIsRenewed checks that one login is enough to use a token of 8 seconds for longer.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.setLogin(map[string]any{"token_ttl": "8s", "token_max_ttl": "1h"})
	a := m.loaded(nil)
	run(t, a)
	start := time.Now()
	wait(t, "two renewals", func() bool { return m.front.count(renewPath) >= 2 })
	if took := time.Since(start); took < 9*time.Second {
		t.Errorf("two renewals of a token of 8 s within %v, want one at each two thirds", took)
	}
	mustIssue(t, a, service("buyer"))
	if n := m.front.logins(); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// TestMaximumLifetime checks that a new login replaces a token before it reaches its maximum lifetime.
func TestMaximumLifetime(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.setLogin(map[string]any{"token_ttl": "3s", "token_max_ttl": "6s"})
	a := m.loaded(nil)
	run(t, a)
	wait(t, "a second login", func() bool { return m.front.logins() >= 2 })
	mustIssue(t, a, service("buyer"))
	if n := m.front.count(renewPath); n > 8 {
		t.Errorf("%d renewals of a token of 6 s", n)
	}
}

// TestBatchToken checks that tokens that cannot be renewed are replaced at two thirds of their lifetime.
func TestBatchToken(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.setLogin(map[string]any{"token_ttl": "3s", "token_type": "batch"})
	a := m.loaded(nil)
	run(t, a)
	wait(t, "a third login", func() bool { return m.front.logins() >= 3 })
	mustIssue(t, a, service("buyer"))
	if n := m.front.count(renewPath); n != 0 {
		t.Errorf("%d renewals", n)
	}
}

// TestExpiredWhileAsleep has a token that was not renewed, because the host slept.
func TestExpiredWhileAsleep(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.setLogin(map[string]any{"token_ttl": "1s", "token_max_ttl": "1s"})
	a := m.loaded(nil) // without Run
	wait(t, "the token to expire", func() bool {
		mustIssue(t, a, service("buyer"))
		return m.front.logins() >= 2
	})
}

// TestTokenRevoked has many callers with a revoked token: one logs in, and none of them fails.
func TestTokenRevoked(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a := m.loaded(nil)
	m.write("sys/leases/revoke-prefix/auth/jwt/login", nil)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			leaf, err := a.Issue(t.Context(), service(fmt.Sprint("w", i)))
			if err == nil {
				err = accepted(leaf, a.Trust())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := m.front.logins(); n != 2 {
		t.Errorf("%d logins, want the first and one shared by all", n)
	}
}

// TestPolicyRevoked checks that a valid token without permission to sign does not cause repeated logins.
func TestPolicyRevoked(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a := m.loaded(nil)
	grant := func(capability string) {
		m.write("sys/policies/acl/osm", map[string]any{"policy": `path "` + signPath + `" { capabilities = ["` + capability + `"] }`})
	}
	grant("deny")
	_, err := a.Issue(t.Context(), service("buyer"))
	contains(t, err, "issue service certificate for bookstore/buyer", m.front.server.URL, signPath, "403 permission denied", `policy that allows update on "pki/sign/openservicemesh"`)
	logins := m.front.logins()
	_, err = a.Issue(t.Context(), service("seller"))
	contains(t, err, "next attempt in", "permission denied")
	if n := m.front.logins(); n != logins {
		t.Errorf("%d more logins", n-logins)
	}
	grant("update")
	recovers(t, a)
}

// recovers waits until leaves are issued again.
func recovers(t *testing.T, a *vault.Authority) {
	t.Helper()
	eventually(t, "recovery without a restart", func() error {
		leaf, err := a.Issue(t.Context(), service("buyer"))
		if err == nil {
			err = accepted(leaf, a.Trust())
		}
		return err
	})
}

// TestLoginRefused checks the errors of a login, and that the token file is read at each attempt.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a := m.loaded(nil)
	revoke := func() { m.write("sys/leases/revoke-prefix/auth/jwt/login", nil) }
	for _, c := range []struct {
		name          string
		spoil, repair func()
		want          []string
	}{
		{"role removed", func() { m.remove("auth/jwt/role/osm") }, func() { m.setLogin(nil) }, []string{`log in with role "osm"`, "auth/jwt/login", "create auth/jwt/role/osm"}},
		{"other ServiceAccount", func() { m.writeToken("system:serviceaccount:shop:other") }, func() { m.writeToken("system:serviceaccount:osm-system:osm-controller") },
			[]string{"auth/jwt/login", "bind auth/jwt/role/osm to the control plane's ServiceAccount"}},
		{"method disabled", func() { m.remove("sys/auth/jwt") }, m.enableLogin, []string{"403 permission denied", "enable the auth method at auth/jwt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spoil()
			revoke()
			_, err := a.Issue(t.Context(), service("buyer"))
			contains(t, err, c.want...)
			c.repair()
			recovers(t, a)
		})
	}
}

// TestNoTokenFile checks that the server gets no request without a ServiceAccount token.
func TestNoTokenFile(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a := m.authority(func(c *vault.Config) { c.Login.TokenFile = m.dir + "/none" })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	contains(t, a.Load(ctx), "read the ServiceAccount token", "none: no such file")
	if n := m.front.logins(); n != 0 {
		t.Errorf("%d logins", n)
	}
}

// givenToken is a token from a Secret that changes.
type givenToken struct {
	text atomic.Pointer[string]
	fail atomic.Bool
}

func (g *givenToken) set(text string) { g.text.Store(&text) }

func (g *givenToken) get(context.Context) (string, error) {
	if g.fail.Load() {
		return "", errors.New(`Secret osm-system/vault has no key "token"`)
	}
	return *g.text.Load(), nil
}

// makeToken creates a token with the right policy.
func (m *mesh) makeToken(body map[string]any) string {
	body["policies"] = []string{"osm"}
	return m.write("auth/token/create-orphan", body)["client_token"].(string)
}

// TestGivenToken checks that a token from a Secret is renewed, and that a new one is used at once.
func TestGivenToken(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	var token givenToken
	first := m.makeToken(map[string]any{"period": "8s"})
	token.set(first + "\n") // as files end
	a := m.loaded(func(c *vault.Config) { c.Token = token.get })
	run(t, a)
	wait(t, "two renewals", func() bool { return m.front.count(renewPath) >= 2 })
	mustIssue(t, a, service("buyer"))

	m.write("auth/token/revoke", map[string]any{"token": first})
	_, err := a.Issue(t.Context(), service("buyer"))
	contains(t, err, "403 permission denied", "or replace the token if it expired or was revoked")
	token.set(m.makeToken(map[string]any{"period": "1h"}))
	recovers(t, a)

	token.fail.Store(true)
	_, err = a.Issue(t.Context(), service("buyer"))
	contains(t, err, "get the token for Vault at", `Secret osm-system/vault has no key "token"`)
	token.fail.Store(false)
	recovers(t, a)

	lookups := m.front.count(lookupPath)
	token.set(m.makeToken(map[string]any{"ttl": "1h", "renewable": false}))
	recovers(t, a)
	wait(t, "the third token to be looked up", func() bool { return m.front.count(lookupPath) > lookups })
	wait(t, "the log to say so", func() bool {
		return strings.Contains(m.journal.String(), "put a new one into its Secret before it expires")
	})
	for _, secret := range []string{first, *token.text.Load()} {
		if strings.Contains(m.journal.String(), secret) || strings.Contains(fmt.Sprint(err), secret) {
			t.Error("a token was logged")
		}
	}
	if n := m.front.logins(); n != 0 {
		t.Errorf("%d logins with a given token", n)
	}
}

// TestGivenTokenNearItsEnd checks that a token near its maximum lifetime is logged, and not renewed forever.
func TestGivenTokenNearItsEnd(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	var token givenToken
	token.set(m.makeToken(map[string]any{"ttl": "8s", "explicit_max_ttl": "10s"}))
	a := m.loaded(func(c *vault.Config) { c.Token = token.get })
	run(t, a)
	wait(t, "the log to say so", func() bool { return strings.Contains(m.journal.String(), "nears its maximum lifetime") })
	wait(t, "the end", func() bool {
		_, err := a.Issue(t.Context(), service("buyer"))
		return err != nil
	})
	if n := m.front.count(renewPath); n > 4 {
		t.Errorf("%d renewals", n)
	}
	token.set(m.makeToken(map[string]any{"ttl": "1h"}))
	recovers(t, a)
}

// TestTokenWithoutDefaultPolicy checks that a token that may only sign works until it expires.
func TestTokenWithoutDefaultPolicy(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	var token givenToken
	token.set(m.makeToken(map[string]any{"ttl": "1h", "no_default_policy": true}))
	a := m.loaded(func(c *vault.Config) { c.Token = token.get })
	run(t, a)
	wait(t, "the log to say so", func() bool { return strings.Contains(m.journal.String(), "cannot be looked up") })
	mustIssue(t, a, service("buyer"))
	if n := m.front.count(lookupPath); n != 1 {
		t.Errorf("looked up %d times", n)
	}
}

// TestRenewalOutlastsAnOutage checks that a failed renewal is retried without errors for callers.
func TestRenewalOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.setLogin(map[string]any{"token_ttl": "20s", "token_max_ttl": "1h"})
	a := m.loaded(nil)
	run(t, a)
	m.front.inject(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	wait(t, "two failed renewals", func() bool { return m.front.count(renewPath) >= 2 })
	m.front.inject(nil)
	wait(t, "a third", func() bool { return m.front.count(renewPath) >= 3 })
	mustIssue(t, a, service("buyer"))
	if n := m.front.logins(); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	if n := strings.Count(m.journal.String(), "not renewed, will retry"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
