package xds

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// instant is any moment: sessions only note it.
var instant = time.Unix(1700000000, 0)

// state describes an offer: per type, per name, a number that stands for the content. Names that
// begin with "own", and contents from 100 on, are in the proxy's own layer, the others in the shared
// one; the same content is 100 more there.
type state map[resourceType]map[string]int

func (s state) offer(t testing.TB) offer {
	t.Helper()
	var views [2]map[envoy.Kind][]*envoy.Resource
	var secret [2][]*envoy.Resource
	for i := range views {
		views[i] = map[envoy.Kind][]*envoy.Resource{}
	}
	kinds := map[resourceType]envoy.Kind{clusters: envoy.Clusters, endpoints: envoy.Endpoints, listeners: envoy.Listeners, routes: envoy.Routes}
	for typ := range numTypes {
		for name, content := range s[typ] {
			r, err := envoy.NewResource(name, message(typ, name, content%100))
			if err != nil {
				t.Fatal(err)
			}
			layer := 0
			if strings.HasPrefix(name, "own") || content >= 100 {
				layer = 1
			}
			if kind, ok := kinds[typ]; ok {
				views[layer][kind] = append(views[layer][kind], r)
			} else {
				secret[layer] = append(secret[layer], r)
			}
		}
	}
	return offer{
		view:  envoy.View{Shared: envoy.NewLayer(views[0]), Own: envoy.NewLayer(views[1])},
		trust: envoy.NewSet(secret[0]), workload: envoy.NewSet(secret[1]),
	}
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
	case secrets:
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: inline([]byte(strings.Repeat("x", content+1)))}}}
	default:
		return &clusterv3.Cluster{Name: name, AltStatName: strings.Repeat("x", content+1)}
	}
}

// decode reads a response as a proxy does; into must be of the stream's variant.
func decode[M proto.Message](t testing.TB, resp *response, into M) M {
	t.Helper()
	encoded := resp.buffers.Materialize()
	if len(encoded) != resp.size {
		t.Fatalf("a response of %d bytes says that it has %d", len(encoded), resp.size)
	}
	if err := proto.Unmarshal(encoded, into); err != nil {
		t.Fatalf("decode a response: %v", err)
	}
	return into
}

func decodeDelta(t testing.TB, resp *response) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	if resp == nil {
		return nil
	}
	return decode(t, resp, &discoveryv3.DeltaDiscoveryResponse{})
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

func newDeltaProxy(t *testing.T, s state) *deltaProxy {
	return &deltaProxy{t: t, session: deltaSession{lists: newNameLists()}, state: s}
}

func (p *deltaProxy) handle(req *discoveryv3.DeltaDiscoveryRequest) answer {
	return p.session.handle(req, p.state.offer(p.t), instant)
}

func (p *deltaProxy) next() *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	return decodeDelta(p.t, p.session.next(p.state.offer(p.t), instant))
}

func (p *deltaProxy) ask(typ resourceType, subscribe ...string) {
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.url(), ResourceNamesSubscribe: subscribe})
}

func (p *deltaProxy) drop(typ resourceType, names ...string) {
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.url(), ResourceNamesUnsubscribe: names})
}

