// Package injector puts Envoy into the pods of a mesh: Patch decides and describes the change to
// one pod, and the webhook around it answers the API server.
//
// It issues no certificate and writes no object of a user's: an injected pod refers to the Secret
// that the controller keeps for its ServiceAccount. Its invariant: Patch is a plain function of
// its arguments, so every replica answers the same request with the same bytes, a dry run is a
// run, and injecting a pod twice is injecting it once.
//
// What is not rewritten: exec probes need no network; lifecycle hooks over HTTP go to the pod's IP
// and meet the inbound listener like any other client without a mesh certificate.
package injector
