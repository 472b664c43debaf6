package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// validityKey is the chart value for the lifetime of service certificates; zero means defaultValidity.
const validityKey = "osm.certificateProvider.serviceCertValidityDuration"

const (
	defaultValidity = 24 * time.Hour
	minValidity     = 10 * time.Minute // the range of a MeshConfig
	maxValidity     = 87600 * time.Hour
)

// leftover is the share of its lifetime for which a certificate is still valid if the control plane dies at the
// worst time: certificates are renewed after at most 70 percent of their lifetime.
func leftover(validity time.Duration) time.Duration { return validity / 10 * 3 }

// validityFor returns the shortest lifetime, in whole minutes, that always leaves the budget.
func validityFor(budget time.Duration) time.Duration {
	needed := (budget*10 + 2) / 3
	return (needed + time.Minute - 1).Truncate(time.Minute)
}

func (c *Change) addHeadlessFlag() {
	c.Cmd.Flags().DurationVar(&c.budget, "headless-budget", 0,
		"how long proxies must be able to run without a control plane, whenever it fails (3m to 26280h); sets "+validityKey)
}

func (c *Change) headlessGiven() bool {
	flag := c.Cmd.Flags().Lookup("headless-budget")
	return flag != nil && flag.Changed
}

func (c *Change) validHeadless() error {
	least, most := leftover(minValidity), leftover(maxValidity)
	if c.headlessGiven() && (c.budget < least || c.budget > most) {
		return command.Usagef(c.Cmd, "--headless-budget: %s is not allowed; use a duration from %s to %s: certificates are valid for %s to %s, and at least 30 %% of that is always left",
			output.Compact(c.budget), output.Compact(least), output.Compact(most), output.Compact(minValidity), output.Compact(maxValidity))
	}
	return nil
}

// headless turns --headless-budget into a value and reports it. A lifetime that was given as a value
// is kept if it is long enough.
func (c *Change) headless(given release.Values) (map[string]any, error) {
	if !c.headlessGiven() {
		return nil, nil
	}
	needed := validityFor(c.budget)
	if text, ok := given.At(validityKey); ok && text != nil {
		validity, err := time.ParseDuration(fmt.Sprint(text))
		if err != nil {
			return nil, nil //nolint:nilerr // the chart's schema reports it
		}
		validity = cmp.Or(validity, defaultValidity)
		if left := leftover(validity); left < c.budget {
			return nil, fmt.Errorf("--headless-budget %s needs %s=%s, but %v was given too, which leaves only %s; leave one of the two out",
				output.Compact(c.budget), validityKey, output.Compact(needed), text, output.Duration(left))
		}
		c.Env.Progressf("headless budget: keeping %s=%v, which leaves every proxy at least %s\n", validityKey, text, output.Duration(leftover(validity)))
		return nil, nil
	}
	c.Env.Progressf("headless budget: %s=%s leaves every proxy at least %s\n", validityKey, output.Compact(needed), output.Duration(leftover(needed)))
	return map[string]any{validityKey: output.Compact(needed)}, nil
}

// WarnHeadless warns if the mesh has a smaller headless budget than --headless-budget requests: a
// field of the MeshConfig that was edited by hand is not overwritten.
func (c *Change) WarnHeadless(ctx context.Context, clients *cluster.Clients, namespace string) {
	if !c.headlessGiven() {
		return
	}
	validity, err := storedValidity(ctx, clients, namespace)
	if err != nil {
		c.Env.Debugf("cannot tell whether the MeshConfig has the headless budget: %v", err)
		return
	}
	if left := leftover(validity); left < c.budget {
		c.Env.Warnf("the headless budget is only %s: certificate.serviceCertValidityDuration of MeshConfig %s/%s was edited by hand and stays %s; remove the field there and run osm upgrade again",
			output.Duration(left), namespace, api.MeshConfigName, output.Compact(validity))
	}
}

func storedValidity(ctx context.Context, clients *cluster.Clients, namespace string) (time.Duration, error) {
	body, err := meshConfig(ctx, clients, namespace)
	if err != nil {
		return 0, err
	}
	var config v1alpha2.MeshConfig
	if err := json.Unmarshal(body, &config); err != nil {
		return 0, fmt.Errorf("read MeshConfig %s/%s: %w", namespace, api.MeshConfigName, err)
	}
	return cmp.Or(config.Spec.Certificate.ServiceCertValidityDuration.Duration, defaultValidity), nil
}

// meshConfig returns the MeshConfig as JSON.
func meshConfig(ctx context.Context, clients *cluster.Clients, namespace string) ([]byte, error) {
	kind := v1alpha2.GroupVersionResource()
	body, err := clients.Kube.Discovery().RESTClient().Get().
		AbsPath("/apis", kind.Group, kind.Version, "namespaces", namespace, kind.Resource, api.MeshConfigName).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("read MeshConfig %s/%s: %w", namespace, api.MeshConfigName, err)
	}
	return body, nil
}
