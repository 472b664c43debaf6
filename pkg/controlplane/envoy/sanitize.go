package envoy

import (
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

const (
	// inboundBuffer is what a connection may have in memory each way, before its sender has to wait.
	inboundBuffer = 256 << 10
	// A request's headers, as Envoy's defaults have it.
	maxHeadersKiB = 60
	maxHeaders    = 100
	// HTTP/2 windows: how much a sender may send before somebody reads.
	streamWindow     = 256 << 10
	connectionWindow = 1 << 20
)

// reservedHeaders are the headers by which the proxy speaks to the application or takes orders, and
// what applications could take for them: CGI and its heirs tell no "-" from "_", some of them no
// punctuation at all. Envoy's own switch for underscores would take every header with one from
// applications that never heard of the mesh.
const reservedHeaders = `x[^a-z0-9](forwarded[^a-z0-9]client[^a-z0-9]cert|envoy[^a-z0-9].*)`

// protect lets no peer forge what the proxy tells the application, hide a path from whoever decides
// by it, or hold the proxy's memory for ever.
func protect(m *hcmv3.HttpConnectionManager, limits mesh.Limits) {
	m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{
		Name: "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: packed(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
				KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: reservedHeaders}}},
			}},
		}}}),
	}}
	// "/a/../b" and "//b" are "/b" to many an application. An escaped slash stays: it is data to
	// RabbitMQ, GitLab and others, and nothing in the mesh decides by paths yet.
	m.NormalizePath = wrapperspb.Bool(true)
	m.MergeSlashes = true
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED

	m.RequestHeadersTimeout = durationpb.New(limits.RequestHeaders)
	m.StreamIdleTimeout = durationpb.New(limits.StreamIdle)
	m.MaxRequestHeadersKb = wrapperspb.UInt32(maxHeadersKiB)
	m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
		IdleTimeout:     durationpb.New(time.Hour), // of a connection without a request
		MaxHeadersCount: wrapperspb.UInt32(maxHeaders),
	}
	m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(limits.Streams),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}
