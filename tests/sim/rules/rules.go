// Package rules gives the controller of the simulator's scenario groups its rules (mesh.Rule).
//
// No Kubernetes object makes a rule yet, so the scenario compiles a controller of its own: the shipped
// sources with one call to this package in pkg/controlplane/ingest, by go build -overlay. No shipped
// program has this package in it. It is not a policy API and reads no object: the rules follow from
// the names of the simulated ServiceAccounts. Its invariant: while the workloads stay the same, so does
// the list of rules, as the list of a real source of rules would.
package rules

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Groups is the environment variable with the number of groups. Without it there are no rules, and
// no connection is allowed.
const Groups = "OSM_SIM_GROUPS"

// Add returns the snapshot with rules. last is the snapshot that it returned before, nil the first time.
func Add(now, last *mesh.Snapshot) *mesh.Snapshot {
	var rules []*mesh.Rule
	if last != nil && now.SameWorkloads(last) {
		rules = last.Rules()
	} else if groups, err := strconv.Atoi(os.Getenv(Groups)); err == nil && groups > 0 {
		rules = between(now.Workloads(), groups)
	}
	return mesh.New(now.Settings(), now.Services(), now.Workloads(), rules...)
}

// between lets the members of each group connect to each other and to those of the next group.
// ServiceAccount svc-N is a member of group N modulo the number of groups.
func between(workloads []*mesh.Workload, groups int) []*mesh.Rule {
	members := make([][]identity.Identity, groups)
	seen := map[identity.Identity]bool{}
	for _, w := range workloads {
		n, err := strconv.Atoi(strings.TrimPrefix(w.Identity.ServiceAccount, "svc-"))
		if err != nil || n < 0 || seen[w.Identity] {
			continue
		}
		seen[w.Identity] = true
		members[n%groups] = append(members[n%groups], w.Identity)
	}
	var rules []*mesh.Rule
	for group, servers := range members {
		clients := slices.Clone(servers)
		if groups > 1 {
			clients = append(clients, members[(group+groups-1)%groups]...)
		}
		for _, server := range servers {
			rules = append(rules, &mesh.Rule{To: server, From: clients})
		}
	}
	slices.SortFunc(rules, (*mesh.Rule).Compare)
	return rules
}
