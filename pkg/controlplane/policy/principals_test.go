package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

func id(namespace, account string) identity.Identity {
	return identity.Identity{Namespace: namespace, ServiceAccount: account}
}

// kind names the method that VisitPrincipals calls.
type kind struct{}

func (kind) Nobody() string                           { return "nobody" }
func (kind) AnyWorkload() string                      { return "any workload" }
func (kind) Only(accepted []identity.Identity) string { return fmt.Sprint("only ", accepted) }

func TestPrincipals(t *testing.T) {
	store, storeV2, bank := id("shop", "store"), id("shop", "store-v2"), id("bank", "store")
	all := []identity.Identity{store, storeV2, bank, {}}
	for _, test := range []struct {
		name       string
		principals policy.Principals
		kind       string
		accepted   []identity.Identity
	}{
		{"the zero value", policy.Principals{}, "nobody", nil},
		{"only nothing", policy.Only(), "nobody", nil},
		{"any workload", policy.AnyWorkload(), "any workload", all},
		{"only one", policy.Only(store), "only [shop/store]", []identity.Identity{store}},
		{"sorted and distinct", policy.Only(storeV2, bank, storeV2), "only [bank/store shop/store-v2]", []identity.Identity{storeV2, bank}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := policy.VisitPrincipals(test.principals, kind{}); got != test.kind {
				t.Errorf("visited as %q, want %q", got, test.kind)
			}
			if got := test.principals.AcceptNobody(); got != (len(test.accepted) == 0) {
				t.Errorf("AcceptNobody() = %t, accepted are %v", got, test.accepted)
			}
			for _, peer := range all {
				if got := test.principals.Accept(peer); got != slices.Contains(test.accepted, peer) {
					t.Errorf("Accept(%v) = %t", peer, got)
				}
			}
		})
	}
}

func TestPrincipalsEqual(t *testing.T) {
	distinct := []policy.Principals{{}, policy.AnyWorkload(), policy.Only(id("a", "b")), policy.Only(id("a", "b"), id("a", "c")), policy.Only(id("b", "a"))}
	for i, p := range distinct {
		for j, o := range distinct {
			if p.Equal(o) != (i == j) {
				t.Errorf("%d and %d: Equal is %t", i, j, p.Equal(o))
			}
		}
	}
	if !policy.Only(id("a", "b"), id("c", "d")).Equal(policy.Only(id("c", "d"), id("a", "b"), id("c", "d"))) {
		t.Error("the order of the identities makes a difference")
	}
}

// What a caller does to its list afterwards changes no decision.
func TestOnlyCopiesTheIdentities(t *testing.T) {
	list := []identity.Identity{id("shop", "store"), id("bank", "vault")}
	p := policy.Only(list...)
	list[0], list[1] = id("evil", "own"), id("evil", "own")
	if p.Accept(id("evil", "own")) || !p.Accept(id("shop", "store")) {
		t.Error("the decision follows the caller's slice")
	}
}
