// Package serve is the frame of a control-plane process: health, metrics and version over HTTP, servers
// that end with their context, and the order in which a process starts (Process) and drains (Drain).
//
// It knows neither Kubernetes nor Envoy. Its invariant: readiness says whether this replica may
// be sent work and names everything that it waits for; liveness says only whether the process's
// own loops still turn, so neither the API server nor the CA can get a replica killed.
package serve
