package envoy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// account is the identity of the workload with that number.
func account(i int) identity.Identity { return workload(i).Identity }

// serviceOf leads to the workload with that number.
func serviceOf(i int) *mesh.Service {
	return &mesh.Service{
		Name: mesh.ServiceName{Namespace: "shop", Name: fmt.Sprint("service-", i)}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})},
		Ports: []mesh.ServicePort{{
			Number: 80, Protocol: mesh.HTTP, Identities: []identity.Identity{account(i)},
			Endpoints: []mesh.Endpoint{{Address: netip.AddrPortFrom(workload(i).Addresses[0], 8080), Meshed: true}},
		}},
	}
}

// groupMesh is four workloads with a Service each. 1 and 2 may connect to 3, and 4 may connect to 3 and 1.
type groupMesh struct {
	t        *testing.T
	builder  *Builder
	built    map[Kind]int
	settings mesh.Settings
	services []*mesh.Service
	pods     []*mesh.Workload
	rules    []*mesh.Rule
}

func newGroupMesh(t *testing.T, egress bool) *groupMesh {
	m := &groupMesh{t: t, built: map[Kind]int{}, settings: mesh.Settings{TrustDomain: trustDomain, Egress: egress}}
	m.builder = NewBuilder(func(k Kind) { m.built[k]++ })
	for i := range 4 {
		m.services, m.pods = append(m.services, serviceOf(i+1)), append(m.pods, workload(i+1))
	}
	m.rules = []*mesh.Rule{
		{To: account(1), From: []identity.Identity{account(4)}},
		{To: account(3), From: []identity.Identity{account(1), account(2), account(4)}},
	}
	return m
}

// build returns the Views of the four workloads, and clears the count of what was built before.
func (m *groupMesh) build() [5]View {
	m.t.Helper()
	clear(m.built)
	config, err := m.builder.Build(mesh.New(m.settings, slices.Clone(m.services), m.pods, m.rules...))
	if err != nil {
		m.t.Fatal(err)
	}
	var views [5]View
	for i := range views {
		views[i], _ = config.View(workload(i).Name)
	}
	return views
}

// wantTold compares the workloads whose shared part is another one.
func (m *groupMesh) wantTold(before, after [5]View, want ...int) {
	m.t.Helper()
	var told []int
	for i := range before {
		if before[i].Shared != after[i].Shared {
			told = append(told, i)
		}
	}
	if !slices.Equal(told, want) {
		m.t.Errorf("workloads %v are told, want %v", told, want)
	}
}

func TestGroupsShareWhatBothReach(t *testing.T) {
	m := newGroupMesh(t, false)
	views := m.build()
	if views[1].Shared != views[2].Shared {
		t.Error("two identities with equal rights share no Layer")
	}
	if views[1].Shared == views[3].Shared || views[1].Shared == views[4].Shared {
		t.Error("identities with different rights share a Layer")
	}
	for _, k := range []Kind{Clusters, Endpoints, Routes} {
		for _, r := range views[1].Shared.Set(k).All() {
			if other := views[4].Shared.Set(k).Named(r.Name); r.Name != clusterPods && other != r {
				t.Errorf("%s %s of two groups that reach it is two resources", k, r.Name)
			}
		}
	}
	for i, want := range map[int]string{1: "[shop/service-3|80]", 2: "[shop/service-3|80]", 3: "[]", 4: "[shop/service-1|80 shop/service-3|80]"} {
		if got := names(views[i].Shared.Set(Endpoints).All()); got != want {
			t.Errorf("workload %d has endpoints %s, want %s", i, got, want)
		}
	}
	// Three groups have a listener and a cluster each; nobody reaches Services 2 and 4.
	if want := map[Kind]int{Clusters: 3 + 2 + 3, Endpoints: 2, Routes: 2, Listeners: 3 + 4}; !maps.Equal(m.built, want) {
		t.Errorf("built %v, want %v", m.built, want)
	}
}

// At pods' own addresses, a group accepts only the servers that it may connect to.
func TestGroupAcceptsItsServersOnly(t *testing.T) {
	views := newGroupMesh(t, false).build()
	for client, servers := range map[int][]int{1: {3}, 3: nil, 4: {1, 3}} {
		cluster := &clusterv3.Cluster{}
		if err := views[client].Shared.Set(Clusters).Named(clusterPods).Body().UnmarshalTo(cluster); err != nil {
			t.Fatal(err)
		}
		context, ok := unpack(t, cluster.GetTransportSocket().GetTypedConfig()).(*tlsv3.UpstreamTlsContext)
		if !ok {
			t.Fatal("no TLS")
		}
		for i := range 6 {
			if got := accepts(t, context.GetCommonTlsContext(), []string{account(i).SPIFFE(trustDomain)}); got != slices.Contains(servers, i) {
				t.Errorf("workload %d accepts %d: %t", client, i, got)
			}
		}
	}
}

