package rollout

import (
	"fmt"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// profileHA is the profile of a control plane that survives the loss of a pod and of a node.
const profileHA = "ha"

func (c *Change) validProfile() error {
	if c.profile != "" && c.profile != profileHA {
		return command.Usagef(c.Cmd, "--profile: %q is not allowed; use %s, or omit it", c.profile, profileHA)
	}
	return nil
}

// profiled are the values that --profile adds to those given. What was given, or is stored, wins; what was given is
// refused if it contradicts the profile. The chart spreads the replicas in any case.
func (c *Change) profiled(given, merged release.Values) (map[string]any, error) {
	if c.profile == "" {
		return nil, nil
	}
	values := map[string]any{}
	for _, component := range Components() {
		if err := contradiction(component, given); err != nil {
			return nil, err
		}
		values[component.Key+".enablePodDisruptionBudget"] = true // two replicas or more, unless a number says so
		if enable, decided := profiledAutoscaling(component, given, merged); decided {
			values[component.Key+".autoScale.enable"] = enable
		}
	}
	return values, nil
}

// profiledAutoscaling is what the profile says about autoscaling. A number of replicas means a fixed one.
func profiledAutoscaling(component Component, given, merged release.Values) (enable, decided bool) {
	autoscale, count := component.Key+".autoScale.enable", component.Key+".replicaCount"
	_, chosen := given.At(autoscale)
	if _, numbered := given.Int(count); numbered && !chosen {
		return false, true
	}
	_, chosen = merged.At(autoscale)
	_, numbered := merged.Int(count)
	return true, !chosen && !numbered
}

func contradiction(component Component, given release.Values) error {
	budget := component.Key + ".enablePodDisruptionBudget"
	if value, set := given.At(budget); set && value == false {
		return fmt.Errorf("--profile %s keeps a pod of %s during every drain, but %s=false was given too; leave one of the two out", profileHA, component.App, budget)
	}
	for key, least := range map[string]int{".replicaCount": 2, ".autoScale.minReplicas": 2, ".autoScale.maxReplicas": 3} {
		if n, set := given.Int(component.Key + key); set && n < least {
			return fmt.Errorf("--profile %s needs %s%s of at least %d, but %d was given too; raise it, or leave one of the two out", profileHA, component.Key, key, least, n)
		}
	}
	return nil
}

// HA reports whether the target's components all keep two replicas or more, and a pod during every drain.
func (t Target) HA() bool {
	for _, component := range Components() {
		if component.MinReplicas(t.values) < 2 || !t.values.Bool(component.Key+".enablePodDisruptionBudget") {
			return false
		}
	}
	return true
}
