package command

import (
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/osm-edge/osm/pkg/controlplane/injector"
)

// injectorLimits are the flags that bound what reviews and sidecars may take.
type injectorLimits struct {
	reviewSize, reviewMemory, sidecarMemory resource.QuantityValue
	containers, probes                      int
	timeout                                 time.Duration
	connections, perSource                  int
	sidecarConnections                      int
}

func (l *injectorLimits) bind(flags *pflag.FlagSet) {
	quantity := func(target *resource.QuantityValue, name string, value resource.Quantity, usage string) {
		target.Quantity = value
		flags.Var(target, name, usage)
	}
	bytes := func(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) }
	defaults := injector.Limits{}.WithDefaults()
	quantity(&l.reviewSize, "max-review-size", bytes(defaults.ReviewBytes), "size of an admission review")
	quantity(&l.reviewMemory, "max-review-memory", bytes(defaults.ReviewMemory), "memory for all reviews at a time, by estimate; at least 8 times --max-review-size")
	flags.IntVar(&l.containers, "max-containers", defaults.Containers, "containers of a pod, init containers included")
	flags.IntVar(&l.probes, "max-probes", defaults.Probes, "probes of a pod that its sidecar answers")
	flags.DurationVar(&l.timeout, "review-timeout", defaults.Read, "time for an admission review to arrive")
	flags.IntVar(&l.connections, "max-connections", defaults.Connections, "concurrent connections to the webhook")
	flags.IntVar(&l.perSource, "max-connections-per-source", defaults.PerSource, "concurrent connections to the webhook from one IP address")
	quantity(&l.sidecarMemory, "sidecar-memory-limit", resource.MustParse(injector.DefaultSidecarMemory), "memory limit of sidecars, unless the MeshConfig sets their resources")
	flags.IntVar(&l.sidecarConnections, "sidecar-max-connections", injector.DefaultSidecarConnections, "concurrent connections of a sidecar, both directions together")
}

func (l *injectorLimits) review() injector.Limits {
	return injector.Limits{
		ReviewBytes: l.reviewSize.Value(), ReviewMemory: l.reviewMemory.Value(), Containers: l.containers, Probes: l.probes,
		Read: l.timeout, Connections: l.connections, PerSource: l.perSource,
	}
}