func TestGroupsAreToldOfWhatTheyReach(t *testing.T) {
	for _, egress := range []bool{false, true} {
		t.Run(fmt.Sprint("egress=", egress), func(t *testing.T) {
			m := newGroupMesh(t, egress)
			before := m.build()

			// An endpoint of a Service that one of the three groups reaches turns unready, then of one that nobody reaches.
			m.services[0] = serviceOf(1)
			m.services[0].Ports[0].Endpoints = nil
			after := m.build()
			m.wantTold(before, after, 4)
			if want := map[Kind]int{Endpoints: 1}; !maps.Equal(m.built, want) {
				t.Errorf("built %v, want %v", m.built, want)
			}
			m.services[1] = serviceOf(2)
			m.services[1].Ports[0].Endpoints = nil
			m.wantTold(after, m.build())
			if len(m.built) > 0 {
				t.Errorf("built %v for nobody", m.built)
			}

			// A Service that nobody may reach goes, and one that all groups but one reach.
			m.services = slices.Delete(m.services, 1, 2)
			m.wantTold(after, m.build())
			m.services = slices.Delete(m.services, 1, 2)
			gone := m.build()
			m.wantTold(after, gone, 1, 2, 4)
			if got := names(gone[1].Shared.Set(Endpoints).All()); got != "[]" {
				t.Errorf("workload 1 keeps %s", got)
			}

			// A rule is added: the client gets another group, the server another inbound listener, and nobody
			// else anything.
			m.rules = append(slices.Clone(m.rules), &mesh.Rule{To: account(4), From: []identity.Identity{account(3)}})
			ruled := m.build()
			m.wantTold(gone, ruled, 3)
			for i := range ruled {
				if told := gone[i].Own != ruled[i].Own; told != (i == 4) {
					t.Errorf("workload %d: another inbound listener: %t", i, told)
				}
			}
			if got := names(ruled[3].Shared.Set(Endpoints).All()); got != "[shop/service-4|80]" {
				t.Errorf("workload 3 has endpoints %s", got)
			}
		})
	}
}

// With egress, the listener of a block that only some groups have pods in is theirs alone.
func TestGroupsHaveTheBlocksOfTheirServers(t *testing.T) {
	m := newGroupMesh(t, true)
	moved := workload(1)
	moved.Addresses = []netip.Addr{netip.MustParseAddr("10.9.0.1")}
	m.pods[0] = moved
	views := m.build()
	for i, want := range map[int]string{1: "[block|10.0.0.0/22 outbound-listener]", 3: "[outbound-listener]", 4: "[block|10.0.0.0/22 block|10.9.0.0/22 outbound-listener]"} {
		if got := names(views[i].Shared.Set(Listeners).All()); got != want {
			t.Errorf("workload %d has %s, want %s", i, got, want)
		}
	}
	m.pods = slices.Clone(m.pods)
	again := workload(1)
	again.Addresses = []netip.Addr{netip.MustParseAddr("10.9.0.2")}
	m.pods[0] = again
	m.wantTold(views, m.build(), 4)
}

// A mesh whose groups come and go must not fill the memory.
func TestBuilderForgetsGroupsThatAreGone(t *testing.T) {
	m := newGroupMesh(t, true)
	m.build()
	if len(m.builder.groups) != 3 || len(m.builder.services) != 2 || len(m.builder.blocks) != 1 {
		t.Fatalf("%d groups, %d Services, %d blocks, want 3, 2, 1", len(m.builder.groups), len(m.builder.services), len(m.builder.blocks))
	}
	m.pods = m.pods[:3] // without 4, nobody reaches Service 1
	m.build()
	if len(m.builder.groups) != 2 || len(m.builder.services) != 1 || len(m.builder.blocks) != 1 {
		t.Errorf("%d groups, %d Services, %d blocks, want 2, 1, 1", len(m.builder.groups), len(m.builder.services), len(m.builder.blocks))
	}
	m.pods = nil
	m.build()
	if len(m.builder.groups)+len(m.builder.services)+len(m.builder.blocks)+len(m.builder.classes) != 0 {
		t.Errorf("%d groups, %d Services, %d blocks, %d classes are kept for no workload", len(m.builder.groups), len(m.builder.services), len(m.builder.blocks), len(m.builder.classes))
	}
}
