package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
)

// Rebalance says how proxies move to new replicas.
type Rebalance struct {
	// Enable moves proxies.
	Enable bool
	// PerSecond is the maximum number of proxies that a replica sends away each second; zero means 20.
	PerSecond int
	// MaxAgeMinutes is the longest time that a stream lasts; zero means that age alone moves no proxy.
	MaxAgeMinutes int
}

const (
	defaultPerSecond, maxPerSecond = 20, 1000
	minAgeMinutes, maxAgeMinutes   = 10, 30 * 24 * 60
)

// Bind adds the flags.
func (r *Rebalance) Bind(set *pflag.FlagSet) {
	set.BoolVar(&r.Enable, "rebalance", false, "send proxies to other replicas while this one has more than its share")
	set.IntVar(&r.PerSecond, "rebalance-per-second", defaultPerSecond, fmt.Sprintf("proxies that --rebalance sends away a second (1 to %d)", maxPerSecond))
	set.IntVar(&r.MaxAgeMinutes, "rebalance-max-age-minutes", 0, fmt.Sprintf("life of a stream with --rebalance, in minutes (%d to %d); 0 for none", minAgeMinutes, maxAgeMinutes))
}

// Validate returns an error about the first field that is out of its range. Zero stands for the default.
func (r Rebalance) Validate() error {
	if r.PerSecond < 0 || r.PerSecond > maxPerSecond {
		return fmt.Errorf("--rebalance-per-second %d: want an integer from 1 to %d; fix: --rebalance-per-second=%d, in the chart osm.osmController.rebalance.perSecond=%d", r.PerSecond, maxPerSecond, defaultPerSecond, defaultPerSecond)
	}
	if age := r.MaxAgeMinutes; age != 0 && (age < minAgeMinutes || age > maxAgeMinutes) {
		return fmt.Errorf("--rebalance-max-age-minutes %d: want 0, or an integer from %d to %d; fix: --rebalance-max-age-minutes=0, in the chart osm.osmController.rebalance.maxAgeMinutes=0", age, minAgeMinutes, maxAgeMinutes)
	}
	return nil
}

// movesPerSecond is 0 while rebalancing is off.
func (r Rebalance) movesPerSecond() int {
	switch {
	case !r.Enable:
		return 0
	case r.PerSecond == 0:
		return defaultPerSecond
	}
	return r.PerSecond
}

// maxAge is 0 while rebalancing is off.
func (r Rebalance) maxAge() time.Duration {
	if !r.Enable {
		return 0
	}
	return time.Duration(r.MaxAgeMinutes) * time.Minute
}

// rebalance moves proxies in the background, if that is enabled, until the replica drains.
func (p *process) rebalance(starting context.Context, group *errgroup.Group) error {
	if !p.cfg.Rebalance.Enable {
		return nil
	}
	collector := p.newCollector()
	runner, err := rebalance.New(rebalance.Config{
		Server: p.xds, PerSecond: p.cfg.Rebalance.movesPerSecond(), Metrics: p.registry, Log: p.cfg.Log,
		Peers: func(ctx context.Context) ([]rebalance.Peer, bool) { return p.peers(ctx, collector) },
	})
	if err != nil {
		return err
	}
	group.Go(func() error { return runner.Run(starting) })
	return nil
}

// peerTimeout is how long a peer may take to tell its load.
const peerTimeout = time.Second

// peers asks the other ready replicas for their load.
func (p *process) peers(ctx context.Context, collector *collect.Collector) (peers []rebalance.Peer, ready bool) {
	addresses, ready := readyReplicas(p.watch.EndpointSlices(p.cfg.Namespace, api.AppController), p.cfg.Holder)
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	peers, err := collector.Loads(ctx, addresses)
	if err != nil {
		return []rebalance.Peer{{Name: "every peer", Err: err}}, ready
	}
	return peers, ready
}

// readyReplicas returns the addresses of the pods that the EndpointSlices list as ready, without self, and whether
// self is one of them.
func readyReplicas(slices []*discoveryv1.EndpointSlice, self string) (others map[string]string, ready bool) {
	others = map[string]string{}
	for _, slice := range slices {
		for _, e := range slice.Endpoints {
			switch {
			case e.TargetRef == nil || len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready:
			case e.TargetRef.Name == self:
				ready = true
			default:
				others[e.TargetRef.Name] = e.Addresses[0]
			}
		}
	}
	return others, ready
}

// load is what this replica tells its peers.
func (p *process) load() collect.Load {
	ready, _ := p.health.Ready()
	return collect.Load{Proxies: p.xds.Connected(), Draining: !ready}
}
