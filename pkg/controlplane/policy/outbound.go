package policy

import (
	"slices"
	"strings"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Group names a set of identities that may send to the same destinations.
type Group string

// Outbound is what the workloads of a group may send to.
type Outbound struct {
	// Group is equal for two Outbounds of the same settings exactly if they are equal.
	Group Group
	// Servers are the workloads that may be connected to, through a Service or at their own addresses.
	Servers Principals
	// Egress reports whether destinations outside the mesh may be reached.
	Egress bool
}

func newOutbound(settings mesh.Settings, servers Principals) *Outbound {
	return &Outbound{Group: VisitPrincipals(servers, groupOf{}), Servers: servers, Egress: settings.Egress}
}

// groupOf names a group by the servers that it may connect to.
type groupOf struct{}

func (groupOf) Nobody() Group      { return "" }
func (groupOf) AnyWorkload() Group { return "*" }
func (groupOf) Only(servers []identity.Identity) Group {
	names := make([]string, len(servers))
	for i, id := range servers {
		names[i] = id.String()
	}
	return Group(strings.Join(names, ","))
}

// Outbound returns what workloads of the identity may send to. Identities of one group get the same pointer.
func (d *Decisions) Outbound(id identity.Identity) *Outbound {
	if o := d.outbound[id]; o != nil {
		return o
	}
	return d.otherOutbound
}

// Reaches reports whether the group may use the Service: some workload behind it may be connected to.
// In permissive mode it may use all, also those without a workload.
func (o *Outbound) Reaches(s *mesh.Service) bool { return VisitPrincipals(o.Servers, reaches{s}) }

type reaches struct{ service *mesh.Service }

func (r reaches) Nobody() bool      { return false }
func (r reaches) AnyWorkload() bool { return true }
func (r reaches) Only(servers []identity.Identity) bool {
	for i := range r.service.Ports {
		for _, id := range r.service.Ports[i].Identities {
			if _, found := slices.BinarySearchFunc(servers, id, identity.Compare); found {
				return true
			}
		}
	}
	return false
}

// ServersOf are the peers that a client accepts behind a Service's port.
func ServersOf(port *mesh.ServicePort) Principals { return Only(port.Identities...) }

// ReachesAll reports whether the group may use every Service, whatever is behind it.
func (o *Outbound) ReachesAll() bool { return VisitPrincipals(o.Servers, reaches{&mesh.Service{}}) }
