package controller

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/debug"
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

// movesPerSecond limits what is moved on demand, too.
func (r Rebalance) movesPerSecond() int { return cmp.Or(r.PerSecond, defaultPerSecond) }

// maxAge is 0 while rebalancing is off.
func (r Rebalance) maxAge() time.Duration {
	if !r.Enable {
		return 0
	}
	return time.Duration(r.MaxAgeMinutes) * time.Minute
}

// rebalance moves proxies in the background, if that is enabled or while it is demanded, until the replica drains.
func (p *process) rebalance(starting context.Context, group *errgroup.Group) (err error) {
	others := &peers{self: p.cfg.Holder, slices: p.ownSlices, loads: p.newCollector().Loads, now: time.Now}
	p.balance, err = rebalance.New(rebalance.Config{
		Server: p.xds, Continuous: p.cfg.Rebalance.Enable, PerSecond: p.cfg.Rebalance.movesPerSecond(), Metrics: p.registry, Log: p.cfg.Log,
		Peers: others.load,
	})
	if err != nil {
		return err
	}
	group.Go(func() error { return p.balance.Run(starting) })
	return nil
}

// ownSlices are those of the controllers' Service.
func (p *process) ownSlices() []*discoveryv1.EndpointSlice {
	return p.watch.EndpointSlices(p.cfg.Namespace, api.AppController)
}

// rebalancing is the page debug.RebalancePath.
func (p *process) rebalancing() debug.Rebalance {
	_, ready := readyReplicas(p.ownSlices(), p.cfg.Holder)
	order := p.balance.Status()
	return debug.Rebalance{
		Ready: ready, Proxies: p.xds.Connected(), Movable: p.xds.Movable(), Continuous: p.cfg.Rebalance.Enable,
		Ordered: order.Running, Moved: order.Moved, Why: order.Why,
	}
}

// issuePause is how long a peer is not asked after the certificate provider has refused the client certificate: each
// attempt may cost a signature of an external CA.
const issuePause = time.Minute

// peers asks the other ready replicas for their load.
type peers struct {
	self   string
	slices func() []*discoveryv1.EndpointSlice // of the controllers' Service
	loads  func(ctx context.Context, addresses map[string]string) ([]rebalance.Peer, error)
	now    func() time.Time

	again time.Time // when to try again after err
	err   error     // of the last client certificate
}

// load returns the other ready replicas, and whether this one is ready too.
func (p *peers) load(ctx context.Context) (others []rebalance.Peer, ready bool) {
	addresses, ready := readyReplicas(p.slices(), p.self)
	if p.err == nil || !p.now().Before(p.again) {
		others, p.err = p.loads(ctx, addresses)
		p.again = p.now().Add(issuePause)
	}
	if p.err != nil {
		return []rebalance.Peer{{Name: "every peer", Err: p.err}}, ready
	}
	return others, ready
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
