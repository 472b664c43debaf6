package xds

import (
	"strconv"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	_ "google.golang.org/grpc/encoding/proto" // the codec that requests are decoded with

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// Field numbers of DiscoveryResponse and DeltaDiscoveryResponse; 2, resources, is in the resources'
// own encoding.
const (
	fieldVersionInfo = 1 // of DiscoveryResponse only
	fieldTypeURL     = 4
	fieldNonce       = 5
	fieldRemoved     = 6 // of DeltaDiscoveryResponse only
)

// response is an encoded message of either variant: resources, shared with all streams that send them,
// followed by a few fields of its own. Protobuf accepts fields in any order.
type response struct {
	typ     envoy.Kind
	buffers mem.BufferSlice
	size    int
	tail    []byte
}

// add appends encoded resources, which must never change: gRPC passes a SliceBuffer on without a
// copy, and does not pool it when it is done.
func (r *response) add(encoded []byte) {
	if len(encoded) > 0 {
		r.buffers = append(r.buffers, mem.SliceBuffer(encoded))
		r.size += len(encoded)
	}
}

// addEach appends resources one by one, without a copy.
func (r *response) addEach(resources []*envoy.Resource, encoded func(*envoy.Resource) []byte) {
	shared := make([]mem.SliceBuffer, len(resources)) // one allocation for all
	for i, resource := range resources {
		shared[i] = encoded(resource)
		r.buffers = append(r.buffers, &shared[i])
		r.size += len(shared[i])
	}
}

func (r *response) field(number protowire.Number, value string) {
	r.tail = protowire.AppendString(protowire.AppendTag(r.tail, number, protowire.BytesType), value)
}

// finish appends the stream's own fields.
func (r *response) finish(nonce uint64) *response {
	r.field(fieldTypeURL, r.typ.TypeURL())
	r.field(fieldNonce, strconv.FormatUint(nonce, 10))
	r.add(r.tail)
	return r
}

// codec passes on responses, which are already encoded, and leaves everything else to the protobuf codec.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal returns a response's buffers, which gRPC only reads.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*response); ok {
		return r.buffers, nil
	}
	return c.CodecV2.Marshal(v)
}
