package envoy

import (
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// Builder makes the Config of one snapshot after another. It remembers what it built, so that its
// work follows what changed between two snapshots; what it returns depends on the snapshot alone.
// Make one with NewBuilder; not safe for concurrent use.
type Builder struct {
	built func(Kind)
	state
}

// state is what the last Config was made of.
type state struct {
	snapshot  *mesh.Snapshot
	decisions *policy.Decisions
	outbounds []*policy.Outbound // of the workloads that exist, each group once
	pods      *podIndex
	fixed     []*Resource // clusters that every proxy has
	classes   map[mesh.Class]*class
	services  map[mesh.ServiceName]*serviceParts // of the Services that some group reaches
	blocks    map[netip.Prefix]*blockParts       // with egress only
	groups    map[policy.Group]*group
	config    *Config // nil before the first
}

// NewBuilder returns a Builder without memory. built, which may be nil, is told of each resource that
// is encoded.
func NewBuilder(built func(Kind)) *Builder {
	if built == nil {
		built = func(Kind) {}
	}
	return &Builder{built: built}
}

// Build makes the configuration of a snapshot. An error means that osm would have produced something
// that Envoy rejects; the Builder and its last Config are then unchanged.
func (b *Builder) Build(snapshot *mesh.Snapshot) (*Config, error) {
	before := b.state
	if before.config == nil || before.snapshot.Settings() != snapshot.Settings() {
		before = state{
			snapshot: mesh.New(snapshot.Settings(), nil, nil), classes: map[mesh.Class]*class{}, groups: map[policy.Group]*group{},
			services: map[mesh.ServiceName]*serviceParts{}, blocks: map[netip.Prefix]*blockParts{},
		}
	}
	now := newUpdate(&encoder{built: b.built}, before, snapshot)
	now.buildClasses()
	now.buildGroups()
	if now.err != nil {
		return nil, now.err
	}
	b.state = now.commit()
	return b.config, nil
}

// update is what one snapshot changes. It writes nothing to the state before until commit.
type update struct {
	*encoder
	before    state
	snapshot  *mesh.Snapshot
	settings  mesh.Settings
	decisions *policy.Decisions
	pods      *podIndex
	fixed     []*Resource
	outbounds []*policy.Outbound
	own       []*Layer // of the workloads, in the order of the snapshot's list

	classes  patch[mesh.Class, *class]
	services patch[mesh.ServiceName, *serviceParts]
	blocks   patch[netip.Prefix, *blockParts]
	groups   patch[policy.Group, *group]
}

func newUpdate(e *encoder, before state, snapshot *mesh.Snapshot) *update {
	u := &update{
		encoder: e, before: before, snapshot: snapshot, settings: snapshot.Settings(),
		decisions: before.decisions, pods: before.pods, fixed: before.fixed, outbounds: before.outbounds,
		classes: patch[mesh.Class, *class]{}, services: patch[mesh.ServiceName, *serviceParts]{},
		blocks: patch[netip.Prefix, *blockParts]{}, groups: patch[policy.Group, *group]{},
	}
	if before.config == nil {
		u.fixed = u.fixedClusters()
	}
	if before.config == nil || !snapshot.SameRules(before.snapshot) {
		u.decisions = policy.Decide(u.settings, snapshot.Rules())
	}
	if before.config == nil || !snapshot.SameWorkloads(before.snapshot) {
		u.pods = newPodIndex(snapshot.Workloads(), u.settings.Egress)
	}
	return u
}

// sameWorkloads reports whether the workloads and the decisions about them are those before.
func (u *update) sameWorkloads() bool {
	return u.pods == u.before.pods && u.decisions == u.before.decisions
}

// commit applies the update to the state before, which is lost, and returns the new one.
func (u *update) commit() state {
	now := u.before
	now.snapshot, now.decisions, now.pods, now.fixed, now.outbounds = u.snapshot, u.decisions, u.pods, u.fixed, u.outbounds
	u.classes.apply(now.classes)
	u.services.apply(now.services)
	u.blocks.apply(now.blocks)
	u.groups.apply(now.groups)
	now.config = newConfig(u, now.groups)
	return now
}

// patch is changes of a map; the zero value stands for a key that is removed.
type patch[K, V comparable] map[K]V

func (p patch[K, V]) apply(to map[K]V) {
	var removed V
	for key, value := range p {
		if to[key] = value; value == removed {
			delete(to, key)
		}
	}
}

// fixedClusters are the same for every proxy.
func (e *encoder) fixedClusters() []*Resource {
	return []*Resource{
		e.encode(Clusters, clusterPassthrough, originalDestination(clusterPassthrough)),
		e.encode(Clusters, clusterBlackhole, blackhole()),
		e.encode(Clusters, clusterLocalAny, localDestination(clusterLocalAny)),
	}
}

// encoder encodes resources and keeps the first error of all.
type encoder struct {
	built func(Kind)
	err   error
}

// encode returns nil when there is or was an error.
func (e *encoder) encode(k Kind, name string, message proto.Message) *Resource {
	if e.err != nil {
		return nil
	}
	r, err := NewResource(name, message)
	e.built(k)
	e.err = err
	return r
}

// walk goes through two sorted lists at once and visits each name, with nil for a list without it.
func walk[T any](before, now []*T, compare func(a, b *T) int, visit func(was, is *T)) {
	for len(before) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		case before[0] != now[0]:
			order = compare(before[0], now[0])
		}
		switch {
		case order < 0:
			visit(before[0], nil)
			before = before[1:]
		case order > 0:
			visit(nil, now[0])
			now = now[1:]
		default:
			visit(before[0], now[0])
			before, now = before[1:], now[1:]
		}
	}
}
