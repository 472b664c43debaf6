package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

// builtMetric counts, on each replica, the resources that were built and encoded.
const builtMetric = "osm_resources_built_total"

const (
	// settled is how long nothing must arrive before a step is over: more than a control plane
	// waits for further changes before it pushes.
	settled = 700 * time.Millisecond
	// overdue is how long the expected messages may take on a slow machine.
	overdue = 20 * time.Second
)

const goldenHead = `# What each step of the gate may cost: messages and bytes to 16 proxies that ask incrementally (delta)
# and 4 that ask for the state of the world (sotw), and resources that the replicas built. What is not
# here is zero. Rewrite it with "go run ./tests/sim/cmd/sim -small -update" and read the difference.

`

// gateRun is one run of the gate.
type gateRun struct {
	*rig
	delta, sotw *fleet.Fleet
	expected    []report.Count
	counts      []report.Count
	step        string
	before      gateReading
	// loose is whether secrets are not counted in this step.
	loose bool
}

// gateReading is everything that the gate counts, at one moment.
type gateReading struct {
	delta, sotw fleet.Stats
	built       map[string]float64
}

// gate runs a fixed trace on a small mesh and compares its cost with the golden file.
func (s *session) gate(ctx context.Context, out io.Writer) error {
	file := s.Golden
	if file == "" {
		file = filepath.Join(s.repo, "tests", "sim", "testdata", "gate.golden")
	}
	var expected []report.Count
	if !s.Update {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the golden file: %w", err)
		}
		if expected, err = report.ReadCounts(string(text)); err != nil {
			return err
		}
	}
	counts, err := s.measureGate(ctx, expected)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	if s.Update {
		return rewrite(file, counts)
	}
	differences := report.Differences(counts, expected)
	if len(differences) == 0 {
		_, err := fmt.Fprintf(out, "gate: %d counts as expected\n", len(expected))
		return err
	}
	return fmt.Errorf("gate: the control plane's work differs from %s; if this is intended, run again with -update:\n  %s",
		file, strings.Join(differences, "\n  "))
}

func rewrite(file string, counts []report.Count) error {
	var text strings.Builder
	text.WriteString(goldenHead)
	if err := report.WriteCounts(&text, counts); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil { //nolint:gosec // it is committed
		return fmt.Errorf("write the golden file: %w", err)
	}
	return nil
}

func (s *session) measureGate(ctx context.Context, expected []report.Count) ([]report.Count, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	small := scenario{name: "gate", shape: world.Shape{Services: 10, Pods: 3, Namespaces: 2}, proxies: 20, replicas: 2}
	g := &gateRun{rig: &rig{session: s, scenario: small, ctx: ctx, report: &report.Report{}}, expected: expected}
	defer g.down()
	err := g.up()
	if err == nil {
		err = g.world.CreateOutside(ctx)
	}
	if err == nil {
		err = g.still(time.Second)
	}
	if err != nil {
		return nil, err
	}
	g.delta, g.sotw = g.newFleet(fleet.Delta), g.newFleet(fleet.StateOfTheWorld)
	for _, f := range g.fleets {
		f.Route(g.replicas[0].XDS, g.replicas[1].XDS)
	}
	// The start is not counted: the API server may serve a MeshConfig that was written a
	// moment ago only later, and then a replica builds twice.
	if g.before, err = g.readAll(); err != nil {
		return nil, err
	}
	if err := g.trace(); err != nil {
		return nil, fmt.Errorf("step %q: %w", g.step, err)
	}
	if n := g.catalog.Conflicts(); n > 0 {
		return nil, fmt.Errorf("%d contents had the version of another content", n)
	}
	return g.counts, errors.Join(g.delta.Err(), g.sotw.Err())
}

// trace is the fixed sequence of changes.
func (g *gateRun) trace() error {
	for _, part := range []func() error{g.connect, g.endpoints, g.invisible, g.pods, g.services, g.reconnects} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateRun) connect() error {
	proxies, err := g.firstProxies()
	if err != nil {
		return err
	}
	return g.do("first configuration", func() error {
		g.delta.Add(proxies[:16]...)
		g.sotw.Add(proxies[16:]...)
		return g.awaitAll()
	})
}

