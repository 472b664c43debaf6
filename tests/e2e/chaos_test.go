//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/chaos"
)

// varChaos selects the faults: "ci" runs a subset of them, "all" those that take long, too. varChaosOut is the folder of the report.
const (
	varChaos    = "OSM_CHAOS"
	varChaosOut = "OSM_CHAOS_OUT"
)

// fault is one row of the table: what happens to a mesh under load, and what must hold.
type fault struct {
	name string
	// ci puts it into the subset for each commit; long takes it out of the suite, unless it is asked for.
	ci, long bool
	// do makes it happen. If it lasts, it does so for at least the time of lasts, until undo.
	do    func(*chaosMesh, *testing.T)
	lasts time.Duration
	undo  func(*chaosMesh, *testing.T)
	// within is the time until the last proxy is in sync, from do, or from undo if the fault lasts.
	within time.Duration
	// most is how many requests may be lost, and why explains it; that is 0 for faults of the control plane.
	most int
	why  string
}

// chaosMesh is a mesh with a client and a server on every node, and what a fault leaves for its undo.
type chaosMesh struct {
	*story
	host           host
	client, server app
	// flexible is another server behind the same Service, for faults of applications.
	flexible app
	address  string
	marks    int
	loads    map[string]*loadState // by pod
	report   chaos.Report

	// Set by a fault: the node that is cut off or stopped, the one that is stopped, and what undoes it.
	lostNode, stoppedNode string
	undone                func()
}

// TestChaos is the fault suite. Select faults with -run 'TestChaos/kill'.
func TestChaos(t *testing.T) {
	env := must(readEnvironment())(t)
	if len(env.nodeControl) == 0 {
		t.Skipf("faults need the local cluster: %s does not name the program that controls its nodes", varNodeControl)
	}
	s := &story{cluster: connect(t, env.kubeconfig), env: env}
	s.empty(t)
	t.Cleanup(func() { s.cleanUp(t) })
	t.Cleanup(func() { s.keepEvidence(t) })
	c := &chaosMesh{story: s, host: localHost(t, env), loads: map[string]*loadState{}}
	// A run of some faults replaces their rows in the report that is there.
	c.report, _ = chaos.Read(reportFile())
	c.report = chaos.Report{
		Faults: c.report.Faults, Commit: s.commit(t), Date: time.Now().UTC().Format(time.DateOnly),
		Machine: fmt.Sprintf("%d nodes on one machine of %d CPUs, load average %s before", nodes, runtime.NumCPU(), loadAverage()),
	}
	c.build(t)
	c.report.Keep(names(c.faults()))
	for _, f := range c.faults() {
		if f.selected() && c.possible(f) {
			c.step(t, f.name, func(t *testing.T) { c.run(t, f) })
		}
	}
}

// selected reports whether a fault is part of this run. -run 'TestChaos/NAME' asks for those of that name.
func (f fault) selected() bool {
	switch os.Getenv(varChaos) {
	case "ci":
		return f.ci
	case "all":
		return true
	}
	return !f.long || strings.Contains(flag.Lookup("test.run").Value.String(), "/")
}

// commit is the version of the program under test.
func (s *story) commit(t *testing.T) string {
	t.Helper()
	var version struct {
		Client struct{ Version string }
	}
	if err := json.Unmarshal(must(s.tryOSM(t.Context(), "version", "--client-only", "-o", "json"))(t), &version); err != nil {
		t.Fatalf("read version: %v", err)
	}
	return version.Client.Version
}

// run makes a fault happen once and measures its cost.
func (c *chaosMesh) run(t *testing.T, f fault) {
	t.Helper()
	c.whole(t)
	c.lostNode, c.stoppedNode = "", ""
	counts := c.count(t)
	defer counts.stop()
	undone := f.undo == nil
	undo := func() {
		if !undone {
			undone = true
			f.undo(c, t)
		}
	}
	t.Cleanup(undo)

	begin := time.Now()
	f.do(c, t)
	mark := c.mark(t)
	row := chaos.Fault{Name: f.name, Why: f.why}
	if f.undo != nil {
		c.pass(t, f.lasts-time.Since(begin))
		row.Lasted = chaos.Seconds(time.Since(begin))
		row.Meanwhile = mark.inSync()
		undo()
		mark.restart()
	}
	took, late := mark.wait(t, f.within)
	row.InSync, row.Proxies = chaos.Seconds(took), mark.proxies()
	if late != "" {
		t.Errorf("not in sync within %s: %s", f.within, late)
	}
	mark.remove(t)
	counts.settle(t, c.stoppedNode)
	counts.into(&row, c.lostNode)
	if row.Lost > f.most {
		t.Errorf("%d of %d requests are lost, want at most %d", row.Lost, row.Sent, f.most)
		counts.print(t)
	}
	if row.Proxies == 0 || row.Sent == 0 {
		t.Errorf("%d requests and %d proxies: nothing was measured", row.Sent, row.Proxies)
	}
	row.Held = !t.Failed()
	c.keepReport(t, row)
	t.Logf("%+v", row)
}

// pass lets time pass: how long a fault lasts is part of it.
func (c *chaosMesh) pass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func names(faults []fault) []string {
	all := make([]string, len(faults))
	for i, f := range faults {
		all[i] = f.name
	}
	return all
}

func reportFile() string {
	return filepath.Join(cmp.Or(os.Getenv(varChaosOut), filepath.Join("..", "..", "out", "chaos")), "report.json")
}

// keepReport writes the report after each fault, so that a run that ends early has one too.
func (c *chaosMesh) keepReport(t *testing.T, row chaos.Fault) {
	t.Helper()
	c.report.Put(row)
	c.report.Keep(names(c.faults()))
	if err := os.MkdirAll(filepath.Dir(reportFile()), 0o750); err != nil {
		t.Error(err)
		return
	}
	file, err := os.Create(reportFile())
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	if err := c.report.Write(file); err != nil {
		t.Error(err)
	}
}

// whole waits until nothing is left of the fault before: the mesh's pods are available and every client sends.
func (c *chaosMesh) whole(t *testing.T) {
	t.Helper()
	eventually(t, podTime, func(ctx context.Context) string { return c.nodesReady(ctx) })
	for _, name := range controlPlane() {
		until(t, c.pods(api.DefaultNamespace, "app="+name), podTime, allAvailable(replicas))
	}
	c.ready(t, c.server, nodes+1)
	c.startLoads(t, c.ready(t, c.client, nodes))
}
