package controlplane_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// TestIncrementalEqualsFromScratch drives one controller through a random life of a mesh: objects
// come, change and go in any order, news is repeated, and what one object refers to may come later
// or never. After each step the configuration must be, byte for byte, the one that a controller
// makes that has just started.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newLife(seed).check(t) })
	}
}

// TestIncrementalWithRules is the same without permissive mode, with rules that come and go, and asks in
// addition that nobody gets what no rule allows.
func TestIncrementalWithRules(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			l := newLife(seed + 100)
			l.rules = randomRules(l.random)
			l.check(t)
		})
	}
}

func (l *life) check(t *testing.T) {
	for step := range 120 {
		did := l.step()
		snapshot, problems := l.state.Snapshot()
		config, err := l.builder.Build(withRules(snapshot, l.rules))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromScratch(t, l.objects(), l.rules...), fingerprints(config, problems)); diff != "" {
			t.Fatalf("step %d (%s): the configuration is not the one from scratch:\n%s", step, did, diff)
		}
		if len(l.rules) > 0 {
			checkReach(t, config, l.rules)
		}
		l.proxies.follow(t, config)
	}
}

// life is a mesh that changes: two random meshes of the same names lend it their objects.
type life struct {
	random  *rand.Rand
	pool    [2]map[string]any // by kind, namespace and name
	keys    []string
	now     map[string]any
	rules   []*mesh.Rule // none in permissive mode
	state   *ingest.State
	builder *envoy.Builder
	proxies proxies
}

func newLife(seed uint64) *life {
	l := &life{
		random: rand.New(rand.NewPCG(seed, 11)), now: map[string]any{},
		state: ingest.NewState("osm", "cluster.local"), builder: envoy.NewBuilder(nil),
	}
	for i := range l.pool {
		l.pool[i] = keyed(randomMesh(l.random))
		for key := range l.pool[i] {
			l.keys = append(l.keys, key)
		}
	}
	slices.Sort(l.keys)
	l.keys = slices.Compact(l.keys)
	return l
}

func keyed(objects ingest.Objects) map[string]any {
	by := map[string]any{"MeshConfig": objects.MeshConfig}
	for _, o := range objects.Namespaces {
		by["Namespace "+o.Name] = o
	}
	for _, o := range objects.Pods {
		by["Pod "+o.Namespace+"/"+o.Name] = o
	}
	for _, o := range objects.Services {
		by["Service "+o.Namespace+"/"+o.Name] = o
	}
	for _, o := range objects.EndpointSlices {
		by["EndpointSlice "+o.Namespace+"/"+o.Name] = o
	}
	return by
}

// step does one to thirty things, as many as a burst merges, and says what.
func (l *life) step() string {
	did := ""
	for range 1 + l.random.IntN(1+l.random.IntN(30)) {
		key := l.keys[l.random.IntN(len(l.keys))]
		object := l.pool[l.random.IntN(2)][key]
		switch l.random.IntN(6) {
		case 0:
			object = nil // it goes, or was never there
		case 1:
			object = l.now[key] // news that is none
		case 2:
			object = touched(object)
		}
		if object == nil {
			delete(l.now, key)
		} else {
			l.now[key] = object
		}
		l.tell(key, object)
		did += fmt.Sprintf("%s=%t ", key, object != nil)
	}
	if len(l.rules) > 0 && l.random.IntN(3) == 0 {
		did += l.changeRules()
	}
	return did
}

// changeRules adds, replaces or removes a rule, but never the first.
func (l *life) changeRules() string {
	now := slices.Clone(l.rules)
	switch i := l.random.IntN(len(now)); {
	case i == 0 || len(now) < 4:
		now = append(now, randomRule(l.random))
	case l.random.IntN(2) == 0:
		now = slices.Delete(now, i, i+1)
	default:
		now[i] = randomRule(l.random)
	}
	l.rules = now
	return fmt.Sprintf("%d rules ", len(now))
}

// touched returns another version of an object with a difference in fields that nobody reads.
func touched(object any) any {
	switch o := object.(type) {
	case *corev1.Pod:
		copied := o.DeepCopy()
		copied.Annotations = map[string]string{"note": "nobody reads this"}
		return copied
	case *discoveryv1.EndpointSlice:
		copied := o.DeepCopy()
		copied.ResourceVersion += "0"
		return copied
	}
	return object
}

func (l *life) tell(key string, object any) {
	example := object
	if example == nil {
		if example = l.pool[0][key]; example == nil {
			example = l.pool[1][key]
		}
	}
	meta, _ := example.(metav1.Object)
	switch example.(type) {
	case *v1alpha2.MeshConfig:
		config, _ := object.(*v1alpha2.MeshConfig)
		l.state.SetMeshConfig(config)
	case *corev1.Namespace:
		ns, _ := object.(*corev1.Namespace)
		l.state.SetNamespace(meta.GetName(), ns)
	case *corev1.Pod:
		pod, _ := object.(*corev1.Pod)
		l.state.SetPod(meta.GetNamespace(), meta.GetName(), pod)
	case *corev1.Service:
		service, _ := object.(*corev1.Service)
		l.state.SetService(meta.GetNamespace(), meta.GetName(), service)
	case *discoveryv1.EndpointSlice:
		slice, _ := object.(*discoveryv1.EndpointSlice)
		l.state.SetEndpointSlice(meta.GetNamespace(), meta.GetName(), slice)
	}
}

