package controlplane_test

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// TestTerminatingCostsOneEndpointResource ends the pods of a Service one after the other, and lets them begin
// again: each step that changes anything builds the Service's endpoints and nothing else.
func TestTerminatingCostsOneEndpointResource(t *testing.T) {
	state, built := ingest.NewState("osm", "cluster.local"), map[envoy.Kind]int{}
	builder := envoy.NewBuilder(func(k envoy.Kind) { built[k]++ })
	objects := bank()
	state.SetMeshConfig(objects.MeshConfig)
	state.SetNamespace("bank", objects.Namespaces[0])
	state.SetPod("bank", "vault-0", objects.Pods[0])
	state.SetService("bank", "vault", objects.Services[0])
	ready := discoveryv1.EndpointConditions{Ready: new(true)}
	draining := discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	for i, step := range []struct {
		first, second discoveryv1.EndpointConditions
		endpoints     int // resources
	}{{ready, ready, 1}, {ready, draining, 1}, {draining, draining, 1}, {draining, ready, 1}, {ready, ready, 1}, {draining, draining, 0}} {
		slice := objects.EndpointSlices[0].DeepCopy()
		slice.Endpoints[0].Conditions = step.first
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"203.0.113.9"}, Conditions: step.second})
		state.SetEndpointSlice("bank", slice.Name, slice)
		snapshot, _ := state.Snapshot()
		clear(built)
		if _, err := builder.Build(snapshot); err != nil {
			t.Fatal(err)
		}
		if i > 0 && (built[envoy.Endpoints] != step.endpoints || len(built) > step.endpoints) {
			t.Errorf("step %d builds %v, want %d of %s", i, built, step.endpoints, envoy.Endpoints)
		}
	}
}
