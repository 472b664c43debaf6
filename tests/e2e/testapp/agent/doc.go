// Package agent is the application that the end-to-end tests run in pods: a server of every
// protocol that a mesh has to carry, and a client of these protocols that a test controls.
//
// It knows nothing about the mesh except the header in which a proxy names a peer. It is not meant
// to be fast or to be used outside the tests. Its invariant: an answer without Error was really
// given by the server that it names, to exactly that call.
package agent
