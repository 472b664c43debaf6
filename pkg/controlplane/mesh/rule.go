package mesh

import (
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Rule allows workloads to connect to other workloads. Without permissive mode, what no rule allows
// is denied. Rules only ever add: several for the same workloads allow what any of them allows.
//
// No Kubernetes object is translated into a Rule yet.
type Rule struct {
	// To is the identity of the workloads that may be connected to. The Services in front of them
	// may be used for it.
	To identity.Identity
	// From are the identities of the workloads that may connect; none allows nothing.
	From []identity.Identity
}

// Compare orders rules by To, then by From.
func (r *Rule) Compare(o *Rule) int {
	if c := identity.Compare(r.To, o.To); c != 0 {
		return c
	}
	return slices.CompareFunc(r.From, o.From, identity.Compare)
}
