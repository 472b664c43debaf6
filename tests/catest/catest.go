// Package catest makes certificate authorities for tests: issuers with their own root, CAs made without
// the code under test, and broken ones.
//
// No program imports it. Its invariant: every authority has its own root, so that no other
// authority trusts what it signs.
package catest

import (
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// New returns an issuer for the default trust domain, valid from now.
func New(t testing.TB) *ca.Issuer {
	t.Helper()
	issuer, _ := NewIssuer(t, time.Now)
	return issuer
}

// NewIssuer returns an issuer with a new root, made at the time of the clock.
func NewIssuer(t testing.TB, now func() time.Time) (*ca.Issuer, *ca.Root) {
	t.Helper()
	root, err := ca.NewRoot(now())
	must(t, err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: Domain, Now: now})
	must(t, err)
	return issuer, root
}

// NewRootSet combines several authorities.
func NewRootSet(t testing.TB, signer ca.Authority, passive ...ca.Truster) *ca.RootSet {
	t.Helper()
	roots, err := ca.NewRootSet(nil, signer, passive...)
	must(t, err)
	return roots
}

// Issue returns a service leaf of the workload with a name.
func Issue(t testing.TB, authority ca.Authority, name string) *ca.Leaf {
	t.Helper()
	leaf, err := authority.Issue(t.Context(), ca.Request{Identity: Workload(name), Usage: ca.UsageService})
	must(t, err)
	return leaf
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
