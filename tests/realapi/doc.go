// Package realapi starts real programs for a test, above all an API server with its storage, on loopback, if the
// programs are available: $KUBE_APISERVER, and etcd on the PATH.
//
// A Replica is a controller or an injector that runs as a whole in the test's process against that API server.
//
// It is for tests only: no product code imports it. It is not a cluster: no controller of Kubernetes runs
// and no node exists. Its invariant: nothing that it started outlives the test, even if the test is killed.
package realapi