func (g *gateRun) awaitAll() error {
	for _, f := range g.fleets {
		if _, err := f.AwaitConfigured(g.ctx); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateRun) endpoints() error {
	for _, ready := range []bool{false, true} {
		err := g.do(fmt.Sprintf("endpoint ready: %t", ready), func() error {
			return g.world.SetReady(g.ctx, g.world.Services[1], 0, ready)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *gateRun) invisible() error {
	for _, change := range g.world.Unseen() {
		if err := g.do(change.Name, func() error { return change.Apply(g.ctx, 1) }); err != nil {
			return err
		}
	}
	return nil
}

// pods replaces a pod without proxy among the fleets, write by write.
func (g *gateRun) pods() error {
	s := g.world.Services[2]
	old := s.Pods()[2]
	pod, err := g.world.AddPodSlowly(g.ctx, s, g.after("new pod: "))
	if err != nil {
		return err
	}
	return errors.Join(
		g.do("new pod: is an endpoint", func() error { return g.world.AddEndpoint(g.ctx, s, pod) }),
		g.do("old pod: is no endpoint", func() error { return g.world.RemoveEndpoint(g.ctx, s, old) }),
		g.do("old pod: deleted", func() error { return g.world.DeletePod(g.ctx, old) }))
}

func (g *gateRun) services() error {
	s, err := g.world.AddService(g.ctx, g.after("new service: "))
	if err != nil {
		return err
	}
	return g.world.RemoveService(g.ctx, s, g.after("service removed: "))
}

// reconnects makes proxies reconnect with and without their state, and to the only replica that is
// left. Whether a replica still has the leaf certificate that it gave a proxy depends on how
// soon the proxy reconnects, which is random with Envoy's back-off: secrets are not counted.
func (g *gateRun) reconnects() error {
	g.loose = true
	cut := func(forget bool) func() error {
		return func() error {
			g.delta.Cut(forget)
			g.sotw.Cut(forget)
			if forget {
				return g.awaitAll()
			}
			return g.awaitStreams(20)
		}
	}
	err := errors.Join(g.do("reconnect", cut(false)), g.do("restart of all proxies", cut(true)))
	if err != nil {
		return err
	}
	err = g.do("failover", func() error {
		for _, f := range g.fleets {
			f.Route(g.replicas[1].XDS)
		}
		g.replicas[0].Kill()
		g.replicas = g.replicas[1:]
		return g.awaitStreams(20)
	})
	if err != nil {
		return err
	}
	return g.do("endpoint after failover", func() error {
		return g.world.SetReady(g.ctx, g.world.Services[3], 0, false)
	})
}

// awaitStreams waits until the replicas report that n proxies are connected.
func (g *gateRun) awaitStreams(n int) error {
	// The replicas must notice the cut streams before new ones can be counted.
	if err := g.wait(settled); err != nil {
		return err
	}
	return g.awaitConnected(n)
}

// after makes each write of a change a separate step: its effects are counted from the end of the
// step before.
func (g *gateRun) after(prefix string) world.After {
	return func(write string) error { return g.finish(prefix + write) }
}

// do makes a change and counts its effects.
func (g *gateRun) do(step string, change func() error) error {
	g.step = step
	if err := change(); err != nil {
		return err
	}
	return g.finish(step)
}

// finish waits until all effects of a step have arrived, and counts them.
func (g *gateRun) finish(step string) error {
	g.step = step
	g.log("%s", step)
	deadline := time.Now().Add(overdue)
	for {
		if err := g.quiet(settled, g.delta, g.sotw); err != nil {
			return err
		}
		now, err := g.readAll()
		if err != nil {
			return err
		}
		counts := g.count(step, now)
		if g.enough(step, counts) || time.Now().After(deadline) {
			g.counts, g.before = append(g.counts, counts...), now
			return nil
		}
	}
}

// enough reports whether the step has caused the expected number of messages.
func (g *gateRun) enough(step string, counts []report.Count) bool {
	for _, want := range g.expected {
		if want.Step == step && want.Unit == "messages" && !slices.ContainsFunc(counts, func(got report.Count) bool {
			return got.What == want.What && got.Unit == want.Unit && got.N >= want.N
		}) {
			return false
		}
	}
	return true
}

func (g *gateRun) readAll() (gateReading, error) {
	r := gateReading{delta: g.delta.Stats(), sotw: g.sotw.Stats(), built: map[string]float64{}}
	for _, replica := range g.replicas {
		m, err := replica.Metrics(g.ctx)
		if err != nil {
			return r, err
		}
		addBuilt(r.built, replica, m)
	}
	return r, nil
}

// addBuilt keeps the counters of replicas separate: a killed replica must not look like negative work.
func addBuilt(sum map[string]float64, replica *server.Replica, m server.Metrics) {
	byType, _ := m.ByLabel(builtMetric, "type")
	for kind, n := range byType {
		sum[replica.XDS+" "+kind] = n
	}
}

// count returns what arrived since the last step.
func (g *gateRun) count(step string, now gateReading) []report.Count {
	var counts []report.Count
	for _, who := range []struct {
		name  string
		stats fleet.Stats
	}{{"delta", now.delta.Sub(g.before.delta)}, {"sotw", now.sotw.Sub(g.before.sotw)}} {
		for k := range fleet.NumKinds {
			if k == fleet.SDS && g.loose {
				continue
			}
			what := who.name + " " + k.String()
			counts = append(counts,
				report.Count{Step: step, What: what, N: who.stats.Messages[k], Unit: "messages"},
				report.Count{Step: step, What: what, N: who.stats.Bytes[k], Unit: "bytes"})
		}
	}
	built := map[string]int64{}
	for key, n := range now.built {
		_, kind, _ := strings.Cut(key, " ")
		built[kind] += int64(n - g.before.built[key])
	}
	for _, kind := range slices.Sorted(maps.Keys(built)) {
		counts = append(counts, report.Count{Step: step, What: "built " + kind, N: built[kind], Unit: "resources"})
	}
	return counts
}
