//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// testApps is the workloads that exchange traffic: a client and two servers in the mesh, and a client and a server
// outside. None of them runs on the node quiet, which is reserved for draining.
type testApps struct {
	quiet                          string
	client, server                 app
	unmeshedClient, unmeshedServer app
	// alias is a second Service in front of the servers.
	alias string
	// addresses of the servers' Services, by name: a ClusterIP needs no DNS.
	addresses map[string]string
}

// Ports of the Service "server"; its alias has the first protocol at another port.
const (
	portHTTP        = 80
	portHTTPSecond  = 81
	portH2C         = 82
	portGRPC        = 9000
	portTCP         = 7000
	portServerFirst = 7001
	portAlias       = 8888
)

const (
	nsClient   = "e2e-client"
	nsServer   = "e2e-server"
	nsUnmeshed = "e2e-unmeshed"
)

// effectTime is how long a change may take to reach all proxies; usually well below a second,
// unless the machine is very busy.
const effectTime = time.Minute

// serverPorts returns a port of the Service "server" for each protocol.
func serverPorts() []corev1.ServicePort {
	return []corev1.ServicePort{
		port("http", portHTTP, agent.PortHTTP),
		port("http-second", portHTTPSecond, agent.PortHTTPSecond),
		port("web", portH2C, agent.PortH2C, "kubernetes.io/h2c"),
		port("grpc", portGRPC, agent.PortGRPC),
		port("tcp", portTCP, agent.PortTCP),
		port("greeter", portServerFirst, agent.PortServerFirst, "tcp-server-first"),
	}
}

func (s *story) deployTestApps(t *testing.T) {
	quiet := s.shared(t)
	s.apps = testApps{
		quiet:          quiet,
		client:         app{s.namespace(t, nsClient), "client", quiet},
		server:         app{s.namespace(t, nsServer), "server", quiet},
		unmeshedClient: app{s.namespace(t, nsUnmeshed), "unmeshed-client", quiet},
		unmeshedServer: app{nsUnmeshed, "unmeshed-server", quiet},
		alias:          "server-alias",
		addresses:      map[string]string{},
	}
	s.osm(t, "namespace", "add", nsClient, nsServer, nsUser)
	ports := serverPorts()
	s.apps.addresses["server"] = s.serviceOf(t, s.apps.server, "server", "", ports...).Spec.ClusterIP
	s.apps.addresses["alias"] = s.serviceOf(t, s.apps.server, s.apps.alias, "", port("http-alias", portAlias, agent.PortHTTP)).Spec.ClusterIP
	s.apps.addresses["unmeshed-server"] = s.serviceOf(t, s.apps.unmeshedServer, "unmeshed-server", "", ports...).Spec.ClusterIP
	for _, pods := range [][]*corev1.Pod{s.deploy(t, s.apps.server, 2), s.deploy(t, s.apps.client, 1)} {
		for _, pod := range pods {
			if !injected(pod) {
				t.Errorf("pod %s/%s of the mesh has no sidecar", pod.Namespace, pod.Name)
			}
		}
	}
	for _, pods := range [][]*corev1.Pod{s.deploy(t, s.apps.unmeshedClient, 1), s.deploy(t, s.apps.unmeshedServer, 1)} {
		for _, pod := range pods {
			if injected(pod) {
				t.Errorf("pod %s/%s has a sidecar, although its namespace is not in the mesh", pod.Namespace, pod.Name)
			}
		}
	}
}

// onlyPod returns the single pod of an app and a client of its agent.
func (s *story) onlyPod(t *testing.T, a app) (*corev1.Pod, agent.Client) {
	t.Helper()
	pod := s.ready(t, a, 1)[0]
	return pod, s.direct(t, pod)
}

// at returns the address of a Service port by ClusterIP.
func (a testApps) at(service string, number int) string {
	return fmt.Sprintf("%s:%d", a.addresses[service], number)
}

// everything returns a call of each kind to the servers, by address, because DNS is not under test
// and may itself run on a node that is drained.
func (a testApps) everything() []agent.Call {
	return []agent.Call{
		{Protocol: agent.HTTP, Address: a.at("server", portHTTP)},
		{Protocol: agent.HTTP, Address: a.at("server", portHTTP), Keep: true},
		{Protocol: agent.H2C, Address: a.at("server", portH2C)},
		{Protocol: agent.GRPC, Address: a.at("server", portGRPC)},
		{Protocol: agent.TCP, Address: a.at("server", portTCP)},
		{Protocol: agent.ServerFirst, Address: a.at("server", portServerFirst)},
	}
}

// reach waits until a call succeeds.
func reach(t *testing.T, from agent.Client, what agent.Call) agent.Seen {
	t.Helper()
	var seen agent.Seen
	eventually(t, effectTime, func(ctx context.Context) string {
		answer, err := from.Call(ctx, what)
		if err != nil {
			return err.Error()
		}
		seen = answer.Seen
		return answer.Error
	})
	return seen
}

// lose waits until a call is refused.
func lose(t *testing.T, from agent.Client, what agent.Call) {
	t.Helper()
	eventually(t, effectTime, func(ctx context.Context) string {
		answer, err := from.Call(ctx, what)
		switch {
		case err != nil:
			return err.Error()
		case answer.OK():
			return fmt.Sprintf("%s %s is answered by %s", what.Protocol, what.Address, answer.Seen.Server)
		}
		return ""
	})
}
