package envoy

import (
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// An evaluator of listeners, as Envoy's documentation describes them. It shares nothing with the code
// that builds listeners, and fails the test on everything that it does not know.

// connection is what a listener sees of a peer.
type connection struct {
	port uint16
	// plain has no TLS, and then neither ALPN nor names.
	plain bool
	alpn  string
	// names are the URI SANs of the peer's certificate, which the mesh's root signed; nil without a certificate.
	names []string
}

// destination is where the listener sends the connection: the name of a cluster or of a route
// configuration; "" if it refuses the connection.
func destination(t *testing.T, l *listenerv3.Listener, c connection) string {
	t.Helper()
	if l.GetDefaultFilterChain() != nil || l.GetFilterChainMatcher() != nil {
		t.Fatal("the evaluator knows chains' own match conditions only")
	}
	chain := chainFor(t, l.GetFilterChains(), c)
	if chain == nil || !handshake(t, chain, c) {
		return ""
	}
	if len(chain.GetFilters()) != 1 {
		t.Fatalf("chain %s has %d filters, the evaluator knows one", chain.GetName(), len(chain.GetFilters()))
	}
	switch filter := unpack(t, chain.GetFilters()[0].GetTypedConfig()).(type) {
	case *tcpproxyv3.TcpProxy:
		if filter.GetCluster() == "blackhole" {
			return ""
		}
		return filter.GetCluster()
	case *hcmv3.HttpConnectionManager:
		return filter.GetRds().GetRouteConfigName()
	default:
		t.Fatalf("chain %s has a %T, which the evaluator does not know", chain.GetName(), filter)
		return ""
	}
}

// chainFor narrows the chains down by one condition after the other, in Envoy's order: those that name
// the value win over those that name none, and Envoy does not come back.
func chainFor(t *testing.T, chains []*listenerv3.FilterChain, c connection) *listenerv3.FilterChain {
	t.Helper()
	for _, chain := range chains {
		onlyFields(t, chain.GetFilterChainMatch(), "destination_port", "transport_protocol", "application_protocols")
	}
	narrow := func(named, open func(*listenerv3.FilterChainMatch) bool) {
		var exact, rest []*listenerv3.FilterChain
		for _, chain := range chains {
			switch match := chain.GetFilterChainMatch(); {
			case open(match):
				rest = append(rest, chain)
			case named(match):
				exact = append(exact, chain)
			}
		}
		if chains = exact; len(exact) == 0 {
			chains = rest
		}
	}
	narrow(func(m *listenerv3.FilterChainMatch) bool { return m.GetDestinationPort().GetValue() == uint32(c.port) },
		func(m *listenerv3.FilterChainMatch) bool { return m.GetDestinationPort() == nil })
	narrow(func(m *listenerv3.FilterChainMatch) bool {
		return m.GetTransportProtocol() == map[bool]string{true: "raw_buffer", false: "tls"}[c.plain]
	}, func(m *listenerv3.FilterChainMatch) bool { return m.GetTransportProtocol() == "" })
	narrow(func(m *listenerv3.FilterChainMatch) bool { return slices.Contains(m.GetApplicationProtocols(), c.alpn) },
		func(m *listenerv3.FilterChainMatch) bool { return len(m.GetApplicationProtocols()) == 0 })
	switch len(chains) {
	case 0:
		return nil
	case 1:
		return chains[0]
	}
	t.Fatalf("%d chains match the same connection: Envoy refuses such a listener", len(chains))
	return nil
}

// handshake reports whether the chain accepts the peer's certificate.
func handshake(t *testing.T, chain *listenerv3.FilterChain, c connection) bool {
	t.Helper()
	if chain.GetTransportSocket() == nil {
		return true
	}
	context, ok := unpack(t, chain.GetTransportSocket().GetTypedConfig()).(*tlsv3.DownstreamTlsContext)
	if !ok {
		t.Fatalf("chain %s has another transport socket than TLS", chain.GetName())
	}
	if c.plain {
		return false
	}
	if c.names == nil {
		return !context.GetRequireClientCertificate().GetValue() // matchers see certificates only
	}
	return accepts(t, context.GetCommonTlsContext(), c.names)
}

// accepts reports whether a certificate of the mesh's root with these URI SANs is accepted.
func accepts(t *testing.T, context *tlsv3.CommonTlsContext, names []string) bool {
	t.Helper()
	validation := context.GetCombinedValidationContext().GetDefaultValidationContext()
	onlyFields(t, validation, "match_typed_subject_alt_names")
	matchers := validation.GetMatchTypedSubjectAltNames()
	if len(matchers) == 0 {
		return true // any certificate of the root
	}
	for _, m := range matchers {
		for _, name := range names {
			if m.GetSanType() == tlsv3.SubjectAltNameMatcher_URI && matches(t, m.GetMatcher(), name) {
				return true
			}
		}
	}
	return false
}

func matches(t *testing.T, m *matcherv3.StringMatcher, s string) bool {
	t.Helper()
	if m.GetIgnoreCase() {
		t.Fatal("the evaluator knows matchers that heed the case only")
	}
	switch pattern := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return s == pattern.Exact
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(s, pattern.Prefix)
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(s, pattern.Suffix)
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(s, pattern.Contains)
	default:
		t.Fatalf("the evaluator does not know %T", pattern)
		return false
	}
}

// onlyFields fails if the message has other fields than these.
func onlyFields(t *testing.T, message proto.Message, known ...string) {
	t.Helper()
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(known, string(field.Name())) {
			t.Fatalf("%s has %s, which the evaluator does not know", field.ContainingMessage().Name(), field.Name())
		}
		return true
	})
}

func unpack(t *testing.T, packed *anypb.Any) proto.Message {
	t.Helper()
	message, err := packed.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return message
}
