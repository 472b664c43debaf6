// Package check holds checks as data and the one engine that runs them: the pre-flight checks of
// install and upgrade, and those of osm verify ha.
//
// A check reads and evaluates; it changes nothing and prints nothing: the engine reports every result
// to its caller. Where many checks need the same facts, as those of high availability do, package
// cluster reads them first and the checks only evaluate them. The package's invariant: a check that
// cannot be carried out never passes.
package check
