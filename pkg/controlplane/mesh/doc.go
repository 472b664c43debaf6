// Package mesh is the control plane's vocabulary: what a mesh is, as one immutable value.
//
// A Snapshot is everything that policy and configuration are computed from: settings, services
// with their endpoints, and workloads (injected pods). The package knows neither Kubernetes
// types nor Envoy, and decides nothing; ingest makes Snapshots, policy reads them. Its one
// invariant: a Snapshot and all that it points to never change after New returned it, and every
// list in it is sorted, so that equal meshes are equal values on every replica (HA-6).
package mesh
