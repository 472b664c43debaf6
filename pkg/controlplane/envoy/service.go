package envoy

import (
	"net/netip"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// serviceParts is what one Service adds to the configuration of everybody who may reach it.
type serviceParts struct {
	service   *mesh.Service // that they were built from
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
	external  []netip.AddrPort
	sticky    bool
	ports     []portShape
}

type portShape struct {
	number   uint16
	protocol mesh.Protocol
	pods     []netip.AddrPort
}

func shapeOf(s *mesh.Service) shape {
	sh := shape{addresses: s.Addresses, external: s.External, sticky: s.Sticky}
	for _, p := range s.Ports {
		sh.ports = append(sh.ports, portShape{p.Number, p.Protocol, p.Pods})
	}
	return sh
}

func (s shape) equal(o shape) bool {
	return s.sticky == o.sticky && slices.Equal(s.addresses, o.addresses) && slices.Equal(s.external, o.external) && slices.EqualFunc(s.ports, o.ports, func(p, q portShape) bool {
		return p.number == q.number && p.protocol == q.protocol && slices.Equal(p.pods, q.pods)
	})
}

// serviceParts builds a Service's parts. It takes from before, the parts of an earlier version, what
// cannot have changed: an endpoint that comes or goes touches neither cluster nor route.
func (e *encoder) serviceParts(settings mesh.Settings, s *mesh.Service, before *serviceParts) *serviceParts {
	p := &serviceParts{service: s, resources: map[Kind][]*Resource{}, shape: shapeOf(s)}
	for i := range s.Ports {
		port := &s.Ports[i]
		if before != nil && sameBesidesEndpoints(before.service, s, port) {
			p.take(before, Clusters, serviceCluster(s.Name, port.Number))
			p.take(before, Routes, serviceRoute(s.Name, port.Number))
		} else {
			e.addPort(p, settings, s, port, before)
		}
		if !s.Headless() {
			p.add(before, Endpoints, e.encode(Endpoints, serviceCluster(s.Name, port.Number), endpointsFor(s, port, settings.Egress)))
		}
	}
	switch {
	case e.err != nil:
	case before != nil && before.shape.equal(p.shape):
		p.chains = before.chains
	default:
		p.chains = serviceChains(s)
	}
	return p
}

// addPort builds what a port needs besides its endpoints.
func (e *encoder) addPort(p *serviceParts, settings mesh.Settings, s *mesh.Service, port *mesh.ServicePort, before *serviceParts) {
	name := serviceCluster(s.Name, port.Number)
	if s.Headless() {
		p.add(before, Clusters, e.encode(Clusters, name, headlessClusterFor(settings.TrustDomain, s, port)))
		return
	}
	p.add(before, Clusters, e.encode(Clusters, name, serviceClusterFor(settings.TrustDomain, s, port, settings.Egress)))
	if port.Protocol.IsHTTP() {
		route := serviceRoute(s.Name, port.Number)
		p.add(before, Routes, e.encode(Routes, route, routeTo(s, route, name)))
	}
}

// routeTo sends everything to the cluster of a Service's port.
func routeTo(s *mesh.Service, route, cluster string) *routev3.RouteConfiguration {
	config := everythingTo(route, cluster, unsentOnly())
	if s.Sticky {
		config.VirtualHosts[0].Routes[0].GetRoute().HashPolicy = stickyRequests()
	}
	return config
}

// sameBesidesEndpoints reports whether the port needs the same cluster and route as in was.
func sameBesidesEndpoints(was, s *mesh.Service, port *mesh.ServicePort) bool {
	return was.Headless() == s.Headless() && was.Sticky == s.Sticky && slices.ContainsFunc(was.Ports, func(o mesh.ServicePort) bool {
		return o.Number == port.Number && o.Protocol == port.Protocol && slices.Equal(o.Identities, port.Identities)
	})
}

// take copies the resource of that name from before, if there is one.
func (p *serviceParts) take(before *serviceParts, k Kind, name string) {
	if r := before.named(k, name); r != nil {
		p.resources[k] = append(p.resources[k], r)
	}
}

// add adds a resource, or the earlier one if both are equal.
func (p *serviceParts) add(before *serviceParts, k Kind, r *Resource) {
	if r != nil {
		if last := before.named(k, r.Name); last != nil && last.Version == r.Version {
			r = last
		}
	}
	p.resources[k] = append(p.resources[k], r)
}

func (p *serviceParts) named(k Kind, name string) *Resource {
	for _, r := range p.of(k) {
		if r.Name == name {
			return r
		}
	}
	return nil
}
