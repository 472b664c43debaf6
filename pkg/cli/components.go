package cli

import (
	"maps"
	"slices"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// component is a part of the control plane that scales on its own.
type component struct {
	app  string // label and Deployment name
	key  string // of its values
	flag string // prefix of its flags
}

var components = []component{
	{api.AppController, "osm.osmController", "controller"},
	{api.AppInjector, "osm.injector", "injector"},
}

// floor is the number of replicas that the component starts with: the one that is set, else 1, or
// 2 as soon as its disruption budget is on.
func (c component) floor(values release.Values) int {
	key := c.key + ".replicaCount"
	if values.Bool(c.key + ".autoScale.enable") {
		key = c.key + ".autoScale.minReplicas"
	}
	if n, ok := values.Int(key); ok {
		return n
	}
	if values.Bool(c.key + ".enablePodDisruptionBudget") {
		return 2
	}
	return 1
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
