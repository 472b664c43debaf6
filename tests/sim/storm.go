package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/osm-edge/osm/tests/sim/fleet"
)

// stormGoal is in seconds, from the cut to the last proxy.
const stormGoal = 12

// storm: how long until all proxies are back, those that hold their configuration and those that
// hold nothing?
func storm(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	if err := r.coldStorm(f); err != nil {
		return err
	}
	return r.warmStorm(f)
}

// coldStorm cuts all connections; the proxies come back as new ones.
func (r *rig) coldStorm(f *fleet.Fleet) error {
	before, err := r.read(f)
	if err != nil {
		return err
	}
	f.Cut(true)
	ctx, cancel := context.WithTimeout(r.ctx, 5*changeTimeout)
	defer cancel()
	last, err := f.AwaitConfigured(ctx)
	missing, _ := f.Configured()
	missing = f.Size() - missing
	if err != nil && missing == 0 {
		return err
	}
	r.judge("cut, empty proxies: all configured after", last.Sub(before.at).Seconds(), "s", stormGoal)
	r.judge("cut, empty proxies: refused for good", float64(missing), "", 0)
	return r.afterStorm("cut, empty proxies", before, f)
}

// warmStorm kills the replica and starts it again; the proxies hold what they had. They are fully
// configured when all of them have a change that was made after they reconnected.
func (r *rig) warmStorm(f *fleet.Fleet) error {
	if err := r.quiet(time.Second, f); err != nil {
		return err
	}
	r.server().Kill()
	// The new process starts at zero, so all of its CPU time belongs to the storm.
	before := reading{at: time.Now(), stats: f.Stats()}
	self, err := r.read(f)
	if err != nil {
		return err
	}
	before.client = self.client
	if err := r.restart(0); err != nil {
		return err
	}
	if err := r.server().Ready(r.ctx); err != nil {
		return err
	}
	r.add("killed, full proxies: replica is ready after", time.Since(before.at).Seconds(), "s")
	if err := r.awaitConnected(f.Size()); err != nil {
		return err
	}
	began := time.Now()
	latencies, err := r.toggle(f, r.world.Services[0], 0)
	if err != nil && len(latencies) == 0 {
		return err
	}
	var slowest time.Duration
	for _, l := range latencies {
		slowest = max(slowest, l)
	}
	r.judge("killed, full proxies: all have a later change after", began.Add(slowest).Sub(before.at).Seconds(), "s", stormGoal)
	r.judge("killed, full proxies: refused for good", float64(f.Size()-len(latencies)), "", 0)
	return r.afterStorm("killed, full proxies", before, f)
}

// awaitConnected waits until the replicas report that n proxies are connected.
func (r *rig) awaitConnected(n int) error {
	ctx, cancel := context.WithTimeout(r.ctx, 5*changeTimeout)
	defer cancel()
	var are int
	for ctx.Err() == nil {
		are = 0
		for _, replica := range r.replicas {
			if m, err := replica.Metrics(ctx); err == nil {
				are += int(m.Get("osm_proxy_connect_count"))
			}
		}
		if are >= n {
			return nil
		}
		if err := r.wait(50 * time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("wait for proxies: %d of %d are connected: %w", are, n, ctx.Err())
}

// afterStorm reports the cost of the storm.
func (r *rig) afterStorm(name string, before reading, f *fleet.Fleet) error {
	if err := r.quiet(time.Second, f); err != nil {
		return err
	}
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	_, bytes := cost.stats.Total(fleet.CDS, fleet.EDS, fleet.LDS, fleet.RDS)
	r.add(name+": server CPU", cost.server.Seconds(), "s")
	r.add(name+": client CPU", cost.client.Seconds(), "s")
	r.add(name+": bytes of CDS, EDS, LDS and RDS", float64(bytes)/mega, "MB")
	r.add(name+": streams refused meanwhile", float64(cost.stats.Refusals()), "")
	r.log("%s: %s", name, cost.stats.Troubles())
	return nil
}

// failover: what is sent to proxies that move to another replica of an unchanged mesh?
func failover(r *rig) error {
	f, err := r.connected() // to the first replica
	if err != nil {
		return err
	}
	if len(r.replicas) < 2 {
		return fmt.Errorf("failover needs 2 replicas, not %d", len(r.replicas))
	}
	other := r.replicas[1]
	used, err := other.Usage()
	if err != nil {
		return err
	}
	before := reading{at: time.Now(), server: used.CPU, stats: f.Stats()}
	f.Route(other.XDS)
	r.server().Kill()
	if err := r.awaitConnected(f.Size()); err != nil {
		return err
	}
	r.add("all connected after", time.Since(before.at).Seconds(), "s")
	if err := r.quiet(time.Second, f); err != nil {
		return err
	}
	if err := r.wait(2 * time.Second); err != nil {
		return err
	}
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	messages, bytes := cost.stats.Total(fleet.CDS, fleet.EDS, fleet.LDS, fleet.RDS)
	r.judge("bytes of CDS, EDS, LDS and RDS", float64(bytes), "B", 0)
	r.judge("messages of CDS, EDS, LDS and RDS", float64(messages), "", 0)
	r.add("bytes of SDS per proxy", float64(cost.stats.Bytes[fleet.SDS])/float64(f.Size()), "B")
	r.add("server CPU per proxy", cost.server.Seconds()*kilo/float64(f.Size()), "ms")
	r.add("streams refused meanwhile", float64(cost.stats.Refusals()), "")
	r.log("%s", cost.stats.Troubles())

	latencies, err := r.toggle(f, r.world.Services[0], 0)
	r.judge("proxies that miss a later change", float64(f.Size()-len(latencies)), "", 0)
	return err
}
