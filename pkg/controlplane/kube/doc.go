// Package kube is the control plane's edge to the API server: it watches the objects that a mesh is
// made of and holds the Lease that decides which replica writes.
//
// It computes nothing from what it sees; ingest does. Its invariant: reading never depends on writing.
// A replica that is not the leader, or that cannot reach the API server, keeps the last known state and
// serves it.
package kube
