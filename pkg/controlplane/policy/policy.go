package policy

import (
	"slices"
	"strings"

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

// Inbound is a port of the workload that peers may connect to.
type Inbound struct {
	mesh.InboundPort
	From Principals
}

// Proxy is everything that the proxies of one class let in.
type Proxy struct {
	Identity identity.Identity
	// Inbound, sorted by port.
	Inbound []Inbound
	// OtherPorts are the peers that may connect to ports that no Service leads to.
	OtherPorts Principals
}

// Equal reports whether p and o let in the same.
func (p Proxy) Equal(o Proxy) bool {
	return p.Identity == o.Identity && p.OtherPorts.Equal(o.OtherPorts) && slices.EqualFunc(p.Inbound, o.Inbound, func(a, b Inbound) bool {
		return a.InboundPort == b.InboundPort && a.From.Equal(b.From)
	})
}

// Proxy returns the decisions for the workload's class: all workloads of a class get equal ones.
func (d *Decisions) Proxy(w *mesh.Workload) Proxy {
	clients, named := d.clients[w.Identity]
	if !named {
		clients = d.otherClients
	}
	proxy := Proxy{Identity: w.Identity, OtherPorts: clients}
	if clients.AcceptNobody() {
		return proxy
	}
	for _, port := range w.Inbound {
		proxy.Inbound = append(proxy.Inbound, Inbound{InboundPort: port, From: clients})
	}
	return proxy
}

// Group names a set of identities that may send to the same destinations.
type Group string

// Outbound is what the workloads of a group may send to.
type Outbound struct {
	// Group is equal for two Outbounds of the same settings exactly if they are equal.
	Group Group
	// Servers are the workloads that may be connected to, through a Service or at their own addresses.
	Servers Principals
	// Egress says whether destinations outside the mesh may be reached.
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
