// Package check holds checks as data and the one engine that runs them: the pre-flight checks of
// install and upgrade, and those of osm verify ha.
//
// A check asks and judges; it changes nothing and prints nothing: who runs the engine is told of
// every result. Where many checks look at the same facts, as those of high availability do, package
// cluster reads them first and the checks only judge. The package's invariant: a check that could
// not find out is never a pass.
package check
