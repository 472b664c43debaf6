// Package mesh is osm mesh list, osm mesh scale and osm mesh rebalance. The other commands of the group osm mesh have packages
// of their own: upgrade and rotate.
//
// Scaling is a change of values and no upgrade: package rollout carries it out with the chart that is installed.
// Its invariant: it never changes the version of a mesh.
package mesh
