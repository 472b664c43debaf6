// Package kube is the control plane's edge to the API server: it watches what the mesh is made of
// and holds the Lease that decides which replica writes.
//
// It computes nothing from what it sees; ingest does. Its invariant: reading never depends on
// writing. A replica without the Lease, or without an API server, keeps what it knew last and
// goes on serving it.
package kube
