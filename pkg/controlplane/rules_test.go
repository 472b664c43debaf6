package controlplane_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// withRules is the snapshot with permissive mode off and these rules, which no object can set yet. Without
// rules it is the snapshot itself.
func withRules(snapshot *mesh.Snapshot, rules []*mesh.Rule) *mesh.Snapshot {
	if len(rules) == 0 {
		return snapshot
	}
	settings := snapshot.Settings()
	settings.Permissive = false
	return mesh.New(settings, snapshot.Services(), snapshot.Workloads(), slices.Clone(rules)...)
}

// randomRules are one to six rules between the identities of a randomMesh. One of them allows nothing,
// so that the mesh is never without rules.
func randomRules(random *rand.Rand) []*mesh.Rule {
	rules := []*mesh.Rule{{To: identity.Identity{Namespace: "ns-0", ServiceAccount: "nobody-may"}}}
	for range random.IntN(6) {
		rules = append(rules, randomRule(random))
	}
	return rules
}

func randomRule(random *rand.Rand) *mesh.Rule {
	rule := &mesh.Rule{To: randomIdentity(random)}
	for range random.IntN(4) {
		rule.From = append(rule.From, randomIdentity(random))
	}
	return rule
}

func randomIdentity(random *rand.Rand) identity.Identity {
	return identity.Identity{Namespace: fmt.Sprintf("ns-%d", random.IntN(4)), ServiceAccount: fmt.Sprintf("account-%d", random.IntN(3))}
}

// checkReach asks that a workload has exactly the Services that a rule lets it reach.
func checkReach(t *testing.T, config *envoy.Config, rules []*mesh.Rule) {
	t.Helper()
	for _, w := range config.Snapshot().Workloads() {
		want := map[string]bool{}
		for _, s := range config.Snapshot().Services() {
			for _, rule := range rules {
				if slices.Contains(rule.From, w.Identity) && leadsTo(s, rule.To) {
					for _, port := range s.Ports {
						want[fmt.Sprintf("%s|%d", s.Name, port.Number)] = true
					}
				}
			}
		}
		view, _ := config.View(w.Name)
		for _, r := range view.Shared.Set(envoy.Clusters).All() {
			if strings.Contains(r.Name, "|") && !strings.HasPrefix(r.Name, "block|") && !want[r.Name] {
				t.Errorf("%s (%s) has cluster %s, which no rule lets it reach", w.Name, w.Identity, r.Name)
			}
			delete(want, r.Name)
		}
		for name := range want {
			t.Errorf("%s (%s) lacks cluster %s, which a rule lets it reach", w.Name, w.Identity, name)
		}
	}
}

func leadsTo(s *mesh.Service, id identity.Identity) bool {
	return slices.ContainsFunc(s.Ports, func(p mesh.ServicePort) bool { return slices.Contains(p.Identities, id) })
}
