// Package e2e tests the whole life of a mesh on a real cluster: it is installed with the command line
// that users have, carries traffic, loses nodes and control planes, and is removed again. A
// shorter story does so for a mesh with each certificate provider.
//
// It runs bin/osm as users do and inspects the cluster with client-go; it knows nothing about the
// control plane's internals. It is neither a benchmark nor a test of single functions. Its invariant: a step
// waits for the cluster (a watch, or a request that succeeds), never for time to pass, and
// at the end the cluster holds what it held before.
//
// The tests have the build tag e2e; scripts/e2e.sh makes the cluster and the images and runs them.
package e2e
