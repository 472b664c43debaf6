// Package release installs, upgrades, rolls back and removes a mesh as a Helm release, and renders
// and validates what it would install.
//
// It is the only package that sees Helm, and it knows nothing of commands: it prints nothing, asks
// nothing and reads no flags; whatever the user should see is returned or passed to an observer.
//
// Its invariant: an operation that returns an error leaves the release in a final state ("failed"
// or removed), never in "pending-*", even if its context ends half-way.
package release
