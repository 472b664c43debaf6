// Package agent is the application that the end-to-end tests put into pods: a server of every kind
// of protocol that a mesh has to carry, and a client of the same that a test directs.
//
// It knows nothing of the mesh but the header by which a proxy vouches for a peer. It is not meant
// to be fast or to be used outside the tests. Its invariant: an answer without Error was really
// given by the server that it names, to the very call that was asked for.
package agent
