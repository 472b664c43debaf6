// Package injector adds Envoy to the pods of a mesh. Patch decides about one pod and describes the change,
// and the webhook around it answers the API server. Run is osm-injector as a whole.
//
// It holds no root, issues no certificate and writes no object. An injected pod refers to the Secret that
// the leading controller maintains for its ServiceAccount, and the webhook's own certificate comes from the
// one Secret that an injector may read, which the leader maintains as well. Its invariant: Patch is a pure
// function of its arguments, so that every replica answers the same request with the same bytes, a dry run
// gives the same result, and injection is idempotent.
//
// Anybody who reaches the webhook may send a review. A review therefore passes two budgets (budget.go)
// before it is decoded, its cost is estimated from its shape (shape.go), and what it names is trusted only
// as far as the pod itself.
//
// The API server asks again about a pod that others changed in the meantime. A second injection first undoes the
// first (earlier.go, originals.go) and trusts nothing that it finds, because any creator of pods can write it.
//
// Not rewritten: exec probes and hooks, which need no network, and those that name a host.
package injector
