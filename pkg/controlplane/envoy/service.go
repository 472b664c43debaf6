package envoy

import (
	"net/netip"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// serviceParts is what one Service adds to the configuration of everybody who may reach it.
type serviceParts struct {
	resources map[Kind][]*Resource
	shape     shape
	chains    []*listenerv3.FilterChain // one per port, for the outbound listener
}

// of returns the resources of a kind; a nil *serviceParts has none.
func (p *serviceParts) of(k Kind) []*Resource {
	if p == nil {
		return nil
	}
	return p.resources[k]
}

// shape is what the outbound listener depends on: not the endpoints, unless clients dial them.
type shape struct {
	addresses []netip.Addr
	ports     []portShape
}

type portShape struct {
	number   uint16
	protocol mesh.Protocol
	pods     []netip.AddrPort
}

func shapeOf(s *mesh.Service) shape {
	sh := shape{addresses: s.Addresses}
	for _, p := range s.Ports {
		sh.ports = append(sh.ports, portShape{p.Number, p.Protocol, p.Pods})
	}
	return sh
}

func (s shape) equal(o shape) bool {
	return slices.Equal(s.addresses, o.addresses) && slices.EqualFunc(s.ports, o.ports, func(p, q portShape) bool {
		return p.number == q.number && p.protocol == q.protocol && slices.Equal(p.pods, q.pods)
	})
}

// serviceParts builds a service's parts, and takes from before what is still the same.
func (to *collector) serviceParts(settings mesh.Settings, s *mesh.Service, before *serviceParts) *serviceParts {
	p := &serviceParts{resources: map[Kind][]*Resource{}, shape: shapeOf(s)}
	add := func(k Kind, name string, message proto.Message) {
		r := to.encode(k, name, message)
		for _, last := range before.of(k) {
			if r != nil && last.Name == r.Name && last.Version == r.Version {
				r = last
			}
		}
		p.resources[k] = append(p.resources[k], r)
	}
	for i := range s.Ports {
		port := &s.Ports[i]
		name := serviceCluster(s.Name, port.Number)
		if s.Headless() {
			add(Clusters, name, headlessClusterFor(settings.TrustDomain, s, port))
			continue
		}
		add(Clusters, name, serviceClusterFor(settings.TrustDomain, s, port, settings.Egress))
		add(Endpoints, name, endpointsFor(s, port, settings.Egress))
		if port.Protocol.IsHTTP() {
			route := serviceRoute(s.Name, port.Number)
			add(Routes, route, everythingTo(route, name, unsentOnly()))
		}
	}
	switch {
	case to.err != nil:
	case before != nil && before.shape.equal(p.shape):
		p.chains = before.chains
	default:
		p.chains = serviceChains(s)
	}
	return p
}
