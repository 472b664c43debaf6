package controller

import (
	"errors"
	"fmt"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Smaller limits would refuse honest peers of a sidecar on a busy node.
const (
	minSidecarTimeout    = time.Second
	minSidecarStreamIdle = time.Minute
	minSidecarStreams    = 16
	maxSidecarStreams    = 1<<31 - 1
)

// validateSidecars reports every limit that is out of its range, by the name of its flag.
func validateSidecars(limits mesh.Limits) error {
	limits = limits.WithDefaults()
	var errs []error
	atLeast := func(flag string, value, minimum time.Duration) {
		if value < minimum {
			errs = append(errs, fmt.Errorf("--%s %s: want %s or more", flag, value, minimum))
		}
	}
	atLeast("sidecar-handshake-timeout", limits.Handshake, minSidecarTimeout)
	atLeast("sidecar-request-headers-timeout", limits.RequestHeaders, minSidecarTimeout)
	atLeast("sidecar-stream-idle-timeout", limits.StreamIdle, minSidecarStreamIdle)
	if limits.Streams < minSidecarStreams || limits.Streams > maxSidecarStreams {
		errs = append(errs, fmt.Errorf("--sidecar-max-streams %d: want %d to %d", limits.Streams, minSidecarStreams, maxSidecarStreams))
	}
	return errors.Join(errs...)
}
