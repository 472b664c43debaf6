package policy

import (
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

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
