package coalesce

import "time"

// A burst of changes becomes one configuration, and its first change goes out at once. A publication costs
// something for each proxy. So the more proxies there are, the longer changes are merged while they do not
// end, and those of things that change all the time the longest.
const (
	fleetMin         = 10 * time.Millisecond // also the quiet that ends a burst
	fleetMax         = 250 * time.Millisecond
	fleetPerProxy    = 25 * time.Microsecond
	fleetLaxPerProxy = 200 * time.Microsecond
	// urgentMessages is how many messages a second may be for urgent changes: about half of a core.
	urgentMessages = 13_000
)

// FleetWindow returns how changes are merged for so many proxies.
func FleetWindow(proxies int) Window {
	within := func(perProxy time.Duration) time.Duration {
		return min(max(time.Duration(proxies)*perProxy, fleetMin), fleetMax)
	}
	return Window{
		Idle: fleetMin, Max: within(fleetPerProxy), Lax: within(fleetLaxPerProxy),
		Urgent: urgentMessages / float64(max(proxies, 1)),
	}
}
