package envoy

import "github.com/osm-edge/osm/pkg/controlplane/mesh"

// Config is the configuration of all proxies of one snapshot. It never changes.
type Config struct {
	snapshot *mesh.Snapshot
	shared   *Layer
	own      []*Layer // of the workloads, in the order of the snapshot's list
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
	return View{Shared: c.shared, Own: c.own[i]}, c.snapshot.Workloads()[i]
}
