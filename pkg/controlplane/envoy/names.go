package envoy

import (
	"net/netip"
	"strconv"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Every name that Envoy knows a thing by is minted here, so that two things never share one:
// a Kubernetes name contains neither "|" nor "/".
const (
	// SecretWorkload is the SDS name of the proxy's own certificate, whoever the proxy is.
	SecretWorkload = "workload"
	// SecretTrustBundle is the SDS name of the roots that peers are verified against.
	SecretTrustBundle = "trust-bundle"

	// ListenerOutbound and ListenerInbound are the listeners that the redirect leads to.
	ListenerOutbound = "outbound-listener"
	ListenerInbound  = "inbound-listener"

	clusterPods        = "pods"
	clusterPassthrough = "passthrough"
	clusterBlackhole   = "blackhole"
	clusterLocalAny    = "local"

	chainPods        = "pods"
	chainPassthrough = "passthrough"
	chainUnproxied   = "unproxied"
	chainBlackhole   = "blackhole"
	chainOtherPorts  = "other-ports"
	chainDNS         = "dns"

	alpnMesh = "osm"
)

// serviceCluster names a Service port's cluster, its endpoints and its filter chain.
func serviceCluster(name mesh.ServiceName, port uint16) string {
	return name.String() + "|" + portString(port)
}

func serviceRoute(name mesh.ServiceName, port uint16) string {
	return "outbound|" + serviceCluster(name, port)
}

// blockName names the listener of a block of pods' addresses, its cluster and its filter chain.
func blockName(prefix netip.Prefix) string { return "block|" + prefix.String() }

func localCluster(port uint16) string { return "local|" + portString(port) }

func inboundRoute(port uint16) string { return "inbound|" + portString(port) }

func inboundChain(port uint16) string { return "port|" + portString(port) }

func portString(port uint16) string { return strconv.Itoa(int(port)) }
