package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/rules"
	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

const (
	// maxGroupMemory bounds the memory with the most groups, relative to that with one.
	maxGroupMemory = 1.1
	// maxGroupBytes bounds the bytes for each proxy that gets the change, relative to those with one group. Only the
	// length of a response's nonce differs.
	maxGroupBytes = 1.05
)

// groups: which proxies does one endpoint concern, and what does it cost, when identities are in one
// group, in ten, or each in one of its own? Proxies, connections and API server are those of every
// scenario. The controller has rules, which the shipped one cannot have yet (see package rules).
func groups(r *rig) error {
	r.log("compiling a controller with rules")
	overlay, err := plantRules(r.repo, r.dir)
	if err != nil {
		return err
	}
	programs := r.Programs
	programs.ControlPlane = filepath.Join(r.dir, "osm-controlplane-with-rules")
	if err := server.BuildControlPlane(r.ctx, r.repo, programs.ControlPlane, "-overlay", overlay); err != nil {
		return err
	}
	var single, most groupCost
	for _, n := range []int{1, 10, r.scenario.shape.Services} {
		programs.Env = []string{fmt.Sprintf("%s=%d", rules.Groups, n)}
		if most, err = r.measureGroups(n, programs); err != nil {
			return fmt.Errorf("groups: %d: %w", n, err)
		}
		if n == 1 {
			single = most
			continue
		}
		r.judge(groupMetric(n, "bytes for each proxy told / with 1 group"), most.bytes/single.bytes, "x", maxGroupBytes)
	}
	r.judge(groupMetric(r.scenario.shape.Services, "RSS / with 1 group"), most.rss/single.rss, "x", maxGroupMemory)
	return nil
}

// groupCost is what is compared between numbers of groups.
type groupCost struct {
	bytes float64 // of one change, for each proxy that got it
	rss   float64 // with all proxies connected
}

func groupMetric(groups int, metric string) string {
	if groups == 1 {
		return "1 group: " + metric
	}
	return fmt.Sprintf("%d groups: %s", groups, metric)
}

