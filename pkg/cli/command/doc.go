// Package command holds what every osm command needs: Env (its input, output and clients), usage
// errors, the --timeout flag, and the ways to find a mesh and its Helm release.
//
// It is no command and has no logic of any: a helper belongs here once two command packages use it.
// Its invariant: it changes nothing in a cluster, and it imports no command package.
package command
