package policy

import (
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Decisions are every allow and every deny that follows from a mesh's settings and rules. They never
// change.
type Decisions struct {
	settings mesh.Settings
	clients  map[identity.Identity]Principals // by the identity of the server
	outbound map[identity.Identity]*Outbound  // by the identity of the client
	// otherClients and otherOutbound are for identities that no rule names.
	otherClients  Principals
	otherOutbound *Outbound
}

// Decide takes the decisions. The order of the rules makes no difference.
func Decide(settings mesh.Settings, rules []*mesh.Rule) *Decisions {
	d := &Decisions{settings: settings, otherOutbound: newOutbound(settings, Principals{})}
	if settings.Permissive {
		d.otherClients, d.otherOutbound = AnyWorkload(), newOutbound(settings, AnyWorkload())
		return d
	}
	clients, servers := map[identity.Identity][]identity.Identity{}, map[identity.Identity][]identity.Identity{}
	for _, rule := range rules {
		clients[rule.To] = append(clients[rule.To], rule.From...)
		for _, from := range rule.From {
			servers[from] = append(servers[from], rule.To)
		}
	}
	d.clients = make(map[identity.Identity]Principals, len(clients))
	for to, from := range clients {
		d.clients[to] = Only(from...)
	}
	d.outbound = make(map[identity.Identity]*Outbound, len(servers))
	groups := map[Group]*Outbound{}
	for from, to := range servers {
		o := newOutbound(settings, Only(to...))
		if known := groups[o.Group]; known != nil {
			o = known
		}
		groups[o.Group], d.outbound[from] = o, o
	}
	return d
}
