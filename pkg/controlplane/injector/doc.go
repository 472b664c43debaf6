// Package injector puts Envoy into the pods of a mesh: Patch decides and describes the change to
// one pod, and the webhook around it answers the API server.
//
// It holds no root, issues no certificate and writes no object: an injected pod refers to the Secret
// that the controller keeps for its ServiceAccount, and the webhook's own certificate comes from the
// one Secret that an injector may read, which the controller keeps too. Its invariant: Patch is a plain function of
// its arguments, so every replica answers the same request with the same bytes, a dry run is a
// run, and injecting a pod twice is injecting it once.
//
// Anybody who reaches the webhook may send a review. So a review passes two budgets (budget.go) before
// anything is made of it, its cost is estimated from its shape (shape.go), and what it names is believed only
// as far as the pod itself goes.
//
// What is not rewritten: exec probes need no network; lifecycle hooks over HTTP go to the pod's IP
// and meet the inbound listener like any other client without a mesh certificate.
package injector
