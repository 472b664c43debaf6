// Package ingest turns what the API server holds into a mesh.Snapshot.
//
// It is a pure function from typed Kubernetes objects to the mesh's vocabulary: it reads no
// cluster, keeps no state and decides no policy. Its invariant: equal objects in any order give
// equal snapshots, and an object that cannot be used costs a Problem that names it, never the
// rest of the mesh.
package ingest
