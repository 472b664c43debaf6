package controller

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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

// While rebalancing is off, no proxy is turned away and no stream has another maximum age.
func TestRebalanceIsOffByDefault(t *testing.T) {
	off := Rebalance{PerSecond: 100, MaxAgeMinutes: 60}
	if off.movesPerSecond() != 0 || off.maxAge() != 0 {
		t.Errorf("%+v moves %d proxies a second, after %v", off, off.movesPerSecond(), off.maxAge())
	}
	on := Rebalance{Enable: true, MaxAgeMinutes: 60}
	if on.movesPerSecond() != defaultPerSecond || on.maxAge() != time.Hour {
		t.Errorf("%+v moves %d proxies a second, after %v", on, on.movesPerSecond(), on.maxAge())
	}
}
