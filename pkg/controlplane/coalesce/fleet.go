package coalesce

import "time"

// A burst of changes becomes one configuration, and its first change is published at once. A publication costs
// something for each proxy. So the more proxies there are, the longer the changes of a burst are merged,
// and those of keys that change all the time the longest.
const (
	fleetMin         = 10 * time.Millisecond // also the quiet time that ends a burst
	fleetMax         = 250 * time.Millisecond
	fleetPerProxy    = 25 * time.Microsecond
	fleetLaxPerProxy = 200 * time.Microsecond
	// urgentMessages is how many messages a second urgent changes may cause: about half of a core.
	urgentMessages = 13_000
)

// FleetWindow returns the window for the given number of proxies.
func FleetWindow(proxies int) Window {
	within := func(perProxy time.Duration) time.Duration {
		return min(max(time.Duration(proxies)*perProxy, fleetMin), fleetMax)
	}
	return Window{
		Idle: fleetMin, Max: within(fleetPerProxy), Lax: within(fleetLaxPerProxy),
		Urgent: urgentMessages / float64(max(proxies, 1)),
	}
}
