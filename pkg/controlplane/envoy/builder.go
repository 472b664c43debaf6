package envoy

import (
	"maps"
	"slices"

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
	settings mesh.Settings
	services []*mesh.Service
	parts    map[mesh.ServiceName]*serviceParts
	outbound *policy.Outbound
	classes  map[mesh.Class]*class
	config   *Config // nil before the first
}

// class is what only the proxies of one class have.
type class struct {
	layer *Layer
	users int
}

// NewBuilder returns a Builder without memory. built, which may be nil, is told of each resource that
// is encoded.
func NewBuilder(built func(Kind)) *Builder {
	if built == nil {
		built = func(Kind) {}
	}
	return &Builder{built: built}
}

// Build makes the configuration of a snapshot. An error means that osm would have produced
// something that Envoy rejects; the Builder and the Config before are then as they were.
func (b *Builder) Build(snapshot *mesh.Snapshot) (*Config, error) {
	before := b.state
	if before.config == nil || before.settings != snapshot.Settings() {
		before = state{settings: snapshot.Settings(), parts: map[mesh.ServiceName]*serviceParts{}, classes: map[mesh.Class]*class{}}
	}
	now := state{settings: snapshot.Settings(), outbound: policy.OutboundOf(snapshot, before.outbound)}
	to := &collector{built: b.built}
	now.services = now.outbound.Services
	parts := to.changedParts(before, now)
	shared := to.sharedLayer(before, now, parts)
	classes, own := to.ownLayers(before, snapshot)
	if to.err != nil {
		return nil, to.err
	}
	now.parts = before.parts
	for name, p := range parts {
		if p == nil {
			delete(now.parts, name)
		} else {
			now.parts[name] = p
		}
	}
	now.classes = before.classes
	count(now.classes, classes)
	now.config = &Config{snapshot: snapshot, shared: shared, own: own}
	b.state = now
	return now.config, nil
}

// changedParts makes the parts of the services that are not as they were; nil for those that are gone.
func (to *collector) changedParts(before, now state) map[mesh.ServiceName]*serviceParts {
	changed := map[mesh.ServiceName]*serviceParts{}
	compare := func(a, b *mesh.Service) int { return a.Name.Compare(b.Name) }
	walk(before.services, now.services, compare, func(was, is *mesh.Service) {
		switch {
		case is == nil:
			changed[was.Name] = nil
		case was != is:
			changed[is.Name] = to.serviceParts(now.settings, was, is, before.parts[is.Name])
		}
	})
	return changed
}

// sharedLayer makes the Layer that is the same for every class: all that outbound traffic needs.
func (to *collector) sharedLayer(before, now state, parts map[mesh.ServiceName]*serviceParts) *Layer {
	edit := &edits{}
	relisten := edit.editParts(before.parts, parts)
	var last *Layer
	if before.config != nil {
		last = before.config.shared
		relisten = relisten || !slices.Equal(before.outbound.Unproxied, now.outbound.Unproxied)
	} else {
		before.outbound, relisten = &policy.Outbound{}, true
		edit.add(Clusters, to.fixedClusters(now.settings)...)
		last = NewLayer(nil)
	}
	if others := to.changedBlocks(before.outbound, now.outbound, edit); relisten || others {
		edit.add(Listeners, to.outboundListener(now.outbound, before.parts, parts))
	}
	if to.err != nil {
		return nil
	}
	layer := &Layer{}
	for _, k := range Kinds() {
		layer.sets[k] = last.sets[k].replace(edit.gone[k], edit.added[k])
	}
	if layer.sets == last.sets {
		return last
	}
	return layer
}

// outboundListener encodes the outbound listener, of which the parts that did not change are those
// of before.
func (to *collector) outboundListener(out *policy.Outbound, before, changed map[mesh.ServiceName]*serviceParts) *Resource {
	if to.err != nil {
		return nil
	}
	return to.encode(Listeners, ListenerOutbound, outboundListener(out, func(name mesh.ServiceName) *serviceParts {
		if p := changed[name]; p != nil {
			return p
		}
		return before[name]
	}))
}

// fixedClusters are in every mesh.
func (to *collector) fixedClusters(settings mesh.Settings) []*Resource {
	return []*Resource{
		to.encode(Clusters, clusterPods, podsCluster(settings.TrustDomain)),
		to.encode(Clusters, clusterPassthrough, originalDestination(clusterPassthrough)),
		to.encode(Clusters, clusterBlackhole, blackhole()),
		to.encode(Clusters, clusterLocalAny, localDestination(clusterLocalAny)),
	}
}

// ownLayers returns the Layers of the snapshot's workloads, in their order, and by how much the
// number of each class's workloads changes.
func (to *collector) ownLayers(before state, snapshot *mesh.Snapshot) (map[mesh.Class]*class, []*Layer) {
	workloads := snapshot.Workloads()
	changes := map[mesh.Class]*class{}
	change := func(w *mesh.Workload, by int) *Layer {
		name := w.Class()
		c := changes[name]
		if c == nil {
			c = &class{}
			if known := before.classes[name]; known != nil {
				c.layer = known.layer
			}
			changes[name] = c
		}
		if c.layer == nil {
			c.layer = to.ownLayer(before.settings, policy.For(before.settings, w))
		}
		c.users += by
		return c.layer
	}
	var last []*mesh.Workload
	var lastOwn []*Layer
	if before.config != nil {
		last, lastOwn = before.config.snapshot.Workloads(), before.config.own
		if snapshot.SameWorkloads(before.config.snapshot) {
			return changes, lastOwn
		}
	}
	own := make([]*Layer, 0, len(workloads))
	compare := func(a, b *mesh.Workload) int { return a.Name.Compare(b.Name) }
	walk(last, workloads, compare, func(was, is *mesh.Workload) {
		switch {
		case was == is:
			own = append(own, lastOwn[0])
		case is != nil:
			own = append(own, change(is, +1))
		}
		if was != nil {
			lastOwn = lastOwn[1:]
			if was != is {
				change(was, -1)
			}
		}
	})
	return changes, own
}

// ownLayer is what the proxies of one class receive on their own ports.
func (to *collector) ownLayer(settings mesh.Settings, proxy policy.Proxy) *Layer {
	own := map[Kind][]*Resource{}
	add := func(k Kind, name string, message proto.Message) {
		own[k] = append(own[k], to.encode(k, name, message))
	}
	for _, port := range proxy.Inbound {
		cluster := localCluster(port.Number)
		add(Clusters, cluster, localClusterFor(port.InboundPort, settings.AppOnPodIP))
		if port.Protocol.IsHTTP() {
			route := inboundRoute(port.Number)
			add(Routes, route, everythingTo(route, cluster, nil))
		}
	}
	add(Listeners, ListenerInbound, inboundListener(settings, proxy))
	if to.err != nil {
		return nil
	}
	return NewLayer(own)
}

// count applies changes to the numbers of workloads and forgets classes without any.
func count(classes, changes map[mesh.Class]*class) {
	for name, c := range changes {
		if known := classes[name]; known != nil {
			c.users += known.users
		}
		classes[name] = c
	}
	maps.DeleteFunc(classes, func(_ mesh.Class, c *class) bool { return c.users == 0 })
}

// collector encodes resources and keeps the first error of all.
type collector struct {
	built func(Kind)
	err   error
}

// encode returns nil when there is or was an error.
func (to *collector) encode(k Kind, name string, message proto.Message) *Resource {
	if to.err != nil {
		return nil
	}
	r, err := NewResource(name, message)
	to.built(k)
	to.err = err
	return r
}

// walk goes through two sorted lists at once and visits each name: with nil for the list that has it not.
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
