package cli

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

// validityKey is the life of a service certificate; zero means defaultValidity.
const validityKey = "osm.certificateProvider.serviceCertValidityDuration"

const (
	defaultValidity = 24 * time.Hour
	minValidity     = 10 * time.Minute // what a MeshConfig takes
	maxValidity     = 87600 * time.Hour
)

// leftover is the part of its life that a certificate has left whenever the control plane dies: it
// is renewed after at most 70 percent.
func leftover(validity time.Duration) time.Duration { return validity / 10 * 3 }

// validityFor is the shortest life, in whole minutes, of which always that much is left.
func validityFor(budget time.Duration) time.Duration {
	needed := (budget*10 + 2) / 3
	return (needed + time.Minute - 1).Truncate(time.Minute)
}

func (c *change) addHeadlessFlag() {
	c.cmd.Flags().DurationVar(&c.budget, "headless-budget", 0,
		"let proxies do this long without a control plane at any time (3m to 26280h), by setting "+validityKey)
}

func (c *change) headlessGiven() bool {
	flag := c.cmd.Flags().Lookup("headless-budget")
	return flag != nil && flag.Changed
}

func (c *change) validHeadless() error {
	least, most := leftover(minValidity), leftover(maxValidity)
	if c.headlessGiven() && (c.budget < least || c.budget > most) {
		return command.Usagef(c.cmd, "--headless-budget: %s is not allowed; use a duration from %s to %s: a certificate lives %s to %s, and 30 %% of that is always left",
			output.Compact(c.budget), output.Compact(least), output.Compact(most), output.Compact(minValidity), output.Compact(maxValidity))
	}
	return nil
}

// headless turns --headless-budget into a value and says so. A life that was given beside it stays
// if it is long enough.
func (c *change) headless(given release.Values) (map[string]any, error) {
	if !c.headlessGiven() {
		return nil, nil
	}
	needed := validityFor(c.budget)
	if text, ok := given.At(validityKey); ok && text != nil {
		validity, err := time.ParseDuration(fmt.Sprint(text))
		if err != nil {
			return nil, nil //nolint:nilerr // the chart's schema says what is wrong with it
		}
		validity = cmp.Or(validity, defaultValidity)
		if left := leftover(validity); left < c.budget {
			return nil, fmt.Errorf("--headless-budget %s needs %s=%s, but %v was given too, which leaves %s; leave one of the two out",
				output.Compact(c.budget), validityKey, output.Compact(needed), text, output.Duration(left))
		}
		c.env.Progressf("headless budget: %s=%v stays; it leaves every proxy at least %s\n", validityKey, text, output.Duration(leftover(validity)))
		return nil, nil
	}
	c.env.Progressf("headless budget: %s=%s leaves every proxy at least %s\n", validityKey, output.Compact(needed), output.Duration(leftover(needed)))
	return map[string]any{validityKey: output.Compact(needed)}, nil
}

// heedsHeadless warns when the mesh does not do what --headless-budget asked for: a field of the
// MeshConfig that somebody has edited stays as it is.
func (c *change) heedsHeadless(ctx context.Context, clients *cluster.Clients, namespace string) {
	if !c.headlessGiven() {
		return
	}
	validity, err := storedValidity(ctx, clients, namespace)
	if err != nil {
		c.env.Debugf("whether the MeshConfig has the headless budget cannot be told: %v", err)
		return
	}
	if left := leftover(validity); left < c.budget {
		c.env.Warnf("the headless budget is only %s: certificate.serviceCertValidityDuration of MeshConfig %s/%s was edited by hand and stays at %s; remove the field there and run osm upgrade again",
			output.Duration(left), namespace, api.MeshConfigName, output.Compact(validity))
	}
}

func storedValidity(ctx context.Context, clients *cluster.Clients, namespace string) (time.Duration, error) {
	kind := v1alpha2.GroupVersionResource()
	body, err := clients.Kube.Discovery().RESTClient().Get().
		AbsPath("/apis", kind.Group, kind.Version, "namespaces", namespace, kind.Resource, api.MeshConfigName).Do(ctx).Raw()
	if err != nil {
		return 0, fmt.Errorf("read MeshConfig %s/%s: %w", namespace, api.MeshConfigName, err)
	}
	var config v1alpha2.MeshConfig
	if err := json.Unmarshal(body, &config); err != nil {
		return 0, fmt.Errorf("read MeshConfig %s/%s: %w", namespace, api.MeshConfigName, err)
	}
	return cmp.Or(config.Spec.Certificate.ServiceCertValidityDuration.Duration, defaultValidity), nil
}
