package controlplane_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

var meshes = flag.Int("meshes", 60, "number of random meshes that three replicas have to agree about")

// TestReplicasComputeTheSameBytes is HA-6: three replicas end with byte-identical resources, versions and problems if
// the API server holds the same objects for them in the end, whatever each of them saw before. Each has its own
// pipeline and its own history: another order, other bursts, objects that only it saw come, change and go. Fails
// if something depends on the history, on the order of a list, or on the iteration of a map.
func TestReplicasComputeTheSameBytes(t *testing.T) {
	for seed := range uint64(*meshes) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			e := newEnding(rand.New(rand.NewPCG(seed, 7)), seed%2 == 1)
			first := e.replica(t, seed, 0)
			for n := range uint64(2) {
				other := e.replica(t, seed, n+1)
				if digest(first) != digest(other) {
					t.Fatalf("replica %d has another configuration than replica 0:\n%s", n+1, cmp.Diff(first, other))
				}
			}
		})
	}
}

func digest(prints []string) [sha256.Size]byte {
	all := sha256.New()
	for _, line := range prints {
		fmt.Fprintln(all, line)
	}
	return [sha256.Size]byte(all.Sum(nil))
}

// ending is what the API server holds in the end, and another mesh of the same names: what it may have held before.
type ending struct {
	keys          []string
	final, before map[string]any
	rules         []*mesh.Rule // none in permissive mode
}

func newEnding(random *rand.Rand, strict bool) *ending {
	e := &ending{final: keyed(randomMesh(random)), before: keyed(randomMesh(random))}
	for _, held := range []map[string]any{e.final, e.before} {
		for key := range held {
			e.keys = append(e.keys, key)
		}
	}
	slices.Sort(e.keys)
	e.keys = slices.Compact(e.keys)
	for _, key := range e.keys {
		if e.final[key] != nil && random.IntN(8) == 0 {
			e.before[key], e.final[key] = e.final[key], nil
		}
	}
	if strict {
		e.rules = randomRules(random)
	}
	return e
}

// replica leads a new pipeline through a history of its own to the ending, and returns what it serves then.
func (e *ending) replica(t *testing.T, seed, n uint64) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 100+n))
	l := &life{
		random: random, pool: [2]map[string]any{e.final, e.before},
		state: ingest.NewState("osm", "cluster.local"), builder: envoy.NewBuilder(nil),
	}
	rules := slices.Clone(e.rules)
	mix(random, rules)
	events, config, problems := e.events(random), (*envoy.Config)(nil), []ingest.Problem(nil)
	for len(events) > 0 {
		size := len(events) // the first sees all at once, as after a restart
		if n > 0 {
			size = min(1+random.IntN([]int{40, 10}[n-1]), len(events))
		}
		for _, event := range events[:size] {
			l.tell(event.key, event.object)
		}
		events = events[size:]
		inForce := rules
		if len(events) > 0 && len(rules) > 0 {
			inForce = rules[:1+random.IntN(len(rules))]
		}
		var snapshot *mesh.Snapshot
		snapshot, problems = l.state.Snapshot()
		var err error
		if config, err = l.builder.Build(withRules(snapshot, inForce)); err != nil {
			t.Fatal(err)
		}
	}
	return fingerprints(config, problems)
}

// event is news of one object: what it is now, or nil when it is gone.
type event struct {
	key    string
	object any
}

// events are what one replica sees: up to three earlier states of each object, then the last. The order of one object's
// events is kept, as in a watch; those of different objects are mixed.
func (e *ending) events(random *rand.Rand) []event {
	histories, turns := map[string][]any{}, []string(nil)
	for _, key := range e.keys {
		var history []any
		for range random.IntN(4) {
			history = append(history, []any{nil, e.before[key], e.final[key], touched(e.before[key])}[random.IntN(4)])
		}
		histories[key] = append(history, reordered(random, e.final[key]))
		for range histories[key] {
			turns = append(turns, key)
		}
	}
	mix(random, turns)
	events := make([]event, 0, len(turns))
	for _, key := range turns {
		events = append(events, event{key, histories[key][0]})
		histories[key] = histories[key][1:]
	}
	return events
}

// reordered returns a slice with its endpoints in another order, which has no meaning, and other objects as they are.
func reordered(random *rand.Rand, object any) any {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return object
	}
	slice = slice.DeepCopy()
	mix(random, slice.Endpoints)
	return slice
}

func shuffle(random *rand.Rand, objects *ingest.Objects) {
	mix(random, objects.Namespaces)
	mix(random, objects.Pods)
	mix(random, objects.Services)
	mix(random, objects.EndpointSlices)
	for _, slice := range objects.EndpointSlices {
		mix(random, slice.Endpoints)
	}
}
