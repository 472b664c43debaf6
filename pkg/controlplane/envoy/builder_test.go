package envoy

import (
	"fmt"
	"maps"
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

// sharedBy is what all proxies of a mesh with one group share.
func sharedBy(t *testing.T, config *Config) *Layer {
	t.Helper()
	if len(config.shared) != 1 {
		t.Fatalf("%d groups, want one", len(config.shared))
	}
	for _, layer := range config.shared {
		return layer
	}
	return nil
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

// A resource that cannot be built is an error and does not change the Builder.
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
	if sharedBy(t, again) != sharedBy(t, first) {
		t.Error("after a failed build the next one starts from something else")
	}
}

// A pod that comes or goes in a known block changes no listener that all proxies have; with egress, the
// one of its block.
func TestBuilderPodsChangeNoOutboundListener(t *testing.T) {
	for _, egress := range []bool{false, true} {
		t.Run(fmt.Sprint("egress=", egress), func(t *testing.T) {
			built := map[Kind]int{}
			b := NewBuilder(func(k Kind) { built[k]++ })
			settings := mesh.Settings{TrustDomain: "cluster.local", Permissive: true, Egress: egress}
			before, err := b.Build(mesh.New(settings, nil, []*mesh.Workload{workload(1), workload(2)}))
			if err != nil {
				t.Fatal(err)
			}
			clear(built)
			third := workload(3)
			third.Identity = workload(1).Identity
			after, err := b.Build(mesh.New(settings, nil, []*mesh.Workload{workload(1), workload(2), third}))
			if err != nil {
				t.Fatal(err)
			}
			changed := sharedBy(t, after).Set(Listeners).Since(sharedBy(t, before).Set(Listeners)).Changed
			want := map[Kind]int{}
			if egress {
				want[Listeners] = 1
			}
			if len(changed) != want[Listeners] || !maps.Equal(built, want) {
				t.Errorf("%s changed, built %v; want %v", names(changed), built, want)
			}
			for _, r := range changed {
				if r.Name == ListenerOutbound {
					t.Error("the outbound listener is sent to everybody")
				}
			}
		})
	}
}
