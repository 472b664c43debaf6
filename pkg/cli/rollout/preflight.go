package rollout

import (
	"context"
	"time"

	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/provider"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// Plan returns a target as the pre-flight checks see it. info is the current release, or nil. It is an error if the
// change would leave one replica of an autoscaled component without an explicit request.
func (c *Change) Plan(t Target, info *release.Info) (check.Plan, error) {
	objects, err := release.Objects(t.manifest)
	if err != nil {
		return check.Plan{}, err
	}
	plan := check.Plan{
		Mesh: t.Name, Namespace: t.Namespace,
		EnforceSingle: t.values.Bool("osm.enforceSingleMesh"),
		Recover:       c.Recover, OwnerTimeout: max(time.Duration(c.Timeout), command.DefaultTimeout), Now: c.Env.Now(),
		Provider: provider.FromValues(t.values, t.Namespace),
	}
	for _, object := range objects {
		plan.Objects = append(plan.Objects, check.Object{
			APIVersion: object.APIVersion, Kind: object.Kind, Namespace: object.Namespace, Name: object.Name, Hook: object.Hook,
		})
	}
	for _, component := range Components() {
		if component.Autoscaled(t.values) {
			plan.Autoscaled = append(plan.Autoscaled, component.Key)
		}
		plan.Floor = max(plan.Floor, component.MinReplicas(t.values))
	}
	if info != nil && info.EverDeployed {
		before, err := info.Chart.Effective(info.Values)
		if err != nil {
			return check.Plan{}, err
		}
		if err := numberAfterAutoscaling(before, t.values); err != nil {
			return check.Plan{}, err
		}
	}
	if info != nil {
		plan.Release = &check.Release{Status: info.Status, Pending: info.Pending, EverDeployed: info.EverDeployed, Since: info.Since}
	}
	return plan, nil
}

// Preflight runs the pre-flight checks. Warnings are printed; failures are the error.
func (c *Change) Preflight(ctx context.Context, clients *cluster.Clients, plan check.Plan) error {
	results := check.Run(ctx, check.PreFlight(clients, plan), func(r check.Result) {
		c.Env.Debugf("check %s: %s %s", r.ID, r.Status, r.Message)
		if r.Status == check.Warned {
			c.Env.Warnf("%s", r.Message)
		}
	})
	return check.Err(results)
}
