// Package realapi starts real programs for a test, above all an API server with its storage, on loopback, when the
// programs for it are at hand: $KUBE_APISERVER, and etcd on the PATH.
//
// It is for tests only: no product code imports it. It is not a cluster: no controller runs and no
// node exists. Its invariant: nothing that it started outlives the test, even one that is killed.
package realapi
