package xds

import (
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// state describes an offer: per type, per name, a number that stands for the content.
type state map[resourceType]map[string]int

func (s state) offer(t testing.TB) offer {
	t.Helper()
	o := offer{}
	resources := map[envoy.Kind][]*envoy.Resource{}
	for typ := range numTypes {
		for name, content := range s[typ] {
			r, err := envoy.NewResource(name, message(typ, name, content))
			if err != nil {
				t.Fatal(err)
			}
			if typ == secrets {
				o.secrets = append(o.secrets, r)
			} else {
				resources[kinds[typ]] = append(resources[kinds[typ]], r)
			}
		}
	}
	slices.SortFunc(o.secrets, func(a, b *envoy.Resource) int { return strings.Compare(a.Name, b.Name) })
	o.view = envoy.NewView(resources)
	return o
}

// message is any valid message of the type whose bytes depend on content.
func message(typ resourceType, name string, content int) proto.Message {
	switch typ {
	case endpoints:
		return &endpointv3.ClusterLoadAssignment{ClusterName: name, Policy: &endpointv3.ClusterLoadAssignment_Policy{EndpointStaleAfter: durationpb.New(time.Duration(content+1) * time.Second)}}
	case listeners:
		return &listenerv3.Listener{Name: name, StatPrefix: strings.Repeat("x", content+1)}
	case routes:
		return &routev3.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{strings.Repeat("x", content+1)}}
	default:
		return &clusterv3.Cluster{Name: name, AltStatName: strings.Repeat("x", content+1)}
	}
}

// told is a response in short: "cds a b" or "cds -a -b".
func told(resp *discoveryv3.DeltaDiscoveryResponse) string {
	if resp == nil {
		return ""
	}
	typ, _ := typeOf(resp.GetTypeUrl())
	words := []string{typ.name()}
	for _, r := range resp.GetResources() {
		words = append(words, r.GetName())
	}
	for _, name := range resp.GetRemovedResources() {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}

// deltaProxy plays a proxy against a deltaSession.
type deltaProxy struct {
	t       *testing.T
	session deltaSession
	state   state
}

func (p *deltaProxy) ask(typ resourceType, subscribe ...string) {
	p.session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[typ], ResourceNamesSubscribe: subscribe})
}

// settle takes and acknowledges responses until there are none, and returns them in short.
func (p *deltaProxy) settle() []string {
	var all []string
	for {
		var round []*discoveryv3.DeltaDiscoveryResponse
		for resp := p.session.next(p.state.offer(p.t)); resp != nil; resp = p.session.next(p.state.offer(p.t)) {
			round = append(round, resp)
			all = append(all, told(resp))
		}
		if len(round) == 0 {
			return all
		}
		for _, resp := range round {
			p.answer(resp, "")
		}
	}
}

func (p *deltaProxy) answer(resp *discoveryv3.DeltaDiscoveryResponse, complaint string) *rejection {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	if complaint != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: complaint}
	}
	return p.session.handle(req)
}

func (p *deltaProxy) expect(want ...string) {
	p.t.Helper()
	if diff := cmp.Diff(want, p.settle()); diff != "" {
		p.t.Errorf("responses differ:\n%s", diff)
	}
}

func subscribed(t *testing.T) *deltaProxy {
	p := &deltaProxy{t: t, state: state{
		clusters: {"a": 1, "b": 1}, endpoints: {"a": 1, "b": 1}, listeners: {"l": 1}, routes: {"r": 1}, secrets: {"s": 1},
	}}
	p.ask(clusters)
	p.ask(endpoints, "a", "b")
	p.ask(secrets, "s")
	p.ask(listeners)
	p.ask(routes, "r")
	p.expect("cds a b", "eds a b", "sds s", "lds l", "rds r")
	return p
}

func TestDeltaSendsOnlyWhatChanged(t *testing.T) {
	p := subscribed(t)
	p.expect()
	p.state[endpoints]["a"] = 2
	p.expect("eds a")
	p.state[routes]["other"] = 1 // nobody asked for it
	p.expect()
}

func TestDeltaMakesBeforeItBreaks(t *testing.T) {
	p := subscribed(t)
	p.state = state{clusters: {"a": 1, "c": 1}, endpoints: {"a": 1, "c": 1}, listeners: {"m": 1}, routes: {"r": 2}, secrets: {"s": 1}}
	p.ask(endpoints, "c")
	p.expect("cds c", "eds c", "lds m", "rds r", "lds -l", "eds -b", "cds -b")
}

