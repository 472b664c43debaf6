package rollout

import (
	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// Component is a part of the control plane that scales independently.
type Component struct {
	App  string // label and name of the Deployment
	Key  string // of its chart values
	Flag string // prefix of its flags
}

// Components are the components of a control plane.
func Components() []Component {
	return []Component{
		{api.AppController, "osm.osmController", "controller"},
		{api.AppInjector, "osm.injector", "injector"},
	}
}

// Autoscaled reports whether an autoscaler determines the number of replicas.
func (c Component) Autoscaled(values release.Values) bool {
	return values.Bool(c.Key + ".autoScale.enable")
}

// MinReplicas returns the number of replicas that the component starts with: the value that is set, else
// 1, or 2 with a disruption budget.
func (c Component) MinReplicas(values release.Values) int {
	key := c.Key + ".replicaCount"
	if c.Autoscaled(values) {
		key = c.Key + ".autoScale.minReplicas"
	}
	if n, ok := values.Int(key); ok {
		return n
	}
	if values.Bool(c.Key + ".enablePodDisruptionBudget") {
		return 2
	}
	return 1
}
