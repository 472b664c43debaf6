package xds

import (
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// sotwProxy simulates a proxy of a sotwSession.
type sotwProxy struct {
	t       *testing.T
	session sotwSession
	state   state
	last    *discoveryv3.DiscoveryResponse
}

func newSotwProxy(t *testing.T, s state) *sotwProxy {
	return &sotwProxy{t: t, session: sotwSession{lists: newNameLists()}, state: s}
}

func (p *sotwProxy) ask(typ envoy.Kind, names ...string) {
	p.session.handle(&discoveryv3.DiscoveryRequest{TypeUrl: typ.TypeURL(), ResourceNames: names}, p.state.offer(p.t), instant)
}

// expect takes the next response, without an answer; "" is for none.
func (p *sotwProxy) expect(want string) {
	p.t.Helper()
	resp := p.session.next(p.state.offer(p.t), instant)
	got := ""
	if resp != nil {
		p.last = decode(p.t, resp, &discoveryv3.DiscoveryResponse{})
		got = toldAll(p.t, p.last)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Fatalf("response differs:\n%s", diff)
	}
}

// answer answers the last response, with the names of the subscription.
func (p *sotwProxy) answer(complaint string, names ...string) *rejection {
	req := &discoveryv3.DiscoveryRequest{TypeUrl: p.last.GetTypeUrl(), VersionInfo: p.last.GetVersionInfo(), ResponseNonce: p.last.GetNonce(), ResourceNames: names}
	if complaint != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: complaint}
	}
	return p.session.handle(req, p.state.offer(p.t), instant).rejection
}

func toldAll(t *testing.T, resp *discoveryv3.DiscoveryResponse) string {
	t.Helper()
	typ, _ := envoy.KindOf(resp.GetTypeUrl())
	words := []string{typ.String()}
	for _, body := range resp.GetResources() {
		m, err := body.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		if named, ok := m.(interface{ GetClusterName() string }); ok {
			words = append(words, named.GetClusterName())
		} else {
			words = append(words, m.(interface{ GetName() string }).GetName())
		}
	}
	return strings.Join(words, " ")
}

func TestSotw(t *testing.T) {
	p := newSotwProxy(t, state{envoy.Clusters: {"a": 1, "b": 1}, envoy.Endpoints: {"a": 1, "b": 1}})
	// A reconnecting proxy reports the version it holds; the stream still starts with everything.
	p.session.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.Clusters.TypeURL(), VersionInfo: p.state.offer(t).layers(envoy.Clusters).version()}, p.state.offer(t), instant)
	p.expect("cds a b")
	first := p.last.GetVersionInfo()
	p.expect("")
	p.answer("")
	p.expect("")
	p.state[envoy.Clusters]["a"] = 2
	p.expect("cds a b")
	if p.last.GetVersionInfo() == first {
		t.Error("other clusters have the same version")
	}
	if r := p.answer("bad cluster"); r == nil || r.message != "bad cluster" || len(r.resources) != 2 {
		t.Errorf("refusal %v, want one of two resources that says bad cluster", r)
	}
	p.expect("")
	p.ask(envoy.Endpoints, "b", "nowhere")
	p.expect("eds b nowhere")
	p.answer("", "a", "b")
	p.expect("eds a b")
	p.answer("", "a", "b")
	p.state[envoy.Endpoints]["c"] = 1
	p.expect("")
	p.state[envoy.Clusters]["a"] = 9
	p.expect("cds a b")
	p.answer("")
	p.expect("eds a b") // the changed cluster waits for its endpoints
	p.answer("", "a", "b")
	p.expect("")
	p.session.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.Endpoints.TypeURL(), ResponseNonce: "stale", ResourceNames: []string{"c"}}, p.state.offer(t), instant)
	p.expect("")
	p.answer("", "*")
	p.expect("eds a b c")
}

// Deleted clusters stay in the responses until everything that may refer to them was replaced.
func TestSotwMakesBeforeItBreaks(t *testing.T) {
	p := newSotwProxy(t, state{envoy.Clusters: {"a": 1, "b": 1}, envoy.Endpoints: {"a": 1, "b": 1}, envoy.Listeners: {"own": 1}, envoy.Routes: {"r": 1}})
	p.ask(envoy.Clusters)
	p.expect("cds a b")
	p.answer("")
	p.ask(envoy.Endpoints, "a", "b")
	p.expect("eds a b")
	p.answer("", "a", "b")
	p.ask(envoy.Listeners)
	p.expect("lds own")
	p.answer("")
	p.ask(envoy.Routes, "r")
	p.expect("rds r")
	p.answer("", "r")

	p.state = state{envoy.Clusters: {"a": 1, "c": 1}, envoy.Endpoints: {"a": 1, "c": 1}, envoy.Listeners: {"own": 1}, envoy.Routes: {"r": 2}}
	p.expect("cds a b c")
	p.expect("rds r")
	p.session.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.Routes.TypeURL(), ResponseNonce: p.last.GetNonce(), ResourceNames: []string{"r"}}, p.state.offer(t), instant)
	p.expect("") // the clusters are not answered
	p.session.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.Clusters.TypeURL(), ResponseNonce: "5"}, p.state.offer(t), instant)
	p.expect("cds a c")
	p.answer("")
	p.expect("")
	p.state[envoy.Endpoints]["a"] = 2
	p.expect("eds a") // and no longer those of the deleted cluster
	p.answer("", "a", "b")

	// A cluster that is only deleted is dropped after everything else was sent once more.
	delete(p.state[envoy.Clusters], "c")
	p.state[envoy.Clusters]["b"] = 1
	p.expect("cds a b c")
	p.answer("")
	p.expect("cds a b")
	p.answer("")
	delete(p.state[envoy.Clusters], "b")
	p.expect("cds a")
	p.answer("")
	delete(p.state[envoy.Listeners], "own")
	p.expect("lds")
}

// Subscriptions by name, as gRPC's client makes them: that a resource does not exist is sent at once, where
// the protocol can express it.
func TestSotwSubscriptionsByName(t *testing.T) {
	p := newSotwProxy(t, state{envoy.Listeners: {"x": 1, "own": 1}, envoy.Routes: {"r": 1}})
	p.ask(envoy.Listeners, "x", "nowhere")
	p.expect("lds x")
	p.answer("", "x", "nowhere")
	p.ask(envoy.Routes, "nowhere")
	p.expect("")
	p.ask(envoy.Routes, "nowhere", "r")
	p.expect("rds r")
	p.answer("", "r")
	p.expect("")
	p.session.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.Routes.TypeURL(), ResponseNonce: p.last.GetNonce()}, p.state.offer(t), instant)
	p.state[envoy.Routes]["r"] = 2
	p.expect("") // no longer subscribed
	p.answer("", "r")
	p.expect("rds r") // subscribed again
	p.answer("", "r")
	p.ask(envoy.Listeners)
	p.state[envoy.Listeners]["x"] = 3
	p.expect("") // no names after some means nothing
}

// A proxy that drops and asks for the same again and again, and answers nothing, makes the session
// remember no more than before.
func TestSotwRemembersOnlyWhatIsWanted(t *testing.T) {
	p := newSotwProxy(t, state{})
	for range 100 {
		p.ask(envoy.Endpoints, "a", "b")
		p.ask(envoy.Endpoints)
	}
	p.ask(envoy.Endpoints, "b", "c")
	if n := len(p.session.types[envoy.Endpoints].fresh); n != 2 {
		t.Errorf("%d fresh names are remembered, want 2", n)
	}
}
