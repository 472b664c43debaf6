package xds

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

func TestDeltaSendsOnlyWhatChanged(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Endpoints]["a"] = 2
	p.expect("eds a")
	p.state[envoy.Routes]["other"] = 1 // not subscribed
	p.expect()
	p.state[envoy.Routes]["other"], p.state[envoy.Routes]["r"] = 2, 2
	p.expect("rds r")
	p.state[envoy.Clusters]["own"], p.state[envoy.Clusters]["c"] = 1, 1
	p.expect("cds c own")
}

func TestDeltaMakesBeforeItBreaks(t *testing.T) {
	p := subscribed(t)
	p.state = state{envoy.Clusters: {"a": 1, "c": 1}, envoy.Endpoints: {"a": 1, "c": 1}, envoy.Listeners: {"m": 1}, envoy.Routes: {"r": 2}, envoy.Secrets: {"s": 1, "own": 1}}
	p.ask(envoy.Endpoints, "c")
	p.expect("cds c", "eds c", "lds m", "rds r", "lds -own", "eds -b", "cds -b")
}

func TestDeltaTakesNothingAwayBeforeAllIsAnswered(t *testing.T) {
	p := subscribed(t)
	delete(p.state[envoy.Clusters], "b")
	p.state[envoy.Routes]["r"] = 2
	resp := p.next()
	if summary(resp) != "rds r" {
		t.Fatalf("got %q first, want the route that no longer names the cluster", summary(resp))
	}
	if early := p.next(); early != nil {
		t.Fatalf("%q was sent before the proxy accepted the new route", summary(early))
	}
	p.answer(resp, "")
	p.expect("cds -b")
}

// A resource that comes back before its removal was sent is not removed.
func TestDeltaRemovalIsTakenBack(t *testing.T) {
	p := subscribed(t)
	delete(p.state[envoy.Clusters], "b")
	p.state[envoy.Routes]["r"] = 2
	resp := p.next()
	p.state[envoy.Clusters]["b"] = 1
	p.answer(resp, "")
	p.expect()
}

// A name that moves from one layer to the other was never removed.
func TestDeltaNameThatMovesBetweenLayers(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Clusters]["a"], p.state[envoy.Endpoints]["a"] = 101, 102
	p.expect("eds a")
	p.state[envoy.Clusters]["a"] = 2
	p.expect("cds a", "eds a")
}

func TestDeltaReconnectWithUnchangedMeshSendsNothing(t *testing.T) {
	before := subscribed(t)
	p := newDeltaProxy(t, before.state)
	p.resume(before.state)
	p.expect()
	delete(p.state[envoy.Clusters], "b")
	p.expect("cds -b")
	p.state[envoy.Endpoints]["a"] = 7
	p.expect("eds a")
}

// resume opens a stream as a proxy does that holds what is in the state.
func (p *deltaProxy) resume(holds state) {
	o := holds.offer(p.t)
	for typ := range envoy.NumKinds {
		versions := map[string]string{}
		for _, set := range o.layers(typ) {
			for _, r := range set.All() {
				versions[r.Name] = r.Version
			}
		}
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.TypeURL(), InitialResourceVersions: versions}
		if !mayBeWildcard(typ) {
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
		envoy.Clusters: {"a": 2, "new": 1}, envoy.Endpoints: {"a": 1, "b": 1}, envoy.Listeners: {"own": 1}, envoy.Routes: {"r": 3}, envoy.Secrets: {"s": 1, "own": 2},
	})
	p.resume(before.state)
	// The endpoints of a changed cluster are sent again, even if the proxy asked for them later.
	p.expect("cds a new", "eds a", "sds own", "rds r", "cds -b")
	p.expect()
}

func TestDeltaReconnectResendsEndpointsThatAreAskedForAfterTheCluster(t *testing.T) {
	p := newDeltaProxy(t, state{envoy.Clusters: {"a": 2, "unasked": 2}, envoy.Endpoints: {"a": 1, "b": 1, "unasked": 1}})
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, InitialResourceVersions: map[string]string{"a": "old", "unasked": "old"}})
	p.expect("cds a unasked")
	versions := map[string]string{}
	for _, r := range p.state.offer(t).view.Shared.Set(envoy.Endpoints).All() {
		versions[r.Name] = r.Version
	}
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeEndpoint, ResourceNamesSubscribe: []string{"a", "b"}, InitialResourceVersions: versions})
	p.expect("eds a")
}

func TestDeltaReconnectRemovesWhatWentMeanwhile(t *testing.T) {
	p := newDeltaProxy(t, state{envoy.Clusters: {"a": 1}})
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, InitialResourceVersions: map[string]string{"gone": "v"}})
	p.expect("cds a", "cds -gone")
}

