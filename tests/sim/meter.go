package sim

import (
	"os"
	"time"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/server"
)

// reading is a snapshot of all counters; the difference of two is the cost of something.
type reading struct {
	at     time.Time
	server time.Duration // CPU of all replicas
	client time.Duration // CPU of this process
	stats  fleet.Stats
}

// read reads the replicas, this process and a fleet.
func (r *rig) read(f *fleet.Fleet) (reading, error) {
	cpu, err := r.cpu()
	if err != nil {
		return reading{}, err
	}
	self, err := server.UsageOf(os.Getpid())
	if err != nil {
		return reading{}, err
	}
	return reading{at: time.Now(), server: cpu, client: self.CPU, stats: f.Stats()}, nil
}

// since returns the cost since an earlier reading.
func (r *rig) since(before reading, f *fleet.Fleet) (reading, error) {
	now, err := r.read(f)
	if err != nil {
		return reading{}, err
	}
	now.server -= before.server
	now.client -= before.client
	now.stats = now.stats.Sub(before.stats)
	return now, nil
}

const (
	mebi = 1 << 20
	mega = 1e6
	kilo = 1e3
)

// add and judge are the report's, with the scenario's name.
func (r *rig) add(metric string, value float64, unit string) {
	r.report.Add(r.scenario.name, metric, value, unit)
}

func (r *rig) judge(metric string, value float64, unit string, goal float64) {
	r.report.Judge(r.scenario.name, metric, value, unit, goal)
}

// memory reports the first replica's memory, after the time that its runtime takes to return
// temporary memory. Nothing forces a garbage collection.
func (r *rig) memory() (server.Usage, error) {
	if err := r.wait(r.Settle); err != nil {
		return server.Usage{}, err
	}
	u, err := r.server().Usage()
	if err != nil {
		return u, err
	}
	m, err := r.server().Metrics(r.ctx)
	if err != nil {
		return u, err
	}
	r.add("peak RSS", float64(u.PeakRSS)/mebi, "MiB")
	r.add("Go heap in use", m.Get("go_memstats_heap_inuse_bytes")/mebi, "MiB")
	r.add("goroutines", m.Get("go_goroutines"), "")
	return u, nil
}
