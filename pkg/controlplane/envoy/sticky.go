package envoy

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	setstatecommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// A sticky Service's cluster is a ring, on which the hash of the client's address is looked up. The client is
// the pod that the proxy belongs to: all of its connections come from the pod's own address.

const (
	// clientState is where a connection keeps its client's address, for the requests on it.
	clientState = "osm.client"
	// loadBalancer is the part of an endpoint's metadata that Envoy's load balancers read.
	loadBalancer = "envoy.lb"
)

// noteClient keeps the address of the connection's client. Envoy's own hash of a request's source does not
// serve: it believes x-forwarded-for, which an application that is itself a proxy passes on.
func noteClient() *listenerv3.Filter {
	return networkFilter("envoy.filters.network.set_filter_state", &setstatev3.Config{
		OnNewConnection: []*setstatecommonv3.FilterStateValue{{
			Key:        &setstatecommonv3.FilterStateValue_ObjectKey{ObjectKey: clientState},
			FactoryKey: "envoy.hashable_string",
			Value: &setstatecommonv3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"},
				}},
			}},
		}},
	})
}

// stickyRequests hashes what noteClient kept.
func stickyRequests() []*routev3.RouteAction_HashPolicy {
	return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
		FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: clientState},
	}}}
}

// stickyConnections hashes the address of the connection's client.
func stickyConnections() []*typev3.HashPolicy {
	return []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
}

// placeOnRing places an endpoint by its pod's address without the port, so that a client reaches the same pod at
// all ports of the Service.
func placeOnRing(pod netip.Addr) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"hash_key": structpb.NewStringValue(pod.String())}}
}
