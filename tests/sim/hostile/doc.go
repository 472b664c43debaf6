// Package hostile attacks a control plane's xDS port, as two compromised pods would:
// one of the mesh, with a valid certificate, and one outside it, with none.
//
// It does what a client can do but no proxy does, at given rates, and counts its attempts and their
// outcome. It runs in its own process, at the lowest priority: its own CPU use must not be mistaken
// for the server's. Its invariant: it ends by itself, when its time is over or its parent is gone.
package hostile
