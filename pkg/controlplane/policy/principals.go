package policy

import (
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Principals are the peers that are accepted at the other end of a connection. The zero value
// accepts nobody.
//
// What they are can only be learned with VisitPrincipals, which has a method for each kind: code
// that does not know a kind does not compile, so that it cannot take a narrow set for a wide one.
type Principals struct {
	anyWorkload bool
	only        []identity.Identity // sorted, distinct
}

// AnyWorkload accepts every workload that proves an identity of the mesh's trust domain.
func AnyWorkload() Principals { return Principals{anyWorkload: true} }

// Only accepts workloads that prove one of the identities; none accepts nobody.
func Only(identities ...identity.Identity) Principals {
	if len(identities) == 0 {
		return Principals{}
	}
	sorted := slices.SortedFunc(slices.Values(identities), identity.Compare)
	return Principals{only: slices.Compact(sorted)}
}

// PrincipalsVisitor turns each kind of Principals into a T.
type PrincipalsVisitor[T any] interface {
	// Nobody: no peer is accepted.
	Nobody() T
	// AnyWorkload: every workload of the trust domain is accepted.
	AnyWorkload() T
	// Only: exactly these are accepted. They are sorted and distinct, at least one, and not to be changed.
	Only(identities []identity.Identity) T
}

// VisitPrincipals calls the method of the visitor for the kind that p is.
func VisitPrincipals[T any](p Principals, visitor PrincipalsVisitor[T]) T {
	switch {
	case p.anyWorkload:
		return visitor.AnyWorkload()
	case len(p.only) > 0:
		return visitor.Only(p.only)
	default:
		return visitor.Nobody()
	}
}

// AcceptNobody reports whether p accepts no peer at all.
func (p Principals) AcceptNobody() bool { return !p.anyWorkload && len(p.only) == 0 }

// Accept reports whether p accepts a workload of the trust domain with that identity.
func (p Principals) Accept(id identity.Identity) bool {
	if p.anyWorkload {
		return true
	}
	_, found := slices.BinarySearchFunc(p.only, id, identity.Compare)
	return found
}

// Equal reports whether p and o accept the same peers.
func (p Principals) Equal(o Principals) bool {
	return p.anyWorkload == o.anyWorkload && slices.Equal(p.only, o.only)
}
