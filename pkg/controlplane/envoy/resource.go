package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Kind is a type of xDS resource, in the order in which changes are pushed: a route is sent after
// the clusters that it names (make before break).
type Kind uint8

// The kinds that a View holds.
const (
	Clusters Kind = iota
	Endpoints
	Listeners
	Routes
	numKinds
)

// Kinds lists the kinds in push order.
func Kinds() [numKinds]Kind { return [numKinds]Kind{Clusters, Endpoints, Listeners, Routes} }

const typePrefix = "type.googleapis.com/"

// Type URLs, as proxies ask for them.
const (
	TypeCluster  = typePrefix + "envoy.config.cluster.v3.Cluster"
	TypeEndpoint = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener = typePrefix + "envoy.config.listener.v3.Listener"
	TypeRoute    = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	TypeSecret   = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
)

// TypeURL returns the kind's type URL.
func (k Kind) TypeURL() string {
	return [numKinds]string{TypeCluster, TypeEndpoint, TypeListener, TypeRoute}[k]
}

// Resource is one named piece of configuration, encoded once and shared by every View and stream
// that refers to it. It never changes.
type Resource struct {
	Name string
	// Version is the hash of the content, the same on every replica.
	Version string
	Body    *anypb.Any
}

// NewResource validates and encodes a message. An error means that osm built something that
// Envoy would reject; it names the resource and the field.
func NewResource(name string, message proto.Message) (*Resource, error) {
	if v, ok := message.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return nil, fmt.Errorf("build %s %q: %w", message.ProtoReflect().Descriptor().Name(), name, err)
		}
	}
	body, err := encode(message)
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", message.ProtoReflect().Descriptor().Name(), name, err)
	}
	return &Resource{Name: name, Version: versionOf(body.Value), Body: body}, nil
}

// versionOf is the content hash: 128 bits, enough that two contents never share a version.
func versionOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

// encode is anypb.New with sorted map keys, so that the bytes are reproducible.
func encode(message proto.Message) (*anypb.Any, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: typePrefix + string(message.ProtoReflect().Descriptor().FullName()), Value: value}, nil
}

// packed encodes a message that goes into another one. The messages are osm's own and contain
// only valid UTF-8 from Kubernetes names, which is all that encoding can fail on.
func packed(message proto.Message) *anypb.Any {
	body, err := encode(message)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", message, err))
	}
	return body
}
