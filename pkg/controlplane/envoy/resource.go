package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Kind is a type of xDS resource. The order is that of pushes: what is referred to goes before what
// refers to it, so that a route is sent after the clusters that it names (make before break).
type Kind int

// The kinds, in push order.
const (
	Clusters Kind = iota
	Endpoints
	Secrets
	Listeners
	Routes
	NumKinds
)

// Kinds lists the kinds that a View holds, in push order: all but Secrets, which each stream gets from
// the certificate authority instead of from the snapshot.
func Kinds() []Kind { return []Kind{Clusters, Endpoints, Listeners, Routes} }

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
	return [NumKinds]string{TypeCluster, TypeEndpoint, TypeSecret, TypeListener, TypeRoute}[k]
}

// KindOf returns the kind of a type URL; ok is false for types that osm does not serve.
func KindOf(url string) (k Kind, ok bool) {
	for k := range NumKinds {
		if k.TypeURL() == url {
			return k, true
		}
	}
	return 0, false
}

// String returns the short name that metrics and logs use: "cds", "eds", "sds", "lds" or "rds".
func (k Kind) String() string { return [NumKinds]string{"cds", "eds", "sds", "lds", "rds"}[k] }

// Resource is one named piece of configuration, encoded once and shared by every View and stream
// that refers to it. It never changes.
type Resource struct {
	Name string
	// Version is the hash of the content, the same on every replica.
	Version string
	// wire is the Resource as an element of DeltaDiscoveryResponse.resources. The Any in it is its
	// last field, and has the number of DiscoveryResponse.resources too: wire[body:] is that element.
	wire []byte
	body int
}

// Field numbers of the discovery service's messages.
const (
	fieldResources = 2 // of both responses
	fieldVersion   = 1 // of Resource, as the next two
	fieldBody      = 2
	fieldName      = 3
	fieldTypeURL   = 1 // of Any, as the next one
	fieldValue     = 2
)

// NewResource validates and encodes a message. An error means that osm built something that
// Envoy would reject; it names the resource and the field.
func NewResource(name string, message proto.Message) (*Resource, error) {
	content, err := checked(name, message)
	if err != nil {
		return nil, err
	}
	return newResource(name, versionOf(content.Value), content), nil
}

// NewVersioned is NewResource for content whose version says more than its hash can. The caller
// makes sure that two contents never share a version.
func NewVersioned(name, version string, message proto.Message) (*Resource, error) {
	content, err := checked(name, message)
	if err != nil {
		return nil, err
	}
	return newResource(name, version, content), nil
}

func checked(name string, message proto.Message) (*anypb.Any, error) {
	if v, ok := message.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return nil, fmt.Errorf("build %s %q: %w", message.ProtoReflect().Descriptor().Name(), name, err)
		}
	}
	content, err := encode(message)
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", message.ProtoReflect().Descriptor().Name(), name, err)
	}
	return content, nil
}

func newResource(name, version string, content *anypb.Any) *Resource {
	r := &Resource{Name: name, Version: version}
	bodyLen := sizeOfField(fieldTypeURL, len(content.TypeUrl)) + sizeOfField(fieldValue, len(content.Value))
	innerLen := sizeOfField(fieldVersion, len(version)) + sizeOfField(fieldName, len(name)) + sizeOfField(fieldBody, bodyLen)
	wire := make([]byte, 0, sizeOfField(fieldResources, innerLen))
	wire = appendLength(wire, fieldResources, innerLen)
	wire = append(appendLength(wire, fieldVersion, len(version)), version...)
	wire = append(appendLength(wire, fieldName, len(name)), name...)
	r.body = len(wire)
	wire = appendLength(wire, fieldBody, bodyLen)
	wire = append(appendLength(wire, fieldTypeURL, len(content.TypeUrl)), content.TypeUrl...)
	r.wire = append(appendLength(wire, fieldValue, len(content.Value)), content.Value...)
	return r
}

func sizeOfField(number protowire.Number, length int) int {
	return protowire.SizeTag(number) + protowire.SizeBytes(length)
}

func appendLength(b []byte, number protowire.Number, length int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.BytesType), uint64(length)) //nolint:gosec // a length
}

// Delta returns the resource encoded as one element of DeltaDiscoveryResponse.resources, its field
// number included: protobuf messages may be put together by putting their fields in a row. Not to
// be changed.
func (r *Resource) Delta() []byte { return r.wire }

// StateOfTheWorld returns the resource encoded as one element of DiscoveryResponse.resources, its
// field number included. Not to be changed.
func (r *Resource) StateOfTheWorld() []byte { return r.wire[r.body:] }

// Body decodes the resource's content, for people and tests: streams send the encoded form.
func (r *Resource) Body() *anypb.Any {
	element, _ := protowire.ConsumeBytes(r.wire[r.body+protowire.SizeTag(fieldBody):])
	body := &anypb.Any{}
	if err := proto.Unmarshal(element, body); err != nil {
		panic(fmt.Sprintf("decode %q, which was encoded here: %v", r.Name, err))
	}
	return body
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
