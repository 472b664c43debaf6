package envoy

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// Config is the configuration of all proxies of one snapshot. What all classes share is built at
// once; a class's View when it is first asked for. Safe for concurrent use.
type Config struct {
	snapshot *mesh.Snapshot
	policies *policy.Policies
	shared   map[Kind][]*Resource

	mu    sync.Mutex
	known map[string]*Resource // by version, so that equal content is one Resource
	views map[mesh.Class]*View

	lastKnown map[string]*Resource // of the previous Config, whose pointers are kept where content is equal
	lastViews map[mesh.Class]*View
}

// Build makes the configuration for a snapshot. previous, which may be nil, lends it every
// resource and View that did not change, so that pointers tell what did. An error means that osm
// would have produced something that Envoy rejects; the previous Config is then still good.
func Build(snapshot *mesh.Snapshot, previous *Config) (*Config, error) {
	c := &Config{
		snapshot: snapshot,
		policies: policy.New(snapshot),
		shared:   map[Kind][]*Resource{},
		known:    map[string]*Resource{},
		views:    map[mesh.Class]*View{},
	}
	if previous != nil {
		previous.mu.Lock()
		c.lastKnown, c.lastViews = previous.known, previous.views
		// From here on the previous Config may still serve Views it has, and build others afresh.
		previous.known, previous.views = map[string]*Resource{}, map[mesh.Class]*View{}
		previous.mu.Unlock()
	}
	if err := c.buildShared(); err != nil {
		return nil, err
	}
	return c, nil
}

// Snapshot returns the snapshot that the configuration was built from.
func (c *Config) Snapshot() *mesh.Snapshot { return c.snapshot }

// View returns the configuration of the workload's proxy: one View per class.
func (c *Config) View(w *mesh.Workload) (*View, error) {
	class := w.Class()
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.views[class]; v != nil {
		return v, nil
	}
	v, err := c.buildView(c.policies.For(w))
	if err != nil {
		return nil, err
	}
	if last := c.lastViews[class]; last != nil && last.version == v.version {
		v = last
	}
	c.views[class] = v
	return v, nil
}

// buildShared builds what is the same for every class: all that outbound traffic needs.
func (c *Config) buildShared() error {
	settings := c.snapshot.Settings()
	out := c.policies.Outbound()
	to := collector{config: c, kinds: c.shared}
	for _, s := range out.Services {
		for i := range s.Ports {
			port := &s.Ports[i]
			name := serviceCluster(s.Name, port.Number)
			to.add(Clusters, name, serviceClusterFor(settings.TrustDomain, s, port, settings.Egress))
			to.add(Endpoints, name, endpointsFor(s, port, settings.Egress))
			if port.Protocol.IsHTTP() {
				route := serviceRoute(s.Name, port.Number)
				to.add(Routes, route, everythingTo(route, name, unsentOnly()))
			}
		}
	}
	for _, peer := range out.Peers {
		to.add(Clusters, peerCluster(peer.Identity), peerClusterFor(settings.TrustDomain, peer))
	}
	to.add(Clusters, clusterPassthrough, originalDestination(clusterPassthrough))
	to.add(Clusters, clusterBlackhole, blackhole())
	to.add(Clusters, clusterLocalAny, localDestination(clusterLocalAny))
	to.add(Listeners, ListenerOutbound, outboundListener(out))
	return to.err
}

// buildView adds to the shared resources what the class receives on its own ports.
func (c *Config) buildView(proxy policy.Proxy) (*View, error) {
	settings := c.snapshot.Settings()
	own := map[Kind][]*Resource{}
	for _, k := range Kinds() {
		own[k] = slices.Clone(c.shared[k])
	}
	to := collector{config: c, kinds: own}
	for _, port := range proxy.Inbound {
		cluster := localCluster(port.Number)
		to.add(Clusters, cluster, localClusterFor(port.InboundPort, settings.AppOnPodIP))
		if port.Protocol.IsHTTP() {
			route := inboundRoute(port.Number)
			to.add(Routes, route, everythingTo(route, cluster, nil))
		}
	}
	to.add(Listeners, ListenerInbound, inboundListener(settings.TrustDomain, proxy))
	if to.err != nil {
		return nil, to.err
	}
	return NewView(own), nil
}

// collector encodes resources into lists by kind and keeps the first error of all.
type collector struct {
	config *Config
	kinds  map[Kind][]*Resource
	err    error
}

func (to *collector) add(k Kind, name string, message proto.Message) {
	if to.err != nil {
		return
	}
	r, err := NewResource(name, message)
	if err != nil {
		to.err = err
		return
	}
	to.kinds[k] = append(to.kinds[k], to.config.intern(r))
}

// intern returns the Resource that already stands for this content, if there is one.
func (c *Config) intern(r *Resource) *Resource {
	if same := c.known[r.Version]; same != nil {
		return same
	}
	if same := c.lastKnown[r.Version]; same != nil {
		r = same
	}
	c.known[r.Version] = r
	return r
}
