// Package collect gathers the evidence of a rotation from the whole control plane.
//
//   - Handler serves the evidence of one controller: what that replica and its proxies have. It also serves its load,
//     which Collector.Loads asks for when proxies are rebalanced.
//   - Collector is the leader's side: it asks all controllers, looks at the certificate that each
//     injector presents, and reads the webhook configuration.
//
// It does not evaluate the evidence: package rotation does. Its invariant: only the mesh's own controllers
// can read evidence, and a replica that does not respond is in the result with an error.
package collect
