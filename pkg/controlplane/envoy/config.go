package envoy

import (
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// Config is the configuration of all proxies of one snapshot. It never changes.
type Config struct {
	snapshot  *mesh.Snapshot
	decisions *policy.Decisions
	shared    map[*policy.Outbound]*Layer // of the groups of the snapshot's workloads
	inForce   map[*Layer]bool             // the Layers in shared
	own       []*Layer                    // of the workloads, in the order of the snapshot's list
}

func newConfig(u *update, groups map[policy.Group]*group) *Config {
	c := &Config{snapshot: u.snapshot, decisions: u.decisions, own: u.own}
	if last := u.before.config; last != nil && u.sameWorkloads() && len(u.groups) == 0 {
		c.shared, c.inForce = last.shared, last.inForce
		return c
	}
	c.shared, c.inForce = make(map[*policy.Outbound]*Layer, len(u.outbounds)), make(map[*Layer]bool, len(u.outbounds))
	for _, out := range u.outbounds {
		layer := groups[out.Group].layer
		c.shared[out], c.inForce[layer] = layer, true
	}
	return c
}

// Snapshot returns the snapshot that the configuration was built from.
func (c *Config) Snapshot() *mesh.Snapshot { return c.snapshot }

// View returns the configuration of a pod's proxy, and its workload; nil when the pod is not in the
// mesh.
func (c *Config) View(pod mesh.PodName) (View, *mesh.Workload) {
	i, ok := c.snapshot.Find(pod)
	if !ok {
		return View{}, nil
	}
	w := c.snapshot.Workloads()[i]
	return View{Shared: c.shared[c.decisions.Outbound(w.Identity)], Own: c.own[i]}, w
}

// InForce reports whether some group's proxies share exactly this Layer. If not, what every proxy with
// it shares has changed.
func (c *Config) InForce(shared *Layer) bool { return c.inForce[shared] }
