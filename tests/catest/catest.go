// Package catest makes certificate authorities for tests of packages that use one.
//
// It is no part of a program, and package ca's own tests do without it. Its invariant: every authority has a root of its
// own, so that what one of them signed is strange to all others.
package catest

import (
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// New makes an authority of the default trust domain, valid from now.
func New(t testing.TB) *ca.Issuer {
	t.Helper()
	root, err := ca.NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: api.DefaultDomain})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}
