package xds

import (
	"bytes"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// Streams share the same bytes, and gRPC does not change them when it releases them.
func TestCodecSharesEncodedResources(t *testing.T) {
	p := newDeltaProxy(t, state{envoy.Clusters: {"a": 1, "b": 1}})
	o := p.state.offer(t)
	shared := o.view.Shared.Set(envoy.Clusters).Since(nil).Delta()
	before := bytes.Clone(shared)
	for range 2 {
		session := deltaSession{lists: newNameLists()}
		session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster}, o, instant)
		buffers, err := newCodec().Marshal(session.next(o, instant))
		if err != nil {
			t.Fatal(err)
		}
		if &buffers[0].ReadOnlyData()[0] != &shared[0] {
			t.Error("the resources were copied")
		}
		buffers.Ref()
		buffers.Free()
		buffers.Free()
	}
	if !bytes.Equal(before, shared) {
		t.Error("the resources were changed")
	}
}

func TestCodecLeavesMessagesToProtobuf(t *testing.T) {
	c := newCodec()
	want := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, ResourceNamesSubscribe: []string{"a"}}
	buffers, err := c.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &discoveryv3.DeltaDiscoveryRequest{}
	if err := c.Unmarshal(buffers, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if c.Name() != "proto" {
		t.Errorf("content subtype %q", c.Name())
	}
}
