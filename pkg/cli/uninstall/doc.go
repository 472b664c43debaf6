// Package uninstall is osm uninstall mesh: it takes a mesh out of a cluster.
//
// A mesh is its name and its namespace. Much of what belongs to a mesh carries the name only, so identity.go looks for
// every mesh of that name first; removal.go then removes what is left of this one. Its invariant: an object that may
// belong to another mesh, another Helm release or Open Service Mesh is never changed.
package uninstall
