package policy

import (
	"net/netip"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// PlaintextEndpoints counts the addresses of a Service's endpoints that clients reach in plain text:
// those without a proxy, if egress is allowed and some client may use the Service.
func (d *Decisions) PlaintextEndpoints(service *mesh.Service) int {
	if !d.settings.Egress || service.Headless() || !d.reachedBySomebody(service) {
		return 0
	}
	addresses := map[netip.Addr]bool{}
	for _, port := range service.Ports {
		for _, e := range port.Endpoints {
			if !e.Meshed {
				addresses[e.Address.Addr()] = true
			}
		}
	}
	return len(addresses)
}

func (d *Decisions) reachedBySomebody(service *mesh.Service) bool {
	if d.otherOutbound.Reaches(service) {
		return true
	}
	for i := range service.Ports {
		for _, id := range service.Ports[i].Identities {
			if !d.clients[id].AcceptNobody() {
				return true
			}
		}
	}
	return false
}