func TestDeltaRejectedResourceIsNotSentAgainUntilItChanges(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Listeners]["own"] = 2
	resp := p.next()
	got := p.answer(resp, "no such filter")
	if got == nil || got.message != "no such filter" || cmp.Diff([]string{"own"}, got.names()) != "" || !got.at.Equal(instant) || got.count != 1 {
		t.Errorf("refusal %+v", got)
	}
	p.expect()
	p.state[envoy.Clusters]["a"] = 5 // something else
	p.expect("cds a", "eds a")
	if n := p.session.rejected(); n != 1 {
		t.Errorf("%d resources rejected, want 1", n)
	}
	p.state[envoy.Listeners]["own"] = 3
	if r := p.answer(p.next(), "still not"); r == nil || r.count != 2 || p.session.rejected() != 1 {
		t.Errorf("second refusal in a row: %+v, %d rejected", r, p.session.rejected())
	}
	p.state[envoy.Listeners]["own"] = 1 // as at first: the proxy gets the old version back
	p.expect("lds own")
	if n := p.session.rejected(); n != 0 {
		t.Errorf("%d resources rejected after the proxy accepted a newer one", n)
	}
}

func TestDeltaOneResponsePerTypeOnItsWay(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Endpoints]["a"] = 2
	slow := p.next()
	for content := 3; content < 100; content++ {
		p.state[envoy.Endpoints]["a"] = content
		if resp := p.next(); resp != nil {
			t.Fatalf("%q was sent to a proxy that has not answered", summary(resp))
		}
	}
	p.answer(slow, "")
	p.expect("eds a")
}

func TestDeltaSubscriptions(t *testing.T) {
	p := subscribed(t)
	p.ask(envoy.Endpoints, "a") // asking again: the proxy may have dropped it
	p.expect("eds a")
	p.ask(envoy.Endpoints, "nowhere")
	p.expect("eds -nowhere")
	p.state[envoy.Endpoints]["nowhere"] = 1
	p.expect("eds nowhere")
	p.drop(envoy.Endpoints, "a")
	p.state[envoy.Endpoints]["a"] = 5
	p.expect()
	p.drop(envoy.Clusters, "*")
	p.state[envoy.Clusters]["a"] = 5
	p.expect()
	p.ask(envoy.Clusters, "a")
	p.expect("cds a")
	p.ask(envoy.Clusters, "*")
	p.expect("cds b", "eds b")
}

func TestDeltaFirstRequestForWhatDoesNotExist(t *testing.T) {
	p := newDeltaProxy(t, state{envoy.Endpoints: {"a": 1}})
	p.ask(envoy.Endpoints, "a", "nowhere")
	p.expect("eds a -nowhere")
	p.expect()
}

// The proxy may forget a name with its explicit subscription although the wildcard covers it.
func TestDeltaUnsubscribeBelowTheWildcard(t *testing.T) {
	p := subscribed(t)
	p.ask(envoy.Clusters, "a", "nowhere")
	p.expect("cds a -nowhere", "eds a")
	p.drop(envoy.Clusters, "a", "nowhere")
	p.expect("cds a -nowhere", "eds a")
}

func TestDeltaChangedClusterGetsItsEndpointsAgain(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Clusters]["a"] = 2
	p.expect("cds a", "eds a")
}

func TestDeltaIgnoresStaleAnswersAndUnknownTypes(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Endpoints]["a"] = 2
	resp := p.next()
	stale := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: envoy.TypeEndpoint, Nonce: "0"}
	if r := p.answer(stale, "error about an older response"); r != nil || p.session.settled() {
		t.Errorf("a stale answer was accepted as one to %q", summary(resp))
	}
	if r := p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.service.runtime.v3.Runtime"}); r.rejection != nil {
		t.Errorf("an unknown type was rejected: %v", r)
	}
	p.answer(resp, "")
	p.expect()
}

// Envoy answers nothing about clusters while it waits for the endpoints of a new one: if there are
// none anymore, it must learn that at once, and not after that answer.
func TestDeltaWhatNeverWasIsSaidAtOnce(t *testing.T) {
	p := subscribed(t)
	p.state[envoy.Clusters]["c"], p.state[envoy.Endpoints]["c"] = 1, 1
	if got := summary(p.next()); got != "cds c" {
		t.Fatalf("got %q, want cds c", got)
	}
	delete(p.state[envoy.Clusters], "c")
	delete(p.state[envoy.Endpoints], "c")
	p.ask(envoy.Endpoints, "c")
	if got := summary(p.next()); got != "eds -c" {
		t.Errorf("got %q, want eds -c", got)
	}
	if got := summary(p.next()); got != "" {
		t.Errorf("%q was sent before the proxy accepted the cluster", got)
	}
}

// Secrets wait for the certificate, and nothing else waits for them.
func TestDeltaSecretsWaitForTheCertificate(t *testing.T) {
	s := deltaSession{lists: newNameLists()}
	o := state{envoy.Clusters: {"a": 1}, envoy.Secrets: {"s": 1, "own": 1}}.offer(t)
	certificate := o.workload
	o.workload = nil
	s.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeSecret, ResourceNamesSubscribe: []string{"s", "own"}}, o, instant)
	s.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster}, o, instant)
	if got := summary(decodeDelta(t, s.next(o, instant))); got != "cds a" {
		t.Errorf("got %q, want cds a", got)
	}
	if resp := s.next(o, instant); resp != nil {
		t.Errorf("%q was sent before there was a certificate", summary(decodeDelta(t, resp)))
	}
	o.workload = certificate
	if got := summary(decodeDelta(t, s.next(o, instant))); got != "sds s own" {
		t.Errorf("got %q, want sds s own", got)
	}
}
