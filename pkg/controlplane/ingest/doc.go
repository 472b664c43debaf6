// Package ingest turns Kubernetes objects into a mesh.Snapshot.
//
// It is a pure function from typed objects to the mesh's vocabulary: it reads no cluster and decides no
// policy. Build converts everything at once; a State converts object by object, and its cost follows what
// changed. Its invariant: a State's snapshot depends on the current objects only, not on the order in which
// they arrived or on earlier ones; parts that did not change keep their pointers; and an unusable object
// yields a Problem that names it and affects nothing else in the mesh.
package ingest
