// Package mutate plants small faults in the product and checks that tests notice them.
//
// A mutant is a file in mutants/: what breaks if the fault is real, the claim that it contradicts, the text that
// replaces another, and the test that must fail. A claim of docs/ha.md counts as proven only with a test on real
// processes and a mutant that the test turns red.
//
// It is for tests only: no product code imports it. It is no search for mutants: people choose them, and a test
// checks that each still applies. Its invariant: a run never writes to the working tree; the go command compiles
// the changed file through an overlay.
package mutate
