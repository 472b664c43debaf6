package rotation_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/tests/reach"
)

// FuzzPlan: whatever the roots and the evidence, no write cuts a participant off.
func FuzzPlan(f *testing.F) {
	add := func(m *mesh) {
		roots, err := json.Marshal(m.roots)
		if err != nil {
			f.Fatal(err)
		}
		evidence, err := json.Marshal(m.evidence)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(roots, evidence)
	}
	inactive, passive, active := rotation.Inactive, rotation.Passive, rotation.Active
	add(newMesh(root("a", active, 0)))
	add(newMesh(root("a", active, 0), root("b", inactive, time.Minute)))
	add(newMesh(root("a", active, 0), root("b", passive, time.Minute)))
	add(newMesh(root("a", active, 0), root("b", active, time.Minute)))
	add(newMesh(root("a", passive, 0), root("b", active, time.Minute)))
	add(newMesh(root("a", inactive, 0), root("b", active, time.Minute)))
	late := newMesh(root("a", passive, 0), root("b", active, time.Minute))
	late.proxy().Root = "ca-a"
	add(late)
	add(newMesh(root("a", active, 0), root("a", passive, time.Minute)))
	outcomes := reach.All(f, "idle", "written", "waiting", "blocked")
	f.Fuzz(func(t *testing.T, rootsJSON, evidenceJSON []byte) {
		var roots []rotation.Root
		var evidence rotation.Evidence
		if json.Unmarshal(rootsJSON, &roots) != nil || json.Unmarshal(evidenceJSON, &evidence) != nil {
			t.Skip("not valid evidence")
		}
		step := rotation.Plan(roots, evidence)
		rotation.Report(roots, evidence)
		switch {
		case step.Write != nil:
			outcomes.Note("written")
			checkWrite(t, roots, evidence, step)
		case len(step.Waiting) > 0:
			outcomes.Note("waiting")
		case step.Blocked != "":
			outcomes.Note("blocked")
		default:
			outcomes.Note("idle")
			if step.Phase != rotation.Idle {
				t.Errorf("phase %s with nothing to do: %+v", step.Phase, step)
			}
		}
	})
}

// checkWrite checks what must hold for every write.
func checkWrite(t *testing.T, roots []rotation.Root, evidence rotation.Evidence, step rotation.Step) {
	t.Helper()
	if len(step.Waiting) > 0 || step.Blocked != "" {
		t.Errorf("a write despite %v %q", step.Waiting, step.Blocked)
	}
	i := slices.IndexFunc(roots, func(r rotation.Root) bool { return r.Name == step.Write.Root })
	if i < 0 || roots[i].Role != step.Write.From {
		t.Fatalf("write %+v is for none of the roots %+v", step.Write, roots)
	}
	after := slices.Clone(roots)
	after[i].Role = step.Write.To
	if _, signs := rotation.Signer(roots); signs {
		if _, signs := rotation.Signer(after); !signs {
			t.Errorf("write %+v leaves no root that signs", step.Write)
		}
	}
	trusted := map[string]bool{}
	for _, r := range rotation.Trusted(after) {
		trusted[r.Fingerprint] = true
	}
	signer, signs := rotation.Signer(after)
	for _, replica := range evidence.Replicas {
		for _, proxy := range replica.Proxies {
			switch {
			case step.Write.To == rotation.Inactive && step.Write.From != rotation.Inactive && !trusted[proxy.Root]:
				t.Errorf("write %+v drops the root of proxy %s", step.Write, proxy.Pod)
			case step.Write.To == rotation.Active && signs && !slices.Contains(proxy.Trusts, signer.Fingerprint):
				t.Errorf("write %+v: proxy %s does not trust the new signer", step.Write, proxy.Pod)
			}
		}
	}
}