// plantRules writes an overlay for go build to dir and returns its path. With it, ingest's only call of
// mesh.New goes through package rules.
func plantRules(repo, dir string) (overlay string, err error) {
	const (
		call    = "mesh.New(settings, services, workloads)"
		planted = "rules.Add(" + call + ", s.last)"
		after   = `"github.com/osm-edge/osm/pkg/controlplane/mesh"` + "\n"
		added   = after + `"github.com/osm-edge/osm/tests/sim/rules"` + "\n"
	)
	source := filepath.Join(repo, "pkg", "controlplane", "ingest", "state.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("read the source to plant rules in: %w", err)
	}
	if strings.Count(string(text), call) != 1 || strings.Count(string(text), after) != 1 {
		return "", fmt.Errorf("%s does not contain %s and its import exactly once: change where the scenario groups plants its rules", source, call)
	}
	changed := filepath.Join(dir, "state.go")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		return "", fmt.Errorf("encode the overlay: %w", err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	err = errors.Join(
		os.WriteFile(changed, []byte(strings.NewReplacer(call, planted, after, added).Replace(string(text))), 0o600), //nolint:gosec // in the run's own folder
		os.WriteFile(overlay, replace, 0o600))
	if err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	return overlay, nil
}

// measureGroups replaces the replica by a controller with the given number of groups, and starts a fleet for it.
func (r *rig) measureGroups(groups int, programs server.Programs) (groupCost, error) {
	var cost groupCost
	r.log("groups: %d", groups)
	r.server().Stop(server.Grace) // which releases the Lease, so that the next replica need not wait for it
	replica, err := r.cluster.StartReplica(programs, fmt.Sprintf("osm-controller-groups-%d", groups), r.server())
	if err != nil {
		return cost, err
	}
	r.replicas[0] = replica
	if err := replica.Ready(r.ctx); err != nil {
		return cost, err
	}
	if err := r.still(2 * time.Second); err != nil { // the leader checks each ServiceAccount
		return cost, err
	}
	f, err := r.connected()
	if err != nil {
		return cost, err
	}
	defer f.Close()
	first := f.Stats()
	_, bytes := first.Total()
	r.add(groupMetric(groups, "bytes of a proxy's first configuration"), float64(bytes)/kilo/float64(f.Size()), "kB")
	r.add(groupMetric(groups, "of it LDS"), float64(first.Bytes[fleet.LDS])/kilo/float64(f.Size()), "kB")
	r.add(groupMetric(groups, "streams refused while all proxies connect"), float64(first.Refusals()), "")
	if cost.bytes, err = r.groupChanges(groups, f); err != nil {
		return cost, err
	}
	if err := r.wait(r.Settle); err != nil {
		return cost, err
	}
	u, err := r.server().Usage()
	if err != nil {
		return cost, err
	}
	cost.rss = float64(u.RSS)
	r.add(groupMetric(groups, "RSS with all proxies"), cost.rss/mebi, "MiB")
	return cost, nil
}

// groupChanges makes endpoints unready and ready, reports which proxies that reached, and returns the
// bytes of one change for each proxy that got it.
func (r *rig) groupChanges(groups int, f *fleet.Fleet) (bytesEach float64, err error) {
	var told, messages, bytes, last []float64
	var missed, mistaken int
	var used time.Duration
	for i := range 2 * r.scenario.events { // each Service twice: unready, then ready
		index := (7 * (i / 2)) % len(r.world.Services)
		expected := groupClients(groups, index, r.world.Services)
		before, err := r.read(f)
		if err != nil {
			return 0, err
		}
		had := f.Messages()
		latencies, err := r.toggleAmong(func(node string) bool { return expected[node] }, f, r.world.Services[index], 0)
		if err != nil {
			return 0, err
		}
		if err := r.quiet(time.Second, f); err != nil {
			return 0, err
		}
		cost, err := r.since(before, f)
		if err != nil {
			return 0, err
		}
		n, lacking, wrong := compareTold(had, f.Messages(), expected)
		missed, mistaken = missed+lacking, mistaken+wrong
		m, b := cost.stats.Total()
		told, messages, bytes = append(told, float64(n)), append(messages, float64(m)), append(bytes, float64(b))
		last = append(last, report.Milliseconds(report.Quantile(latencies, 1)))
		used += cost.server
	}
	r.add(groupMetric(groups, "proxies notified of one change"), report.Median(told), "")
	r.judge(groupMetric(groups, "proxies notified that may not reach it"), float64(mistaken), "", 0)
	r.judge(groupMetric(groups, "proxies not notified that may reach it"), float64(missed), "", 0)
	r.add(groupMetric(groups, "messages of one change"), report.Median(messages), "")
	r.add(groupMetric(groups, "bytes of one change"), report.Median(bytes), "B")
	r.add(groupMetric(groups, "server CPU of one change"), report.Milliseconds(used)/float64(2*r.scenario.events), "ms")
	r.add(groupMetric(groups, "last proxy has it after (median)"), report.Median(last), "ms")
	return report.Median(bytes) / report.Median(told), nil
}

// groupClients returns the nodes of the pods that may reach a Service. It does not use package rules, because it
// checks what the controller derives from these.
func groupClients(groups, server int, services []*world.Service) map[string]bool {
	nodes := map[string]bool{}
	for client, s := range services {
		if !mayReach(groups, client, server) {
			continue
		}
		for _, pod := range s.Pods() {
			nodes[pod.String()] = true
		}
	}
	return nodes
}

// mayReach reports whether the server is in the client's group or in the next one. The n-th Service's
// identity is in group n modulo the number of groups.
func mayReach(groups, client, server int) bool {
	return client%groups == server%groups || (client+1)%groups == server%groups
}

// compareTold counts the proxies that got a message between two readings, those that should have got
// one and did not, and those that did and should not have.
func compareTold(before, now map[string]int64, expected map[string]bool) (told, lacking, wrong int) {
	for node, n := range now {
		got := n > before[node]
		switch {
		case got && !expected[node]:
			wrong++
		case !got && expected[node]:
			lacking++
		}
		if got {
			told++
		}
	}
	return told, lacking, wrong
}
