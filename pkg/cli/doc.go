// Package cli is the osm command: one file per command, each with an options struct and a run
// method that does the work.
//
// It parses flags, asks and prints; what it does to a cluster is in its subpackages (release,
// cluster, check). It keeps no state of its own between runs: everything comes in by Env. Its
// invariant: a command that returns an error before it says that it begins has changed nothing,
// and only Main turns errors into words and an exit code.
package cli
