// Package cluster reads what the CLI must know about a Kubernetes cluster: which meshes exist, which
// pods are injected, why a pod is not ready, what a mesh has left behind.
//
// It prints nothing and does not know Helm. Its invariant: no function changes an object.
package cluster
