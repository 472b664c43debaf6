package ingest_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// TestAddresses lists which addresses are used from a slice and from a pod's status.
func TestAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"10.0.0.9": true, "192.168.1.1": true, "203.0.113.7": true, "100.64.0.1": true, "240.0.0.1": true,
		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false, "255.255.255.255": false,
		"169.254.169.254": false, "169.254.0.1": false, "224.0.0.1": false, "239.1.2.3": false,
		"::ffff:10.0.0.9": false, "::ffff:127.0.0.1": false, "10.0.0.9%eth0": false, "010.0.0.9": false, "10.0.0": false, "": false, "localhost": false, "10.0.0.9:80": false,
		"2001:db8::1": true, "fd00::1": true,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "fd00::1%eth0": false, "ff02::1": false, "ff0e::1": false,
	} {
		t.Run(address, func(t *testing.T) {
			objects := meshOfTwo()
			objects.Pods = append(objects.Pods, pod("shop", "client", address))
			objects.Services = []*corev1.Service{service("shop", "web")}
			s := slice("shop", "web", address, nil)
			if strings.Contains(address, ":") {
				s.AddressType = discoveryv1.AddressTypeIPv6
			}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{s}
			snapshot, problems := build(t, objects)
			if got := len(snapshot.Services()[0].Ports[0].Endpoints) == 1; got != want {
				t.Errorf("used as an endpoint: %t, want %t", got, want)
			}
			if got := len(snapshot.Workload(mesh.PodName{Namespace: "shop", Name: "client"}).Addresses) == 1; got != want {
				t.Errorf("used as a pod's address: %t, want %t", got, want)
			}
			if got := !strings.Contains(problems, "EndpointSlice shop/web-1: address \""); got != want {
				t.Errorf("problems: %q", problems)
			}
		})
	}
}
