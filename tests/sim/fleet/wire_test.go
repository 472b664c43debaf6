package fleet

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/osm-edge/osm/tests/reach"
)

func marshalled(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseDelta(t *testing.T) {
	message := marshalled(t, &discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: "s", TypeUrl: typeEndpoint, Nonce: "7", RemovedResources: []string{"x", "y"},
		Resources: []*discoveryv3.Resource{
			{Name: "a", Version: "v1", Aliases: []string{"other"}, Resource: &anypb.Any{TypeUrl: typeEndpoint, Value: []byte("body")}},
			{Name: "b", Version: "v2"},
		},
	})
	r := response{resources: []element{{name: []byte("left over")}}}
	if err := parseDelta(message, &r); err != nil {
		t.Fatal(err)
	}
	if r.kind != EDS || string(r.nonce) != "7" || len(r.resources) != 2 || len(r.removed) != 2 || string(r.removed[1]) != "y" {
		t.Errorf("got %+v", r)
	}
	if e := r.resources[0]; string(e.name) != "a" || string(e.version) != "v1" || string(e.body) != "body" {
		t.Errorf("got element %s %s %s", e.name, e.version, e.body)
	}
}

func TestParseSotw(t *testing.T) {
	body := append([]byte{0x0a, 4}, "name"...) // field 1
	message := marshalled(t, &discoveryv3.DiscoveryResponse{
		VersionInfo: "v", TypeUrl: typeRoute, Nonce: "n", Resources: []*anypb.Any{{TypeUrl: typeRoute, Value: body}},
	})
	var r response
	if err := parseSotw(message, &r); err != nil {
		t.Fatal(err)
	}
	if r.kind != RDS || string(r.version) != "v" || string(r.nonce) != "n" || len(r.resources) != 1 || string(r.resources[0].name) != "name" {
		t.Errorf("got %+v", r)
	}
}

func TestParseRefuses(t *testing.T) {
	good := marshalled(t, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeCluster, Nonce: "1"})
	for name, message := range map[string][]byte{
		"truncated":    good[:len(good)-1],
		"unknown type": marshalled(t, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: "type.googleapis.com/other"}),
		"no type":      {},
		"bad tag":      {0x07},
	} {
		var r response
		if err := parseDelta(message, &r); err == nil {
			t.Errorf("%s: delta accepts it", name)
		}
		if err := parseSotw(message, &r); err == nil {
			t.Errorf("%s: state of the world accepts it", name)
		}
	}
}

// FuzzParse compares the parser with the protobuf library.
func FuzzParse(f *testing.F) {
	f.Add(marshalled(f, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeCluster, Nonce: "1", RemovedResources: []string{"a"},
		Resources: []*discoveryv3.Resource{{Name: "c", Version: "v", Resource: &anypb.Any{Value: []byte("x")}}}}))
	f.Add([]byte{0x07})
	f.Add([]byte{0x0a, 0xff})
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, message []byte) {
		var r response
		err := parseDelta(message, &r)
		outcomes.Error(err)
		_ = parseSotw(message, &response{})
		want := &discoveryv3.DeltaDiscoveryResponse{}
		if proto.Unmarshal(message, want) != nil || err != nil {
			return
		}
		if len(r.resources) != len(want.GetResources()) || string(r.nonce) != want.GetNonce() || len(r.removed) != len(want.GetRemovedResources()) {
			t.Errorf("got %d resources, nonce %q, %d removed; want %v", len(r.resources), r.nonce, len(r.removed), want)
		}
	})
}
