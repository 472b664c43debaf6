// Package ingest turns what the API server holds into a mesh.Snapshot.
//
// It is a function from typed Kubernetes objects to the mesh's vocabulary: it reads no cluster and
// decides no policy. Build does it at once; a State does it object by object, and its work follows
// what changed. Its invariant: a State's snapshot depends on the objects that it was told of last
// and on nothing else, neither their order nor what was there before; what did not change keeps
// its pointers; and an object that cannot be used costs a Problem that names it, never the rest of
// the mesh.
package ingest
