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
	// inboundBuffer is how many bytes a connection may buffer in each direction before its sender waits.
	inboundBuffer = 256 << 10
	// The limits of a request's headers are Envoy's defaults.
	maxHeadersKiB = 60
	maxHeaders    = 100
	// The HTTP/2 windows are how many bytes a peer may send before the application reads.
	streamWindow     = 256 << 10
	connectionWindow = 1 << 20
)

// reservedHeaders matches the headers by which the proxy informs the application or takes instructions,
// and the names that an application could confuse with them: CGI and its successors turn "-" and "_",
// and some of them any punctuation, into the same character. Envoy's own option for underscores would
// drop all headers with one, also those that applications use.
const reservedHeaders = `x[^a-z0-9](forwarded[^a-z0-9]client[^a-z0-9]cert|envoy[^a-z0-9].*)`

// protect keeps a peer from forging what the proxy tells the application, from disguising a path, and
// from holding the proxy's memory without limit.
func protect(m *hcmv3.HttpConnectionManager, limits mesh.Limits) {
	m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{
		Name: "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: packed(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
				KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: reservedHeaders}}},
			}},
		}}}),
	}}
	// Many applications take "/a/../b" and "//b" for "/b". An escaped slash stays: RabbitMQ, GitLab and
	// others use it as data, and no policy matches paths yet.
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