// settle takes and acknowledges responses until there are none, and returns them in short.
func (p *deltaProxy) settle() []string {
	p.t.Helper()
	var all []string
	for {
		var round []*discoveryv3.DeltaDiscoveryResponse
		for resp := p.next(); resp != nil; resp = p.next() {
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

func (p *deltaProxy) answer(resp *discoveryv3.DeltaDiscoveryResponse, complaint string) *refusal {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	if complaint != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: complaint}
	}
	return p.handle(req).refusal
}

func (p *deltaProxy) expect(want ...string) {
	p.t.Helper()
	if diff := cmp.Diff(want, p.settle()); diff != "" {
		p.t.Errorf("responses differ:\n%s", diff)
	}
}

func subscribed(t *testing.T) *deltaProxy {
	t.Helper()
	p := newDeltaProxy(t, state{
		clusters: {"a": 1, "b": 1}, endpoints: {"a": 1, "b": 1}, listeners: {"own": 1}, routes: {"r": 1}, secrets: {"s": 1, "own": 1},
	})
	p.ask(clusters)
	p.ask(endpoints, "a", "b")
	p.ask(secrets, "s", "own")
	p.ask(listeners)
	p.ask(routes, "r")
	p.expect("cds a b", "eds a b", "sds s own", "lds own", "rds r")
	return p
}

func TestDeltaSendsOnlyWhatChanged(t *testing.T) {
	p := subscribed(t)
	p.state[endpoints]["a"] = 2
	p.expect("eds a")
	p.state[routes]["other"] = 1 // nobody asked for it
	p.expect()
	p.state[routes]["other"], p.state[routes]["r"] = 2, 2
	p.expect("rds r")
	p.state[clusters]["own"], p.state[clusters]["c"] = 1, 1
	p.expect("cds c own")
}

func TestDeltaMakesBeforeItBreaks(t *testing.T) {
	p := subscribed(t)
	p.state = state{clusters: {"a": 1, "c": 1}, endpoints: {"a": 1, "c": 1}, listeners: {"m": 1}, routes: {"r": 2}, secrets: {"s": 1, "own": 1}}
	p.ask(endpoints, "c")
	p.expect("cds c", "eds c", "lds m", "rds r", "lds -own", "eds -b", "cds -b")
}

func TestDeltaTakesNothingAwayBeforeAllIsAnswered(t *testing.T) {
	p := subscribed(t)
	delete(p.state[clusters], "b")
	p.state[routes]["r"] = 2
	resp := p.next()
	if told(resp) != "rds r" {
		t.Fatalf("first came %q, want the route that no longer names the cluster", told(resp))
	}
	if early := p.next(); early != nil {
		t.Fatalf("%q came before the proxy took the new route", told(early))
	}
	p.answer(resp, "")
	p.expect("cds -b")
}

// What comes back before its removal was sent is not removed.
func TestDeltaRemovalIsTakenBack(t *testing.T) {
	p := subscribed(t)
	delete(p.state[clusters], "b")
	p.state[routes]["r"] = 2
	resp := p.next()
	p.state[clusters]["b"] = 1
	p.answer(resp, "")
	p.expect()
}

// A name that moves from one layer to the other was never gone.
func TestDeltaNameThatMovesBetweenLayers(t *testing.T) {
	p := subscribed(t)
	p.state[clusters]["a"], p.state[endpoints]["a"] = 101, 102
	p.expect("eds a")
	p.state[clusters]["a"] = 2
	p.expect("cds a", "eds a")
}

func TestDeltaReconnectWithUnchangedMeshSendsNothing(t *testing.T) {
	before := subscribed(t)
	p := newDeltaProxy(t, before.state)
	p.resume(before.state)
	p.expect()
	delete(p.state[clusters], "b")
	p.expect("cds -b")
	p.state[endpoints]["a"] = 7
	p.expect("eds a")
}

// resume opens a stream as a proxy does that holds what is in the state.
func (p *deltaProxy) resume(holds state) {
	o := holds.offer(p.t)
	for typ := range numTypes {
		versions := map[string]string{}
		for _, set := range o.layers(typ) {
			for _, r := range set.All() {
				versions[r.Name] = r.Version
			}
		}
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.url(), InitialResourceVersions: versions}
		if !typ.mayBeWildcard() {
			for name := range versions {
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
			}
		}
		p.handle(req)
	}
}

func TestDeltaReconnectSendsTheDifference(t *testing.T) {
	before := subscribed(t)
	p := newDeltaProxy(t, state{
		clusters: {"a": 2, "new": 1}, endpoints: {"a": 1, "b": 1}, listeners: {"own": 1}, routes: {"r": 3}, secrets: {"s": 1, "own": 2},
	})
	p.resume(before.state)
	// The endpoints of a changed cluster come again, even when the proxy asked for them later.
	p.expect("cds a new", "eds a", "sds own", "rds r", "cds -b")
	p.expect()
}

func TestDeltaReconnectResendsEndpointsThatAreAskedForAfterTheCluster(t *testing.T) {
	p := newDeltaProxy(t, state{clusters: {"a": 2}, endpoints: {"a": 1, "b": 1}})
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, InitialResourceVersions: map[string]string{"a": "old"}})
	p.expect("cds a")
	versions := map[string]string{}
	for _, r := range p.state.offer(t).view.Shared.Set(envoy.Endpoints).All() {
		versions[r.Name] = r.Version
	}
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeEndpoint, ResourceNamesSubscribe: []string{"a", "b"}, InitialResourceVersions: versions})
	p.expect("eds a")
}

