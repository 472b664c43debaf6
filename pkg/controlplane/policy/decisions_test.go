package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

func workload(of identity.Identity, ports ...uint16) *mesh.Workload {
	w := &mesh.Workload{Identity: of}
	for _, port := range ports {
		w.Inbound = append(w.Inbound, mesh.InboundPort{Number: port, Protocol: mesh.HTTP})
	}
	return w
}

func service(of ...identity.Identity) *mesh.Service {
	return &mesh.Service{
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports:     []mesh.ServicePort{{Number: 79}, {Number: 80, Identities: of}},
	}
}

// The zero value of everything denies: no permissive mode, no egress, no rule.
func TestEmptinessDenies(t *testing.T) {
	for name, rules := range map[string][]*mesh.Rule{
		"no rule":               nil,
		"a rule without client": {{To: id("shop", "store")}},
		"an empty rule":         {{}},
	} {
		t.Run(name, func(t *testing.T) {
			d := policy.Decide(mesh.Settings{}, rules)
			if proxy := d.Proxy(workload(id("shop", "store"), 80)); len(proxy.Inbound) > 0 || !proxy.OtherPorts.AcceptNobody() {
				t.Errorf("the workload lets in %+v", proxy)
			}
			out := d.Outbound(id("shop", "buyer"))
			if !out.Servers.AcceptNobody() || out.Egress || out.Reaches(service(id("shop", "store"))) || out.Reaches(service()) || out.ReachesAll() {
				t.Errorf("the workload may send to %+v", out)
			}
		})
	}
}

func TestPermissiveModeIsOneGroup(t *testing.T) {
	d := policy.Decide(mesh.Settings{Permissive: true, Egress: true}, []*mesh.Rule{{To: id("shop", "store"), From: []identity.Identity{id("shop", "buyer")}}})
	buyer, store := d.Outbound(id("shop", "buyer")), d.Outbound(id("shop", "store"))
	if buyer != store || !buyer.Servers.Equal(policy.AnyWorkload()) || !buyer.Egress || !buyer.ReachesAll() || !buyer.Reaches(service()) {
		t.Errorf("%+v and %+v, want one that reaches all", buyer, store)
	}
	proxy := d.Proxy(workload(id("shop", "store"), 80, 81))
	if len(proxy.Inbound) != 2 || !proxy.Inbound[0].From.Equal(policy.AnyWorkload()) || !proxy.OtherPorts.Equal(policy.AnyWorkload()) {
		t.Errorf("lets in %+v", proxy)
	}
}

// TestDecisionsFollowTheRules compares both ends of every pair of identities with the rules, whose order
// makes no difference; one more rule takes nothing away.
func TestDecisionsFollowTheRules(t *testing.T) {
	var all []identity.Identity
	for i := range 6 {
		all = append(all, id(fmt.Sprint("ns-", i%2), fmt.Sprint("account-", i)))
	}
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 9))
		var rules []*mesh.Rule
		for range random.IntN(8) {
			rule := &mesh.Rule{To: all[random.IntN(len(all))]}
			for range random.IntN(4) {
				rule.From = append(rule.From, all[random.IntN(len(all))])
			}
			rules = append(rules, rule)
		}
		d := policy.Decide(mesh.Settings{}, rules)
		shuffled := slices.Clone(rules)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		other := policy.Decide(mesh.Settings{}, shuffled)
		more := policy.Decide(mesh.Settings{}, append(shuffled, &mesh.Rule{To: all[0], From: all[1:3]}))
		for _, from := range all {
			out := d.Outbound(from)
			if out.Group != other.Outbound(from).Group || !out.Servers.Equal(other.Outbound(from).Servers) {
				t.Errorf("seed %d: the order of the rules makes a difference", seed)
			}
			for _, to := range all {
				want := slices.ContainsFunc(rules, func(r *mesh.Rule) bool { return r.To == to && slices.Contains(r.From, from) })
				proxy := d.Proxy(workload(to, 80))
				admitted := len(proxy.Inbound) == 1 && proxy.Inbound[0].From.Accept(from)
				if admitted != want || proxy.OtherPorts.Accept(from) != want || out.Servers.Accept(to) != want || out.Reaches(service(to)) != want {
					t.Errorf("seed %d: %s to %s: admitted %t, other ports %t, accepted %t, reached %t, want %t", seed, from, to,
						admitted, proxy.OtherPorts.Accept(from), out.Servers.Accept(to), out.Reaches(service(to)), want)
				}
				if want && !more.Outbound(from).Servers.Accept(to) {
					t.Errorf("seed %d: a rule more, and %s may no longer connect to %s", seed, from, to)
				}
				if (out.Group == d.Outbound(to).Group) != out.Servers.Equal(d.Outbound(to).Servers) || (out.Group == d.Outbound(to).Group) != (out == d.Outbound(to)) {
					t.Errorf("seed %d: the groups of %s and %s are not those of equal rights", seed, from, to)
				}
			}
		}
	}
}

// A Service is reached if some workload behind it may be, on whatever port.
func TestServiceIsReachedThroughAnyWorkload(t *testing.T) {
	d := policy.Decide(mesh.Settings{}, []*mesh.Rule{{To: id("shop", "store"), From: []identity.Identity{id("shop", "buyer")}}})
	out := d.Outbound(id("shop", "buyer"))
	if !out.Reaches(service(id("shop", "a"), id("shop", "store"))) {
		t.Error("a Service with two identities is not reached")
	}
	if out.Reaches(service()) || out.Reaches(service(id("shop", "a"))) {
		t.Error("a Service without the identity is reached")
	}
}

func TestPlaintextEndpoints(t *testing.T) {
	mixed := service(id("shop", "store"))
	mixed.Ports[1].Endpoints = []mesh.Endpoint{
		{Address: netip.MustParseAddrPort("10.0.0.1:80"), Meshed: true}, {Address: netip.MustParseAddrPort("10.0.0.2:80")}, {Address: netip.MustParseAddrPort("10.0.0.2:81")},
	}
	rule := &mesh.Rule{To: id("shop", "store"), From: []identity.Identity{id("shop", "buyer")}}
	for _, test := range []struct {
		settings mesh.Settings
		rules    []*mesh.Rule
		want     int
	}{
		{mesh.Settings{Permissive: true, Egress: true}, nil, 1},
		{mesh.Settings{Permissive: true}, nil, 0},
		{mesh.Settings{Egress: true}, nil, 0},
		{mesh.Settings{Egress: true}, []*mesh.Rule{rule}, 1},
		{mesh.Settings{}, []*mesh.Rule{rule}, 0},
	} {
		if got := policy.Decide(test.settings, test.rules).PlaintextEndpoints(mixed); got != test.want {
			t.Errorf("%+v with %d rules: %d endpoints, want %d", test.settings, len(test.rules), got, test.want)
		}
	}
}
