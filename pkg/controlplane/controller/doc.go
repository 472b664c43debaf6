// Package controller is the composition root of osm-controller: it creates the parts, connects them along
// the data flow, and starts and drains them in order. Package injector is built in the same way: Config,
// Run, and a serve.Process around both.
//
// It knows every package of the control plane and holds no logic of theirs. Its invariant: the xDS port
// opens, and the replica turns ready, only after everything was read once and the first whole configuration
// is built. Nothing that happens to the API server, the Lease or the CA afterwards takes configuration away
// from proxies.
package controller
