package rebalance

import (
	"fmt"
	"math"

	"github.com/osm-edge/osm/pkg/api"
)

// Peer is another ready replica.
type Peer struct {
	Name    string
	Proxies int
	// Draining replicas leave: they neither count nor receive.
	Draining bool
	// Err is why its count is unknown.
	Err error
}

// View is what a replica knows of the load.
type View struct {
	// Ready reports whether the replica is an endpoint of the Service itself.
	Ready bool
	// Proxies are those that it serves.
	Proxies int
	Peers   []Peer
}

// Decision is what a replica does about its load.
type Decision struct {
	// Fair is the number of proxies for each replica; 0 if it is unknown.
	Fair float64
	// Surplus is how many proxies to send away.
	Surplus int
	// Full reports whether proxies that reconnect should try another replica.
	Full bool
	// Why says why nothing may be moved; empty if the counts are known. It stays the same while the cause does.
	Why string
	// Err is the error behind Why, if there is one.
	Err error
}

const (
	// startAbove is the load, relative to the fair share, above which a replica begins to send proxies away. It
	// stops at the fair share, so that it does not begin again because of a few proxies.
	startAbove = api.UnevenAbove
	// fullAbove is the load above which proxies that reconnect are turned away.
	fullAbove = 1.03
)

// Decide returns what to do. active reports whether the replica is already sending proxies away.
func Decide(v View, active bool) Decision {
	if !v.Ready {
		return Decision{Why: "this replica is not a ready endpoint"}
	}
	total, replicas := v.Proxies, 1
	for _, peer := range v.Peers {
		switch {
		case peer.Draining:
			continue
		case peer.Err != nil:
			return Decision{Why: fmt.Sprintf("the number of proxies of %s is unknown", peer.Name), Err: peer.Err}
		}
		total += peer.Proxies
		replicas++
	}
	if replicas == 1 {
		return Decision{Why: "no other replica is ready"}
	}
	fair := float64(total) / float64(replicas)
	d := Decision{Fair: fair, Full: float64(v.Proxies) > math.Ceil(fair*fullAbove)}
	surplus := v.Proxies - int(math.Ceil(fair))
	if over := float64(v.Proxies) > math.Ceil(fair*startAbove); surplus > 0 && (over || active) {
		d.Surplus = surplus
	}
	return d
}
