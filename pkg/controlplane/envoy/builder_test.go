package envoy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

func workload(i int) *mesh.Workload {
	return &mesh.Workload{
		Name:      mesh.PodName{Namespace: "shop", Name: fmt.Sprint("pod-", i)},
		Identity:  identity.Identity{Namespace: "shop", ServiceAccount: fmt.Sprint("account-", i)},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})},
	}
}

// A mesh whose workloads come and go with ever new identities must not fill the memory.
func TestBuilderForgetsClassesThatAreGone(t *testing.T) {
	b := NewBuilder(nil)
	settings := mesh.Settings{TrustDomain: "cluster.local", Permissive: true}
	for i := range 50 {
		if _, err := b.Build(mesh.New(settings, nil, []*mesh.Workload{workload(i), workload(i + 1)})); err != nil {
			t.Fatal(err)
		}
		if len(b.classes) != 2 {
			t.Fatalf("%d classes are kept for 2 workloads", len(b.classes))
		}
	}
	if _, err := b.Build(mesh.New(settings, nil, nil)); err != nil {
		t.Fatal(err)
	}
	if len(b.classes) != 0 {
		t.Errorf("%d classes are kept for no workload", len(b.classes))
	}
}

// A resource that cannot be built is an error, and leaves the Builder as it was.
func TestBuilderKeepsTheLastGoodConfig(t *testing.T) {
	b := NewBuilder(nil)
	settings := mesh.Settings{TrustDomain: "cluster.local", Permissive: true}
	good := &mesh.Service{
		Name: mesh.ServiceName{Namespace: "shop", Name: "store"}, Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.1")},
		Ports: []mesh.ServicePort{{Number: 80, Endpoints: []mesh.Endpoint{{Address: netip.MustParseAddrPort("10.0.0.1:80"), Meshed: true}}}},
	}
	first, err := b.Build(mesh.New(settings, []*mesh.Service{good}, []*mesh.Workload{workload(1)}))
	if err != nil {
		t.Fatal(err)
	}
	bad := *good
	bad.Name.Name = "\xff" // not UTF-8, which no Kubernetes name is
	if _, err := b.Build(mesh.New(settings, []*mesh.Service{&bad, good}, []*mesh.Workload{workload(2)})); err == nil {
		t.Fatal("a name that cannot be encoded was")
	}
	again, err := b.Build(first.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if again.shared != first.shared {
		t.Error("after a failed build the next one starts from something else")
	}
}
