// Package tresor is the built-in certificate provider: the root is in a Secret in the mesh's namespace,
// and every replica signs in memory.
//
//   - Store loads the root and creates it once for all replicas (HA-3).
//   - Expected is the root that a mesh is known to use: Load accepts no other and creates no second one.
//   - Watch reports when the Secret no longer holds the root that a replica loaded, and Restore creates a
//     deleted one again.
//   - CreateOrGet is how replicas agree on a shared Secret.
//
// It signs nothing: ca.Issuer does. Its invariant: a Secret that exists is never overwritten.
package tresor
