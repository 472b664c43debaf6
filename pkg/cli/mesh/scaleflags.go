package mesh

import (
	"errors"
	"strings"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/rollout"
)

// validate refuses flags that are wrong whatever the mesh is like, so that no cluster is needed to learn of a mistake.
func (o *scaleOptions) validate() error {
	if err := o.Validate(); err != nil {
		return err
	}
	for _, component := range rollout.Components() {
		if err := o.validateReplicas(component.Flag, o.replicas[component.Key]); err != nil {
			return err
		}
	}
	for _, percent := range []numberFlag{{"cpu", o.cpu}, {"memory", o.memory}} {
		if percent.n < 0 || percent.n > 100 {
			return command.Usagef(o.Cmd, "--%s: %d is not allowed; use an integer from 0 to 100", percent.name, percent.n)
		}
	}
	if o.given("cpu") && o.given("memory") && o.cpu == 0 && o.memory == 0 {
		return command.Usagef(o.Cmd, "--cpu and --memory are both 0, so nothing would be left to scale by; use an integer from 1 to 100 for one of them")
	}
	return nil
}

type numberFlag struct {
	name string
	n    int
}

func (o *scaleOptions) validateReplicas(flag string, r *replicaFlags) error {
	low, high := flag+"-min", flag+"-max"
	for _, number := range []numberFlag{{flag, r.count}, {low, r.low}, {high, r.high}} {
		if o.given(number.name) && (number.n < 1 || number.n > 10) {
			return command.Usagef(o.Cmd, "--%s: %d is not allowed; use an integer from 1 to 10", number.name, number.n)
		}
	}
	switch {
	case o.given(low) && o.given(high) && r.low > r.high:
		return command.Usagef(o.Cmd, "--%s (%d) is greater than --%s (%d); raise --%s, to at most 10", low, r.low, high, r.high, high)
	case o.given("autoscale") && o.autoscale && o.given(flag):
		return command.Usagef(o.Cmd, "--%s has no effect with --autoscale=true; use --%s and --%s", flag, low, high)
	case o.given("autoscale") && !o.autoscale && (o.given(low) || o.given(high)):
		return command.Usagef(o.Cmd, "--%s and --%s have no effect with --autoscale=false; use --%s for a fixed number", low, high, flag)
	}
	for _, number := range []numberFlag{{flag, r.count}, {low, r.low}} {
		if o.given("pdb") && o.pdb && o.given(number.name) && number.n < 2 {
			return command.Usagef(o.Cmd, "--%s: %d is not allowed with --pdb=true: a single pod could never be evicted, and every node drain would hang; use an integer from 2 to 10", number.name, number.n)
		}
	}
	return nil
}

func (o *scaleOptions) given(flag string) bool { return o.Cmd.Flags().Changed(flag) }

// scaleFlags are the flags of the settings of a component, by the end of the setting's key.
func scaleFlags(component rollout.Component) map[string]string {
	return map[string]string{
		".replicaCount":                              component.Flag,
		".enablePodDisruptionBudget":                 "pdb",
		".autoScale.enable":                          "autoscale",
		".autoScale.minReplicas":                     component.Flag + "-min",
		".autoScale.maxReplicas":                     component.Flag + "-max",
		".autoScale.cpu.targetAverageUtilization":    "cpu",
		".autoScale.memory.targetAverageUtilization": "memory",
	}
}

// inFlags lets an error about values speak of the flags that set them.
func inFlags(err error) error {
	if err == nil {
		return nil
	}
	var pairs []string
	for _, component := range rollout.Components() {
		for _, key := range scaleKeys() {
			flag := "--" + scaleFlags(component)[key]
			pairs = append(pairs, "--set "+component.Key+key, flag, component.Key+key, flag)
		}
	}
	return errors.New(strings.NewReplacer(pairs...).Replace(err.Error()))
}
