package rotation_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// TestModel runs rotations and aborts amid failures. At every moment all participants can verify
// each other, and whenever the failures stop, the rotation completes.
func TestModel(t *testing.T) {
	const steps = 3000
	worlds := 25
	if text := os.Getenv("OSM_MODEL_WORLDS"); text != "" { // for a long search
		var err error
		if worlds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	phases := map[rotation.Phase]int{}
	finished, aborted := 0, 0
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		inner := w.plan
		w.plan = func(roots []rotation.Root, evidence rotation.Evidence) rotation.Step {
			step := inner(roots, evidence)
			phases[step.Phase]++
			if step.Write != nil && step.Write.ClearWanted {
				finished++
			}
			return step
		}
		before := rotation.Root{}
		for i := range steps {
			w.step()
			if problem := w.broken(); problem != "" {
				t.Fatalf("seed %d, step %d: %s\nroots %+v", seed, i, problem, w.roots)
			}
			goal, _ := rotation.Goal(w.current())
			if before.Name != goal.Name && !before.WantedAt.IsZero() && !goal.WantedAt.IsZero() {
				aborted++
			}
			before = goal
		}
		if rounds, ok := w.settle(); !ok {
			t.Fatalf("seed %d: not done after %d rounds without failures: %+v: %s", seed, rounds, w.roots, w.broken())
		}
		if len(rotation.Trusted(w.current())) != 1 {
			t.Errorf("seed %d: ended with %+v", seed, w.roots)
		}
	}
	t.Logf("%d rotations completed, %d turned around, plans by phase: %v", finished, aborted, phases)
	for _, phase := range []rotation.Phase{rotation.Idle, rotation.TrustBoth, rotation.SignNew, rotation.AllRenewed, rotation.DropOld, rotation.Done} {
		if phases[phase] < 50 {
			t.Errorf("phase %s was planned %d times: the model does not reach it", phase, phases[phase])
		}
	}
	if finished < worlds || aborted < 100 {
		t.Errorf("%d rotations completed and %d turned around: too few to prove anything", finished, aborted)
	}
}

// TestModelCanFail removes one kind of evidence at a time: each is needed.
func TestModelCanFail(t *testing.T) {
	forgetful := map[string]func(*rotation.Evidence){
		"proxies": func(e *rotation.Evidence) {
			for i := range e.Replicas {
				e.Replicas[i].Proxies = nil
				e.Replicas[i].Unknown = nil
			}
		},
		"proxies that are not connected": func(e *rotation.Evidence) {
			for i := range e.Replicas {
				e.Replicas[i].Unknown = nil
			}
		},
		"replicas that do not respond": func(e *rotation.Evidence) {
			e.Replicas = slices.DeleteFunc(e.Replicas, func(r rotation.Replica) bool { return r.Error != "" })
		},
		"injectors": func(e *rotation.Evidence) {
			e.Replicas = slices.DeleteFunc(e.Replicas, func(r rotation.Replica) bool { return r.Component == rotation.Injector })
		},
		"webhooks": func(e *rotation.Evidence) {
			for i := range e.Webhooks {
				e.Webhooks[i].Trusts = []string{"ca-a", "ca-b", "ca-c"}
			}
		},
		"the age of Secrets": func(e *rotation.Evidence) {
			for i := range e.Replicas {
				for j := range e.Replicas[i].Secrets {
					e.Replicas[i].Secrets[j].Since = time.Time{}
				}
			}
		},
	}
	for name, forget := range forgetful {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				w := newWorld(seed)
				inner := w.plan
				w.plan = func(roots []rotation.Root, evidence rotation.Evidence) rotation.Step {
					forget(&evidence)
					return inner(roots, evidence)
				}
				for range 4000 {
					w.step()
					if w.broken() != "" {
						return
					}
				}
			}
			t.Error("nothing broke without this evidence: the model does not depend on it")
		})
	}
}
