package rules

import (
	"fmt"
	"slices"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

func account(n int) identity.Identity {
	return identity.Identity{Namespace: "team-00", ServiceAccount: fmt.Sprintf("svc-%04d", n)}
}

// snapshot returns a mesh of the given accounts with two pods each, and one pod of another account.
func snapshot(accounts int) *mesh.Snapshot {
	workloads := []*mesh.Workload{{Name: mesh.PodName{Name: "foreign"}, Identity: identity.Identity{ServiceAccount: "foreign"}}}
	for n := range 2 * accounts {
		workloads = append(workloads, &mesh.Workload{Name: mesh.PodName{Name: fmt.Sprintf("pod-%d", n)}, Identity: account(n % accounts)})
	}
	return mesh.New(mesh.Settings{}, nil, workloads)
}

func TestRulesAreBetweenGroups(t *testing.T) {
	const accounts = 12
	for _, groups := range []int{1, 2, 3, accounts} {
		t.Setenv(Groups, fmt.Sprint(groups))
		rules := Add(snapshot(accounts), nil).Rules()
		if len(rules) != accounts {
			t.Fatalf("%d groups: %d rules, want one for each of %d accounts", groups, len(rules), accounts)
		}
		for to, rule := range rules { // sorted, so by number
			if rule.To != account(to) {
				t.Errorf("%d groups: rule %d is for %s", groups, to, rule.To)
			}
			for from := range accounts {
				want := from%groups == to%groups || (from+1)%groups == to%groups
				if slices.Contains(rule.From, account(from)) != want {
					t.Errorf("%d groups: %d may connect to %d: want %t", groups, from, to, want)
				}
			}
		}
	}
}

func TestRulesStayWhileWorkloadsDo(t *testing.T) {
	t.Setenv(Groups, "3")
	base := snapshot(6)
	first := Add(base, nil)
	changed := mesh.New(base.Settings(), []*mesh.Service{{}}, base.Workloads())
	if again := Add(changed, first); !again.SameRules(first) || len(again.Services()) != 1 {
		t.Error("a changed Service made new rules")
	}
	if more := Add(snapshot(7), first); len(more.Rules()) != 7 {
		t.Errorf("%d rules for 7 accounts", len(more.Rules()))
	}
}

func TestWithoutGroupsThereAreNoRules(t *testing.T) {
	for _, value := range []string{"", "0", "-1", "many"} {
		t.Setenv(Groups, value)
		if rules := Add(snapshot(2), nil).Rules(); len(rules) != 0 {
			t.Errorf("%q: %d rules", value, len(rules))
		}
	}
}