func TestDeltaTakesNothingAwayBeforeAllIsAnswered(t *testing.T) {
	p := subscribed(t)
	delete(p.state[clusters], "b")
	p.state[routes]["r"] = 2
	resp := p.session.next(p.state.offer(t))
	if told(resp) != "rds r" {
		t.Fatalf("first came %q, want the route that no longer names the cluster", told(resp))
	}
	if early := p.session.next(p.state.offer(t)); early != nil {
		t.Fatalf("%q came before the proxy took the new route", told(early))
	}
	p.answer(resp, "")
	p.expect("cds -b")
}

func TestDeltaReconnectWithUnchangedMeshSendsNothing(t *testing.T) {
	before := subscribed(t)
	p := &deltaProxy{t: t, state: before.state}
	o := p.state.offer(t)
	for typ := range numTypes {
		versions := map[string]string{}
		for _, r := range o.all(typ) {
			versions[r.Name] = r.Version
		}
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[typ], InitialResourceVersions: versions}
		if !typ.mayBeWildcard() {
			for name := range versions {
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
			}
		}
		p.session.handle(req)
	}
	p.expect()
	delete(p.state[clusters], "b")
	p.expect("cds -b")
}

func TestDeltaReconnectRemovesWhatWentMeanwhile(t *testing.T) {
	p := &deltaProxy{t: t, state: state{clusters: {"a": 1}}}
	p.session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, InitialResourceVersions: map[string]string{"gone": "v"}})
	p.expect("cds a", "cds -gone")
}

func TestDeltaRejectedResourceIsNotSentAgainUntilItChanges(t *testing.T) {
	p := subscribed(t)
	p.state[listeners]["l"] = 2
	resp := p.session.next(p.state.offer(t))
	got := p.answer(resp, "no such filter")
	want := &rejection{typ: listeners, resources: []string{"l"}, message: "no such filter"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(rejection{})); diff != "" {
		t.Errorf("rejection differs:\n%s", diff)
	}
	p.expect()
	p.state[listeners]["l"] = 3
	p.expect("lds l")
}

func TestDeltaOneResponsePerTypeOnItsWay(t *testing.T) {
	p := subscribed(t)
	p.state[endpoints]["a"] = 2
	slow := p.session.next(p.state.offer(t))
	for content := 3; content < 100; content++ {
		p.state[endpoints]["a"] = content
		if resp := p.session.next(p.state.offer(t)); resp != nil {
			t.Fatalf("%q was sent to a proxy that has not answered", told(resp))
		}
	}
	p.answer(slow, "")
	p.expect("eds a")
}

func TestDeltaSubscriptions(t *testing.T) {
	p := subscribed(t)
	p.ask(endpoints, "a") // asking again: the proxy may have dropped it
	p.expect("eds a")
	p.ask(endpoints, "nowhere")
	p.expect("eds -nowhere")
	p.state[endpoints]["nowhere"] = 1
	p.expect("eds nowhere")
	p.session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeEndpoint, ResourceNamesUnsubscribe: []string{"a"}})
	p.state[endpoints]["a"] = 5
	p.expect()
	p.session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, ResourceNamesUnsubscribe: []string{"*"}})
	p.state[clusters]["a"] = 5
	p.expect()
	p.ask(clusters, "a")
	p.expect("cds a")
}

func TestDeltaChangedClusterGetsItsEndpointsAgain(t *testing.T) {
	p := subscribed(t)
	p.state[clusters]["a"] = 2
	p.expect("cds a", "eds a")
}

func TestDeltaIgnoresStaleAnswersAndUnknownTypes(t *testing.T) {
	p := subscribed(t)
	p.state[endpoints]["a"] = 2
	resp := p.session.next(p.state.offer(t))
	stale := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: envoy.TypeEndpoint, Nonce: "0"}
	if r := p.answer(stale, "complaint about something older"); r != nil || p.session.settled() {
		t.Errorf("a stale answer was taken for one to %q", told(resp))
	}
	if r := p.session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.service.runtime.v3.Runtime"}); r != nil {
		t.Errorf("an unknown type was rejected: %v", r)
	}
	p.answer(resp, "")
	p.expect()
}
