package mesh

import (
	"slices"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

func pod(name string) *Workload { return &Workload{Name: PodName{"shop", name}} }

func TestNewSorts(t *testing.T) {
	a, b, c := pod("a"), pod("b"), pod("c")
	first, second := &Service{Name: ServiceName{"a", "z"}}, &Service{Name: ServiceName{"b", "a"}}
	store := identity.Identity{Namespace: "shop", ServiceAccount: "store"}
	narrow, wide := &Rule{To: store}, &Rule{To: store, From: []identity.Identity{store}}
	s := New(Settings{}, []*Service{second, first}, []*Workload{c, a, b}, wide, narrow)
	if !slices.Equal(s.Workloads(), []*Workload{a, b, c}) || !slices.Equal(s.Services(), []*Service{first, second}) || !slices.Equal(s.Rules(), []*Rule{narrow, wide}) {
		t.Errorf("workloads %v, services %v, rules %v", s.Workloads(), s.Services(), s.Rules())
	}
	for i, w := range []*Workload{a, b, c} {
		if at, ok := s.Find(w.Name); !ok || at != i || s.Workload(w.Name) != w {
			t.Errorf("%s is not found at %d", w.Name, i)
		}
	}
	for _, name := range []PodName{{"shop", "aa"}, {"sho", "a"}, {}} {
		if _, ok := s.Find(name); ok || s.Workload(name) != nil {
			t.Errorf("%s is found", name)
		}
	}
}

// Snapshots that share a list say so; equal lists that are not shared do not count.
func TestSameLists(t *testing.T) {
	workloads, rules := []*Workload{pod("a")}, []*Rule{{}}
	s := New(Settings{}, nil, workloads, rules...)
	if o := New(Settings{Permissive: true}, nil, workloads, rules...); !s.SameWorkloads(o) || !s.SameRules(o) {
		t.Error("one list counts as two")
	}
	if o := New(Settings{}, nil, slices.Clone(workloads), slices.Clone(rules)...); s.SameWorkloads(o) || s.SameRules(o) {
		t.Error("a copy counts as the list")
	}
	if o := New(Settings{}, nil, nil); s.SameWorkloads(o) || s.SameRules(o) || !o.SameWorkloads(New(Settings{}, nil, nil)) {
		t.Error("an empty list")
	}
}

func TestClass(t *testing.T) {
	one := &Workload{Name: PodName{"shop", "a"}, Inbound: []InboundPort{{80, HTTP}, {81, TCP}}}
	same := &Workload{Name: PodName{"shop", "b"}, Inbound: []InboundPort{{80, HTTP}, {81, TCP}}}
	if one.Class() != same.Class() {
		t.Error("two pods of one class differ")
	}
	for name, w := range map[string]*Workload{
		"identity": {Identity: identity.Identity{Namespace: "shop", ServiceAccount: "x"}, Inbound: one.Inbound},
		"port":     {Inbound: []InboundPort{{80, HTTP}, {82, TCP}}},
		"protocol": {Inbound: []InboundPort{{80, GRPC}, {81, TCP}}},
		"fewer":    {Inbound: []InboundPort{{80, HTTP}}},
	} {
		if w.Class() == one.Class() {
			t.Errorf("another %s, and the same class", name)
		}
	}
}

func TestParsePodName(t *testing.T) {
	for text, want := range map[string]PodName{"shop/store-0": {"shop", "store-0"}, "": {}, "shop": {}, "shop/": {}, "/store-0": {}, "shop/store/0": {}} {
		got, ok := ParsePodName(text)
		if got != want || ok != (want != PodName{}) {
			t.Errorf("ParsePodName(%q) = %v, %t", text, got, ok)
		}
		if ok && got.String() != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestProtocol(t *testing.T) {
	for p, want := range map[Protocol]struct {
		name string
		http bool
	}{TCP: {"tcp", false}, HTTP: {"http", true}, GRPC: {"grpc", true}, 99: {"tcp", false}} {
		if p.String() != want.name || p.IsHTTP() != want.http {
			t.Errorf("%d is %q, HTTP: %t", p, p, p.IsHTTP())
		}
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	if got, want := (Limits{}).WithDefaults(), (Limits{10 * time.Second, 10 * time.Second, time.Hour, 1024}); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	all := Limits{1, 2, 3, 4}
	if got := all.WithDefaults(); got != all {
		t.Errorf("%+v became %+v", all, got)
	}
}
