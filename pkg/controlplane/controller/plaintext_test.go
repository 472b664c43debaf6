package controller

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// serviceWith has a port with meshed and plain endpoints, and a second one with the same.
func serviceWith(name string, meshed, plain int) *mesh.Service {
	s := &mesh.Service{Name: mesh.ServiceName{Namespace: "shop", Name: name}, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}
	for number := range uint16(2) {
		port := mesh.ServicePort{Number: 80 + number}
		for i := range meshed + plain {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8080+number)
			port.Endpoints = append(port.Endpoints, mesh.Endpoint{Address: at, Meshed: i < meshed})
		}
		s.Ports = append(s.Ports, port)
	}
	return s
}

func TestPlaintextEndpoints(t *testing.T) {
	services := []*mesh.Service{serviceWith("half", 3, 2), serviceWith("safe", 4, 0)}
	headless := serviceWith("headless", 0, 1)
	headless.Addresses = nil // clients dial its pods themselves: that is egress, and no endpoint of Envoy's
	services = append(services, headless)
	for name, c := range map[string]struct {
		settings mesh.Settings
		want     string
	}{
		"egress":     {mesh.Settings{Permissive: true, Egress: true}, `osm_plaintext_endpoints{namespace="shop",service="half"} 2` + "\n"},
		"no egress":  {mesh.Settings{Permissive: true}, ""},
		"not at all": {mesh.Settings{Egress: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := mesh.New(c.settings, services, nil)
			help := ""
			if c.want != "" {
				help = "# HELP osm_plaintext_endpoints Endpoints of meshed Services that clients reach in plain text, since they have no sidecar and egress is allowed; Services beyond the first 200 are one, without a name.\n# TYPE osm_plaintext_endpoints gauge\n"
			}
			if err := testutil.CollectAndCompare(newPlaintext(func() *mesh.Snapshot { return snapshot }), strings.NewReader(help+c.want)); err != nil {
				t.Error(err)
			}
		})
	}
}

// The metric names no more Services than it says, however many there are.
func TestPlaintextEndpointsAreBounded(t *testing.T) {
	var services []*mesh.Service
	for i := range plaintextNamed + 50 {
		services = append(services, serviceWith(fmt.Sprintf("s%04d", i), 0, 1))
	}
	snapshot := mesh.New(mesh.Settings{Permissive: true, Egress: true}, services, nil)
	if n := testutil.CollectAndCount(newPlaintext(func() *mesh.Snapshot { return snapshot })); n != plaintextNamed+1 {
		t.Errorf("%d series, want %d and one for the rest", n, plaintextNamed)
	}
}
