// Package world creates and changes the Kubernetes objects of a simulated mesh: namespaces,
// ServiceAccounts, Services, EndpointSlices and pods as the injector, the kubelet and the endpoint
// controller would leave them.
//
// It writes through a real API server and never reads back; it relies on its own last writes.
// It knows no xDS. Its invariant: the objects, their names and addresses follow from the Shape and
// the calls alone, so that two runs make byte-identical meshes.
package world
