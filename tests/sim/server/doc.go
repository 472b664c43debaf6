// Package server runs the processes that the simulator needs, and those under test: etcd
// and kube-apiserver, then osm-controlplane, each as a child on loopback addresses.
//
// It starts, measures and ends processes; it knows neither the mesh's objects nor xDS. It measures
// from outside, from the kernel and /metrics, so that a process cannot look better than it
// is. Its invariant: every process that was started is ended by its own process id, whatever ends
// the simulator, and leaves nothing outside the simulator's folder.
package server
