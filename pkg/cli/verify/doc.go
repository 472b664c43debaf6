// Package verify is osm verify ha: whether a mesh survives the loss of pods, nodes and its control plane.
//
// It prints what the checks of package check say about the facts that package cluster has read, and changes nothing. Its
// invariant: the command fails if and only if a check fails; what could not be found out is never a pass.
package verify
