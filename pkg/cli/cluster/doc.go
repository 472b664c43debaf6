// Package cluster answers the CLI's questions to a Kubernetes cluster: which meshes there are,
// which pods are injected, what keeps a pod from becoming ready, what a mesh has left behind.
//
// It is read-only and prints nothing; it does not know Helm. Its invariant: no function here
// changes an object.
package cluster
