// Package bootstrap prepares a cluster for a mesh: the CRDs, and the mesh's MeshConfig. The chart
// runs it as a hook before everything else.
//
// It is not an installer and not a reconciler: it runs once, to the end, and leaves. Its
// invariant: it never takes a MeshConfig field away from whoever set it. A field that nobody
// else has set follows the preset on every upgrade; one that a user has set stays. Nor does it
// replace a CRD that another installation owns.
package bootstrap