func (l *life) objects() ingest.Objects {
	objects := ingest.Objects{MeshName: "osm", TrustDomain: "cluster.local"}
	for _, object := range l.now {
		switch o := object.(type) {
		case *v1alpha2.MeshConfig:
			objects.MeshConfig = o
		case *corev1.Namespace:
			objects.Namespaces = append(objects.Namespaces, o)
		case *corev1.Pod:
			objects.Pods = append(objects.Pods, o)
		case *corev1.Service:
			objects.Services = append(objects.Services, o)
		case *discoveryv1.EndpointSlice:
			objects.EndpointSlices = append(objects.EndpointSlices, o)
		}
	}
	return objects
}

// proxies apply nothing but the differences between what they hold and what they should, as streams
// send them.
type proxies struct {
	settings mesh.Settings
	by       map[mesh.PodName]*proxy
}

type proxy struct {
	view envoy.View
	has  [2]map[envoy.Kind]map[string]string
}

// follow brings every pod's proxy up to date and compares it with its configuration. While the settings
// are the same, a proxy must not be told to look when nothing is different for it.
func (ps *proxies) follow(t *testing.T, config *envoy.Config) {
	t.Helper()
	sameSettings := ps.settings == config.Snapshot().Settings()
	ps.settings = config.Snapshot().Settings()
	inForce := map[*envoy.Layer]bool{}
	for _, w := range config.Snapshot().Workloads() {
		view, _ := config.View(w.Name)
		inForce[view.Shared] = true
	}
	last := ps.by
	ps.by = map[mesh.PodName]*proxy{}
	for _, w := range config.Snapshot().Workloads() {
		view, _ := config.View(w.Name)
		p := last[w.Name]
		if p == nil {
			p = &proxy{}
		}
		ps.by[w.Name] = p
		changes := 0
		for _, k := range envoy.Kinds() {
			changes += p.apply(t, k, view)
		}
		switch told := p.view.Shared != view.Shared; {
		case !told && changes > 0:
			t.Errorf("%s is not told of %d changes", w.Name, changes)
		case told && changes == 0 && sameSettings:
			t.Errorf("%s is told to look at what it shares, which is the same", w.Name)
		}
		for _, shared := range []*envoy.Layer{p.view.Shared, view.Shared} {
			if config.InForce(shared) != inForce[shared] {
				t.Errorf("what %s shares: in force: %t", w.Name, !inForce[shared])
			}
		}
		p.view = view
	}
}

// apply makes the changes of one kind and returns how many were in what is shared.
func (p *proxy) apply(t *testing.T, k envoy.Kind, view envoy.View) (changes int) {
	t.Helper()
	for i, set := range view.Sets(k) {
		var older *envoy.Set
		if p.view != (envoy.View{}) {
			older = p.view.Sets(k)[i]
		}
		if p.has[i] == nil {
			p.has[i] = map[envoy.Kind]map[string]string{}
		}
		if p.has[i][k] == nil {
			p.has[i][k] = map[string]string{}
		}
		diff := set.Since(older)
		if i == 0 {
			changes += len(diff.Changed) + len(diff.Removed)
		}
		for _, r := range diff.Changed {
			if p.has[i][k][r.Name] == r.Version {
				t.Errorf("%s %s is sent again though nothing changed", k, r.Name)
			}
			p.has[i][k][r.Name] = r.Version
		}
		for _, name := range diff.Removed {
			delete(p.has[i][k], name)
		}
		want := map[string]string{}
		for _, r := range set.All() {
			want[r.Name] = r.Version
			if set.Named(r.Name) != r {
				t.Errorf("%s %s is not found by its name", k, r.Name)
			}
		}
		if d := cmp.Diff(want, p.has[i][k]); d != "" {
			t.Errorf("%s: a proxy that took all differences has something else:\n%s", k, d)
		}
	}
	return changes
}

// TestNothingChangedIsNothingNew asks that news which changes nothing that is read costs nothing: the
// same snapshot, the same Views, no resource encoded.
func TestNothingChangedIsNothingNew(t *testing.T) {
	l := newLife(3)
	for _, key := range l.keys {
		if object := l.pool[0][key]; object != nil {
			l.now[key] = object
			l.tell(key, object)
		}
	}
	built := 0
	l.builder = envoy.NewBuilder(func(envoy.Kind) { built++ })
	before, _ := l.state.Snapshot()
	first, err := l.builder.Build(before)
	if err != nil {
		t.Fatal(err)
	}
	if built == 0 {
		t.Fatal("nothing was built")
	}
	built = 0
	for key, object := range l.now {
		l.tell(key, touched(object))
	}
	after, _ := l.state.Snapshot()
	if after != before {
		t.Error("there is a new snapshot")
	}
	second, err := l.builder.Build(after)
	if err != nil {
		t.Fatal(err)
	}
	if built != 0 {
		t.Errorf("%d resources were built", built)
	}
	for _, w := range before.Workloads() {
		was, _ := first.View(w.Name)
		is, _ := second.View(w.Name)
		if was != is {
			t.Errorf("%s has a new View", w.Name)
		}
	}
}
