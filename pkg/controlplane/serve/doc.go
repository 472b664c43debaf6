// Package serve is the frame of a control-plane process: health, metrics and version over HTTP, servers
// that end with their context, and the order in which a process starts (Process) and drains (Drain).
//
// It depends on neither Kubernetes nor Envoy. Its invariant: readiness reports whether this replica may
// receive work and names everything that it waits for; liveness only reports whether the process's
// own loops still run, so neither the API server nor the CA can get a replica killed.
package serve
