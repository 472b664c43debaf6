package envoy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

const trustDomain = identity.TrustDomain("cluster.local")

// similarIdentities are easily taken for one another: prefixes and suffixes of each other, with the
// separators of their spellings in their names.
func similarIdentities() []identity.Identity {
	names := []string{"a", "aa", "a-a", "a.a", "a.a.a", "sa", "ns", "a-", "b", "ba", "ab"}
	var all []identity.Identity
	for _, namespace := range names {
		for _, account := range names {
			all = append(all, identity.Identity{Namespace: namespace, ServiceAccount: account})
		}
	}
	return all
}

// randomPrincipals are of any kind; the predicate reports which identities they should accept.
func randomPrincipals(random *rand.Rand, all []identity.Identity) (policy.Principals, func(identity.Identity) bool) {
	switch random.IntN(6) {
	case 0:
		return policy.Principals{}, func(identity.Identity) bool { return false }
	case 1:
		return policy.AnyWorkload(), func(identity.Identity) bool { return true }
	}
	var some []identity.Identity
	for range random.IntN(5) {
		some = append(some, all[random.IntN(len(all))])
	}
	return policy.Only(some...), func(id identity.Identity) bool { return slices.Contains(some, id) }
}

// TestInboundAdmitsExactlyThePrincipals builds listeners for random Principals and asks an evaluator
// of Envoy's rules, which knows nothing of how they are built, who is let in on which port.
func TestInboundAdmitsExactlyThePrincipals(t *testing.T) {
	all := similarIdentities()
	ports := []mesh.InboundPort{{Number: 80, Protocol: mesh.HTTP}, {Number: 81, Protocol: mesh.GRPC}, {Number: 443, Protocol: mesh.TCP}}
	const otherPort = 9000
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 5))
		accepted := map[uint16]func(identity.Identity) bool{}
		proxy := policy.Proxy{Identity: all[0]}
		for _, port := range ports {
			from, accept := randomPrincipals(random, all)
			proxy.Inbound = append(proxy.Inbound, policy.Inbound{InboundPort: port, From: from})
			accepted[port.Number] = accept
		}
		proxy.OtherPorts, accepted[otherPort] = randomPrincipals(random, all)
		l := builtInbound(t, proxy)
		for port, accept := range accepted {
			for _, id := range all {
				want := map[bool]string{true: destinationOf(port, proxy), false: ""}[accept(id)]
				if got := destination(t, l, connection{port: port, alpn: "osm", names: []string{id.SPIFFE(trustDomain)}}); got != want {
					t.Errorf("seed %d, port %d: %s is sent to %q, want %q (%+v)", seed, port, id, got, want, proxy)
				}
			}
			for _, stranger := range strangers(port, all[random.IntN(len(all))]) {
				if got := destination(t, l, stranger); got != "" {
					t.Errorf("seed %d: %+v is sent to %q", seed, stranger, got)
				}
			}
		}
	}
}

// strangers are never let in, whatever the Principals.
func strangers(port uint16, id identity.Identity) []connection {
	list := []connection{
		{port: port, plain: true},
		{port: port, alpn: "osm"},                    // without a certificate
		{port: port, alpn: "osm", names: []string{}}, // a certificate without a URI
		{port: port, alpn: "h2", names: []string{id.SPIFFE(trustDomain)}},
		{port: port, names: []string{id.SPIFFE(trustDomain)}},
		{port: 15001, alpn: "osm", names: []string{id.SPIFFE(trustDomain)}},
	}
	for _, name := range []string{
		id.SPIFFE("cluster.loca"), id.SPIFFE("cluster.local.evil"), id.SPIFFE("cluster"), id.SPIFFE(""), id.SPIFFE("evil/" + trustDomain),
		"spiffe://cluster.local/nobody/x", "SPIFFE://cluster.local/ns/a/sa/a", "x" + id.SPIFFE(trustDomain), "spiffe://cluster.local/osm-controller", "",
	} {
		list = append(list, connection{port: port, alpn: "osm", names: []string{name}})
	}
	return list
}

// builtInbound is the inbound listener as proxies decode it.
func builtInbound(t *testing.T, proxy policy.Proxy) *listenerv3.Listener {
	t.Helper()
	enc := &encoder{built: func(Kind) {}}
	layer := enc.ownLayer(mesh.Settings{TrustDomain: trustDomain}, proxy)
	if enc.err != nil {
		t.Fatal(enc.err)
	}
	l := &listenerv3.Listener{}
	if err := layer.Set(Listeners).Named(ListenerInbound).Body().UnmarshalTo(l); err != nil {
		t.Fatal(err)
	}
	return l
}

// destinationOf is where admitted connections to the port go.
func destinationOf(port uint16, proxy policy.Proxy) string {
	for _, inbound := range proxy.Inbound {
		if inbound.Number == port {
			return fmt.Sprintf("%s|%d", map[bool]string{true: "inbound", false: "local"}[inbound.Protocol.IsHTTP()], port)
		}
	}
	return "local"
}

// TestClustersAcceptExactlyTheServers asks the same of the other end: which servers a client accepts
// behind a Service's port.
func TestClustersAcceptExactlyTheServers(t *testing.T) {
	all := similarIdentities()
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 6))
		port := &mesh.ServicePort{Number: 80}
		for range random.IntN(5) {
			port.Identities = append(port.Identities, all[random.IntN(len(all))])
		}
		service := &mesh.Service{Name: mesh.ServiceName{Namespace: "shop", Name: "store"}}
		for _, cluster := range []*clusterv3.Cluster{
			serviceClusterFor(trustDomain, service, port, false), serviceClusterFor(trustDomain, service, port, true), headlessClusterFor(trustDomain, service, port),
		} {
			context, ok := unpack(t, cluster.GetTransportSocket().GetTypedConfig()).(*tlsv3.UpstreamTlsContext)
			if !ok {
				t.Fatal("the cluster does not speak TLS by default")
			}
			for _, id := range all {
				if got, want := accepts(t, context.GetCommonTlsContext(), []string{id.SPIFFE(trustDomain)}), slices.Contains(port.Identities, id); got != want {
					t.Errorf("seed %d: server %s accepted: %t, want %t", seed, id, got, want)
				}
				if accepts(t, context.GetCommonTlsContext(), []string{id.SPIFFE("cluster.local.evil")}) {
					t.Errorf("seed %d: server %s of another trust domain is accepted", seed, id)
				}
			}
		}
	}
}
