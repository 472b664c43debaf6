package envoy

import (
	"net/netip"
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	setstatecommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
)

// With egress, an address in a block of pods may be the mesh's or not. Each block has a listener of
// its own inside Envoy that knows its pods, so that a pod that comes or goes changes that small
// listener and not the outbound one. Connections to addresses in a block pass through both.

// internalDestination is how the inner listener's original_dst filter learns where a connection goes.
const internalDestination = "envoy.filters.listener.original_dst.local_ip"

// blockChain hands a connection and where it goes to the block's listener.
func blockChain(prefix netip.Prefix) *listenerv3.FilterChain {
	name := blockName(prefix)
	setState := networkFilter("envoy.filters.network.set_filter_state", &setstatev3.Config{
		OnNewConnection: []*setstatecommonv3.FilterStateValue{{
			Key:                &setstatecommonv3.FilterStateValue_ObjectKey{ObjectKey: internalDestination},
			SharedWithUpstream: setstatecommonv3.FilterStateValue_ONCE,
			Value: &setstatecommonv3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: "%DOWNSTREAM_LOCAL_ADDRESS%"},
				}},
			}},
		}},
	})
	return chainOf(name, setState, tcpForward("block", name)) // the inner listener logs
}

// blockCluster leads to the block's listener.
func blockCluster(prefix netip.Prefix) *clusterv3.Cluster {
	name := blockName(prefix)
	c := cluster(name, clusterv3.Cluster_STATIC)
	c.LoadAssignment = loadAssignment(name, []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
			AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
		}}},
	}}}})
	c.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.internal_upstream",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&internalupstreamv3.InternalUpstreamTransport{
			TransportSocket: rawBuffer(),
		})},
	}
	return c
}

// blockListener sends what goes to the mesh's pods over mTLS, and all else on as it is.
func blockListener(block netip.Prefix, pods []netip.Addr) *listenerv3.Listener {
	toPods := rangeMatcher(hosts(pods), toChain(chainPods))
	return &listenerv3.Listener{
		Name:               blockName(block),
		ListenerSpecifier:  &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		TrafficDirection:   corev3.TrafficDirection_OUTBOUND,
		ListenerFilters:    []*listenerv3.ListenerFilter{originalDestinationFilter()},
		FilterChains:       []*listenerv3.FilterChain{chainOf(chainPods, tcpProxy("outbound", clusterPods))},
		DefaultFilterChain: chainOf(chainPassthrough, tcpProxy("passthrough", clusterPassthrough)),
		FilterChainMatcher: byAddress([]*xdsmatcherv3.IPMatcher_IPRangeMatcher{toPods}),
	}
}

// blockParts are the resources of a block, the same for every group that reaches a pod in it. The
// listener knows all pods of the mesh in the block; which of them the group accepts is up to its own
// cluster of pods' addresses.
type blockParts struct {
	prefix            netip.Prefix
	members           []netip.Addr
	cluster, listener *Resource
}

// blockPartsOf returns the parts of a block with a pod in it.
func (u *update) blockPartsOf(prefix netip.Prefix) *blockParts {
	if p := u.blocks[prefix]; p != nil {
		return p
	}
	members, was := u.pods.members[prefix], u.before.blocks[prefix]
	if was != nil && slices.Equal(was.members, members) {
		return was
	}
	p := &blockParts{prefix: prefix, members: members}
	if was != nil {
		p.cluster = was.cluster
	} else {
		p.cluster = u.encode(Clusters, blockName(prefix), blockCluster(prefix))
	}
	p.listener = u.encode(Listeners, blockName(prefix), blockListener(prefix, members))
	u.blocks[prefix] = p
	return p
}

// editPods notes what the pods that the group reaches add and remove, and reports whether the outbound
// listener depends on it. was is nil for a group that did not exist.
func (u *update) editPods(edit *edits, was, is *group) (relisten bool) {
	if was == nil {
		was = &group{}
	}
	if u.settings.Egress {
		is.blocks = nil
		for _, prefix := range is.pods.blocks {
			is.blocks = append(is.blocks, u.blockPartsOf(prefix))
		}
		compare := func(a, b *blockParts) int { return a.prefix.Compare(b.prefix) }
		walk(was.blocks, is.blocks, compare, func(before, now *blockParts) {
			switch {
			case now == nil:
				edit.remove(Clusters, blockName(before.prefix))
				edit.remove(Listeners, blockName(before.prefix))
			case before != now:
				edit.add(Clusters, now.cluster)
				edit.add(Listeners, now.listener)
			}
		})
	}
	return !slices.Equal(was.pods.blocks, is.pods.blocks) || !slices.Equal(was.pods.unproxied, is.pods.unproxied)
}
