// Package e2e tells the story of one mesh on a real cluster: it is installed with the command line
// that the users are given, carries traffic, loses nodes and control planes, and is removed again. A
// second, shorter one is told of a mesh with each certificate provider.
//
// It drives bin/osm as users do and looks at the cluster through client-go; it knows nothing of the
// control plane's inside. It is no benchmark and no test of single functions. Its invariant: a step
// waits for what the cluster says (a watch, or a request that succeeds), never for time to pass, and
// at the end the cluster holds what it held before.
//
// The tests have the build tag e2e; scripts/e2e.sh makes the cluster and the images and runs them.
package e2e
