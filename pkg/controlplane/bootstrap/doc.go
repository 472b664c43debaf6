// Package bootstrap prepares a cluster for a mesh: the CRDs, and the mesh's MeshConfig. The chart
// runs it as a hook before everything else.
//
// It is neither an installer nor a reconciler: it runs once to completion. Its invariant: it never
// overwrites a MeshConfig field that someone else has set. A field that nobody else has set follows the
// preset on every upgrade; a field that a user has set stays. It also never replaces a CRD that another
// installation owns.
package bootstrap
