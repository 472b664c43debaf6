// Package namespace is osm namespace add, remove, ignore and list: which namespaces are members of a mesh.
//
// Membership is a label on the namespace; the injector and the controller act on it, nothing here does. Its invariant:
// all namespaces of a command line are checked before the first one is changed.
package namespace
