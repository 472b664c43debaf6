// Package hostile attacks a control plane's port for proxies, as two pods would that somebody took over:
// one of the mesh, with a valid certificate, and one outside it, with none.
//
// It does what a client can do and no proxy does, at rates that are given, and counts what it tried and
// what came of it. It runs in a process of its own, at the lowest priority: its own work must not be taken
// for harm. Its invariant: it ends by itself, when its time is over or its parent is gone.
package hostile