func TestDeltaReconnectRemovesWhatWentMeanwhile(t *testing.T) {
	p := newDeltaProxy(t, state{clusters: {"a": 1}})
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, InitialResourceVersions: map[string]string{"gone": "v"}})
	p.expect("cds a", "cds -gone")
}

func TestDeltaRejectedResourceIsNotSentAgainUntilItChanges(t *testing.T) {
	p := subscribed(t)
	p.state[listeners]["own"] = 2
	resp := p.next()
	got := p.answer(resp, "no such filter")
	if got == nil || got.message != "no such filter" || cmp.Diff([]string{"own"}, got.names()) != "" || !got.at.Equal(instant) || got.count != 1 {
		t.Errorf("refusal %+v", got)
	}
	p.expect()
	p.state[clusters]["a"] = 5 // something else
	p.expect("cds a", "eds a")
	if n := p.session.rejected(); n != 1 {
		t.Errorf("%d resources rejected, want 1", n)
	}
	p.state[listeners]["own"] = 3
	if r := p.answer(p.next(), "still not"); r == nil || r.count != 2 || p.session.rejected() != 1 {
		t.Errorf("second refusal in a row: %+v, %d rejected", r, p.session.rejected())
	}
	p.state[listeners]["own"] = 1 // as it was at first: the proxy is brought back to it
	p.expect("lds own")
	if n := p.session.rejected(); n != 0 {
		t.Errorf("%d resources rejected after the proxy took a newer one", n)
	}
}

func TestDeltaOneResponsePerTypeOnItsWay(t *testing.T) {
	p := subscribed(t)
	p.state[endpoints]["a"] = 2
	slow := p.next()
	for content := 3; content < 100; content++ {
		p.state[endpoints]["a"] = content
		if resp := p.next(); resp != nil {
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
	p.drop(endpoints, "a")
	p.state[endpoints]["a"] = 5
	p.expect()
	p.drop(clusters, "*")
	p.state[clusters]["a"] = 5
	p.expect()
	p.ask(clusters, "a")
	p.expect("cds a")
	p.ask(clusters, "*")
	p.expect("cds b", "eds b")
}

// The proxy may forget a name with its explicit subscription although the wildcard covers it.
func TestDeltaUnsubscribeBelowTheWildcard(t *testing.T) {
	p := subscribed(t)
	p.ask(clusters, "a", "nowhere")
	p.expect("cds a", "eds a", "cds -nowhere")
	p.drop(clusters, "a", "nowhere")
	p.expect("cds a", "eds a", "cds -nowhere")
}

func TestDeltaChangedClusterGetsItsEndpointsAgain(t *testing.T) {
	p := subscribed(t)
	p.state[clusters]["a"] = 2
	p.expect("cds a", "eds a")
}

func TestDeltaIgnoresStaleAnswersAndUnknownTypes(t *testing.T) {
	p := subscribed(t)
	p.state[endpoints]["a"] = 2
	resp := p.next()
	stale := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: envoy.TypeEndpoint, Nonce: "0"}
	if r := p.answer(stale, "complaint about something older"); r != nil || p.session.settled() {
		t.Errorf("a stale answer was taken for one to %q", told(resp))
	}
	if r := p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.service.runtime.v3.Runtime"}); r.refusal != nil {
		t.Errorf("an unknown type was rejected: %v", r)
	}
	p.answer(resp, "")
	p.expect()
}

// Secrets wait for the certificate, and nothing else waits for them.
func TestDeltaSecretsWaitForTheCertificate(t *testing.T) {
	s := deltaSession{lists: newNameLists()}
	o := state{clusters: {"a": 1}, secrets: {"s": 1, "own": 1}}.offer(t)
	certificate := o.workload
	o.workload = nil
	s.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeSecret, ResourceNamesSubscribe: []string{"s", "own"}}, o, instant)
	s.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster}, o, instant)
	if got := told(decodeDelta(t, s.next(o, instant))); got != "cds a" {
		t.Errorf("got %q, want cds a", got)
	}
	if resp := s.next(o, instant); resp != nil {
		t.Errorf("%q came before there was a certificate", told(decodeDelta(t, resp)))
	}
	o.workload = certificate
	if got := told(decodeDelta(t, s.next(o, instant))); got != "sds s own" {
		t.Errorf("got %q, want sds s own", got)
	}
}
