package sim

import (
	"os"
	"time"

	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/server"
)

// onboard: what does it cost to bring up all proxies, and to keep them?
func onboard(r *rig) error {
	if err := r.bringUp(2); err != nil {
		return err
	}
	u, err := r.memory()
	if err != nil {
		return err
	}
	r.judge("RSS with all proxies", float64(u.RSS)/mebi, "MiB", 200)
	return nil
}

// wide: the same with ten times as many services as usual.
func wide(r *rig) error {
	before, err := r.server().Usage()
	if err != nil {
		return err
	}
	if err := r.bringUp(10); err != nil {
		return err
	}
	u, err := r.memory()
	if err != nil {
		return err
	}
	r.add("RSS without proxies", float64(before.RSS)/mebi, "MiB")
	r.judge("RSS per proxy", float64(u.RSS-before.RSS)/mega/float64(r.scenario.proxies), "MB", 0.2)
	r.judge("RSS with all proxies", float64(u.RSS)/mega, "MB", 400)
	return nil
}

// bringUp connects all proxies at once and reports the cost; goal is in milliseconds of CPU
// per proxy.
func (r *rig) bringUp(goal float64) error {
	f := r.usualFleet()
	proxies, err := r.firstProxies()
	if err != nil {
		return err
	}
	before, err := r.read(f)
	if err != nil {
		return err
	}
	f.Add(proxies...)
	last, err := f.AwaitConfigured(r.ctx)
	if err != nil {
		return err
	}
	if err := r.quiet(time.Second, f); err != nil {
		return err
	}
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	n := float64(len(proxies))
	messages, bytes := cost.stats.Total()
	r.judge("server CPU per proxy", report.Milliseconds(cost.server)/n, "ms", goal)
	r.add("client CPU per proxy", report.Milliseconds(cost.client)/n, "ms")
	r.add("all configured after", last.Sub(before.at).Seconds(), "s")
	r.add("bytes per proxy", float64(bytes)/n/kilo, "kB")
	r.add("messages per proxy", float64(messages)/n, "")
	r.add("streams refused meanwhile", float64(cost.stats.Refusals()), "")
	r.log("%s", cost.stats.Troubles())
	return nil
}

// large: ten thousand proxies on one replica, and a mesh that changes continuously.
func large(r *rig) error {
	f := r.usualFleet()
	proxies, err := r.firstProxies()
	if err != nil {
		return err
	}
	before, err := r.read(f)
	if err != nil {
		return err
	}
	// In groups: a simultaneous start is another scenario.
	const group = 250
	for i := 0; i < len(proxies); i += group {
		f.Add(proxies[i:min(i+group, len(proxies))]...)
		if _, err := f.AwaitConfigured(r.ctx); err != nil {
			return err
		}
		if done := i + group; done%2000 == 0 {
			r.log("%d proxies are configured", done)
		}
	}
	up, err := r.since(before, f)
	if err != nil {
		return err
	}
	r.add("server CPU per proxy to bring it up", report.Milliseconds(up.server)/float64(len(proxies)), "ms")
	r.add("client RSS", float64(selfRSS())/mebi, "MiB")
	u, err := r.memory()
	if err != nil {
		return err
	}
	r.add("RSS at rest", float64(u.RSS)/mebi, "MiB")
	if err := r.steadyLoad(f, 10, 1000); err != nil {
		return err
	}
	if u, err = r.server().Usage(); err != nil {
		return err
	}
	r.judge("RSS under load", float64(u.RSS)/mebi, "MiB", 1024)
	return nil
}

func selfRSS() int64 {
	u, err := server.UsageOf(os.Getpid())
	if err != nil {
		return 0
	}
	return u.RSS
}
