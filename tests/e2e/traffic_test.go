//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// protocols calls the servers over every protocol. The client's identity at the server proves
// mTLS: only the server's proxy writes it, from the certificate that it verified. The TCP protocols
// cannot carry it; there, the connection's source shows that the server's proxy made it, and
// that proxy accepts no client without a certificate (which "permissive mode" shows).
func (s *story) protocols(t *testing.T) {
	_, client := s.onlyPod(t, s.apps.client)
	tests := []struct {
		name     string
		call     agent.Call
		port     int
		protocol string
		peer     bool
	}{
		{"HTTP", agent.Call{Protocol: agent.HTTP, Address: s.apps.at("server", portHTTP)}, agent.PortHTTP, "HTTP/1.1", true},
		{"HTTP at a second port", agent.Call{Protocol: agent.HTTP, Address: s.apps.at("server", portHTTPSecond)}, agent.PortHTTPSecond, "HTTP/1.1", true},
		{"HTTP by DNS name", agent.Call{Protocol: agent.HTTP, Address: fmt.Sprintf("server.%s:%d", nsServer, portHTTP)}, agent.PortHTTP, "HTTP/1.1", true},
		{"HTTP by a second Service", agent.Call{Protocol: agent.HTTP, Address: s.apps.at("alias", portAlias)}, agent.PortHTTP, "HTTP/1.1", true},
		{"HTTP/2", agent.Call{Protocol: agent.H2C, Address: s.apps.at("server", portH2C)}, agent.PortH2C, "HTTP/2.0", true},
		{"gRPC", agent.Call{Protocol: agent.GRPC, Address: s.apps.at("server", portGRPC)}, agent.PortGRPC, "grpc", true},
		{"TCP", agent.Call{Protocol: agent.TCP, Address: s.apps.at("server", portTCP)}, agent.PortTCP, "tcp", false},
		{"TCP, server first", agent.Call{Protocol: agent.ServerFirst, Address: s.apps.at("server", portServerFirst)}, agent.PortServerFirst, "tcp", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := reach(t, client, tt.call)
			want := ""
			if tt.peer {
				want = s.apps.client.spiffe()
			}
			if seen.Peer != want || seen.Protocol != tt.protocol || seen.Port != tt.port {
				t.Errorf("server saw %+v, want protocol %s at port %d from peer %q", seen, tt.protocol, tt.port, want)
			}
			if host, _, err := net.SplitHostPort(seen.Source); err != nil || !net.ParseIP(host).IsLoopback() {
				t.Errorf("connection came from %s, want the server's own proxy (a loopback address)", seen.Source)
			}
		})
	}
	t.Run("both servers respond", func(t *testing.T) {
		load := flow(t, client, s.apps.everything()...)
		tally := load.more(t, 100)
		if len(tally.Servers) != 2 {
			t.Errorf("%v responded to calls, want both servers", tally.Servers)
		}
		load.stop(t)
	})
	t.Run("by a server to its own Service", func(t *testing.T) {
		pod := s.ready(t, s.apps.server, 2)[0]
		load := flow(t, s.direct(t, pod), s.apps.everything()...)
		tally := load.more(t, 100)
		if len(tally.Servers) != 2 {
			t.Errorf("%s got responses from %v, want itself and the other", pod.Name, tally.Servers)
		}
		load.stop(t)
	})
	t.Run("to a pod's own address", func(t *testing.T) {
		for _, pod := range s.ready(t, s.apps.server, 2) {
			seen := call(t, client, agent.HTTP, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortHTTP))
			if seen.Peer != s.apps.client.spiffe() {
				t.Errorf("pod %s saw peer %q, want %q", pod.Name, seen.Peer, s.apps.client.spiffe())
			}
			call(t, client, agent.TCP, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortTCP))
		}
	})
	t.Run("to the address of a pod outside the mesh, among those inside", func(t *testing.T) {
		pod := s.ready(t, s.apps.unmeshedServer, 1)[0]
		if seen := call(t, client, agent.HTTP, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortHTTP)); seen.Peer != "" {
			t.Errorf("a server without a proxy saw peer %q", seen.Peer)
		}
		call(t, client, agent.ServerFirst, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortServerFirst))
	})
	t.Run("out of the mesh", func(t *testing.T) {
		seen := call(t, client, agent.HTTP, s.apps.at("unmeshed-server", portHTTP))
		if seen.Peer != "" {
			t.Errorf("a server without a proxy saw peer %q", seen.Peer)
		}
	})
	t.Run("TCP out of the mesh", func(t *testing.T) {
		call(t, client, agent.TCP, s.apps.at("unmeshed-server", portTCP))
		call(t, client, agent.ServerFirst, s.apps.at("unmeshed-server", portServerFirst))
	})
}

// permissive disables and enables permissive mode. There is no other policy yet, so disabling it means
// that no connection is allowed. A pod outside the mesh is refused in both cases, because it has
// no certificate: this is intended, there is no mode in which mTLS is optional.
func (s *story) permissive(t *testing.T) {
	_, client := s.onlyPod(t, s.apps.client)
	_, unmeshed := s.onlyPod(t, s.apps.unmeshedClient)
	s.unmeshedIsRefused(t, unmeshed)

	s.setPermissive(t, false)
	defer s.setPermissive(t, true)
	for _, call := range s.apps.everything() {
		lose(t, client, call)
	}
	s.unmeshedIsRefused(t, unmeshed)
	t.Log("with permissive mode off, every protocol is refused inside the mesh, too")

	s.setPermissive(t, true)
	for _, call := range s.apps.everything() {
		reach(t, client, call)
	}
	s.unmeshedIsRefused(t, unmeshed)
}

// unmeshedIsRefused tries Services and pods' own addresses; a server outside the mesh does respond.
func (s *story) unmeshedIsRefused(t *testing.T, unmeshed agent.Client) {
	t.Helper()
	call(t, unmeshed, agent.HTTP, s.apps.at("unmeshed-server", portHTTP))
	for _, c := range s.apps.everything() {
		refused(t, unmeshed, c.Protocol, c.Address)
	}
	for _, pod := range s.ready(t, s.apps.server, 2) {
		refused(t, unmeshed, agent.HTTP, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortHTTP))
		refused(t, unmeshed, agent.TCP, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortTCP))
		refused(t, unmeshed, agent.TCP, fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortTCPReady)) // no Service leads there
	}
}

func meshConfigs() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "config.openservicemesh.io", Version: "v1alpha2", Resource: "meshconfigs"}
}

func (s *story) setPermissive(t *testing.T, on bool) {
	t.Helper()
	if err := s.patchMeshConfig(t.Context(), fmt.Sprintf(`{"spec":{"traffic":{"enablePermissiveTrafficPolicyMode":%t}}}`, on)); err != nil {
		t.Fatal(err)
	}
}

// patchMeshConfig changes the settings of the mesh.
func (s *story) patchMeshConfig(ctx context.Context, patch string) error {
	_, err := s.dynamic.Resource(meshConfigs()).Namespace(api.DefaultNamespace).
		Patch(ctx, api.MeshConfigName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}
