// Package check holds checks as data and the one engine that runs them, and the pre-flight checks
// of install and upgrade.
//
// A check asks and judges; it changes nothing and prints nothing: who runs the engine is told of
// every result. The package's invariant: a check that could not find out is never a pass.
package check
