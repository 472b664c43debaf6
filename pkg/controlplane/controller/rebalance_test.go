package controller

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
)

// The peers are the ready endpoints of the controllers' Service, in any of its slices.
func TestReadyReplicas(t *testing.T) {
	yes, no := true, false
	endpoint := func(name, address string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name}}
	}
	slices := []*discoveryv1.EndpointSlice{
		{Endpoints: []discoveryv1.Endpoint{endpoint("self", "10.0.0.1", &yes), endpoint("ready", "10.0.0.2", &yes), endpoint("draining", "10.0.0.3", &no)}},
		{Endpoints: []discoveryv1.Endpoint{endpoint("unset", "10.0.0.4", nil), {Addresses: []string{"10.0.0.5"}}, {TargetRef: &corev1.ObjectReference{Name: "no address"}}}},
	}
	others, ready := readyReplicas(slices, "self")
	if want := map[string]string{"ready": "10.0.0.2", "unset": "10.0.0.4"}; !ready || !maps.Equal(others, want) {
		t.Errorf("%v, ready %v; want %v, true", others, ready, want)
	}
	if others, ready := readyReplicas(slices, "draining"); ready || len(others) != 3 {
		t.Errorf("a replica that is not ready: %v, ready %v; want three peers, false", others, ready)
	}
}

// While rebalancing is off, no stream has another maximum age. What is moved on demand is limited all the same.
func TestRebalanceIsOffByDefault(t *testing.T) {
	off := Rebalance{PerSecond: 100, MaxAgeMinutes: 60}
	if off.movesPerSecond() != 100 || off.maxAge() != 0 {
		t.Errorf("%+v moves %d proxies a second, after %v", off, off.movesPerSecond(), off.maxAge())
	}
	on := Rebalance{Enable: true, MaxAgeMinutes: 60}
	if on.movesPerSecond() != defaultPerSecond || on.maxAge() != time.Hour {
		t.Errorf("%+v moves %d proxies a second, after %v", on, on.movesPerSecond(), on.maxAge())
	}
}

// While the certificate provider refuses the client certificate, it is asked once a minute, not in each round.
func TestPeersSpareTheProvider(t *testing.T) {
	now, asked := time.Unix(0, 0), 0
	refused := errors.New("the CA is away")
	p := &peers{self: "self", slices: func() []*discoveryv1.EndpointSlice { return nil }, now: func() time.Time { return now }}
	p.loads = func(context.Context, map[string]string) ([]rebalance.Peer, error) {
		if asked++; asked > 2 {
			return []rebalance.Peer{{Name: "other", Proxies: 7}}, nil
		}
		return nil, refused
	}
	for second := range 121 {
		now = time.Unix(int64(second), 0)
		others, _ := p.load(t.Context())
		if want := 1 + second/60; asked != want {
			t.Fatalf("second %d: the peers were asked %d times, want %d", second, asked, want)
		}
		if second < 120 && (len(others) != 1 || !errors.Is(others[0].Err, refused)) {
			t.Fatalf("second %d: %+v, want the provider's error", second, others)
		}
	}
	if others, _ := p.load(t.Context()); asked != 4 || len(others) != 1 || others[0].Proxies != 7 {
		t.Errorf("asked %d times: %+v; want the peers to be asked in each round again", asked, others)
	}
}
