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

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
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
func blockListener(block policy.Block) *listenerv3.Listener {
	toPods := rangeMatcher(hosts(block.Pods), toChain(chainPods))
	return &listenerv3.Listener{
		Name:               blockName(block.Prefix),
		ListenerSpecifier:  &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		TrafficDirection:   corev3.TrafficDirection_OUTBOUND,
		ListenerFilters:    []*listenerv3.ListenerFilter{originalDestinationFilter()},
		FilterChains:       []*listenerv3.FilterChain{chainOf(chainPods, tcpProxy("outbound", clusterPods))},
		DefaultFilterChain: chainOf(chainPassthrough, tcpProxy("passthrough", clusterPassthrough)),
		FilterChainMatcher: byAddress([]*xdsmatcherv3.IPMatcher_IPRangeMatcher{toPods}),
	}
}

// changedBlocks collects what the blocks add and take away since before, and says whether there are
// others than there were.
func (to *collector) changedBlocks(before, now *policy.Outbound, edit *edits) (others bool) {
	was := map[netip.Prefix]policy.Block{}
	for _, block := range before.Blocks {
		was[block.Prefix] = block
	}
	others = len(before.Blocks) != len(now.Blocks)
	for _, block := range now.Blocks {
		last, known := was[block.Prefix]
		delete(was, block.Prefix)
		others = others || !known
		if !now.Egress || known && slices.Equal(last.Pods, block.Pods) {
			continue
		}
		name := blockName(block.Prefix)
		if !known {
			edit.add(Clusters, to.encode(Clusters, name, blockCluster(block.Prefix)))
		}
		edit.add(Listeners, to.encode(Listeners, name, blockListener(block)))
	}
	for prefix := range was {
		edit.remove(Clusters, blockName(prefix))
		edit.remove(Listeners, blockName(prefix))
	}
	return others
}

// edits are changes of Sets by kind.
type edits struct {
	added [NumKinds][]*Resource
	gone  [NumKinds]map[string]bool
}

func (e *edits) add(k Kind, resources ...*Resource) { e.added[k] = append(e.added[k], resources...) }

func (e *edits) remove(k Kind, name string) {
	if e.gone[k] == nil {
		e.gone[k] = map[string]bool{}
	}
	e.gone[k][name] = true
}

// editParts collects what services add and take away, and says whether the outbound listener has to
// know of it.
func (e *edits) editParts(before, now map[mesh.ServiceName]*serviceParts) (reshaped bool) {
	for name, p := range now {
		was := before[name]
		reshaped = reshaped || was == nil || p == nil || !was.shape.equal(p.shape)
		for _, k := range Kinds() {
			for _, r := range was.of(k) {
				e.remove(k, r.Name)
			}
			e.add(k, p.of(k)...)
		}
	}
	return reshaped
}
