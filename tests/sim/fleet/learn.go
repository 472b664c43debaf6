package fleet

import (
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// references is what the content of a resource makes an Envoy ask for.
type references struct {
	endpoints string   // of a cluster that gets its endpoints by EDS: the name to ask for
	secrets   []string // sorted
	routes    []string // sorted
	addresses []string // of an endpoint resource, sorted
}

// learn decodes a resource. It is called once per content.
func learn(kind Kind, body []byte) (references, error) {
	var refs references
	switch kind {
	case CDS:
		c := &clusterv3.Cluster{}
		if err := proto.Unmarshal(body, c); err != nil {
			return refs, fmt.Errorf("decode a cluster: %w", err)
		}
		if c.GetType() == clusterv3.Cluster_EDS {
			if refs.endpoints = c.GetEdsClusterConfig().GetServiceName(); refs.endpoints == "" {
				refs.endpoints = c.GetName()
			}
		}
		refs.walk(c.ProtoReflect())
	case LDS:
		l := &listenerv3.Listener{}
		if err := proto.Unmarshal(body, l); err != nil {
			return refs, fmt.Errorf("decode a listener: %w", err)
		}
		refs.walk(l.ProtoReflect())
	case EDS:
		a := &endpointv3.ClusterLoadAssignment{}
		if err := proto.Unmarshal(body, a); err != nil {
			return refs, fmt.Errorf("decode endpoints: %w", err)
		}
		for _, locality := range a.GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				refs.addresses = append(refs.addresses, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
			}
		}
	case SDS, RDS:
		// They refer to nothing that an Envoy asks for.
	}
	refs.secrets, refs.routes, refs.addresses = distinct(refs.secrets), distinct(refs.routes), distinct(refs.addresses)
	return refs, nil
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// walk finds the references to secrets and routes anywhere in a message, including packed messages.
// Extensions that are not linked in here refer to neither.
func (r *references) walk(m protoreflect.Message) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil {
			r.walk(inner.ProtoReflect())
		}
		return
	case *tlsv3.SdsSecretConfig:
		if v.GetSdsConfig().GetAds() != nil {
			r.secrets = append(r.secrets, v.GetName())
		}
		return
	case *hcmv3.Rds:
		r.routes = append(r.routes, v.GetRouteConfigName())
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, item protoreflect.Value) bool {
					r.walk(item.Message())
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				r.walk(value.List().Get(i).Message())
			}
		default:
			r.walk(value.Message())
		}
		return true
	})
}
