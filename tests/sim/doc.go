// Package sim is the fleet simulator: real osm-controllers on a real API server, fed by traces of
// changes with fixed seeds, and watched by as many fake Envoys as fit on the machine.
//
// It measures the control plane from outside: bytes, messages, times and the kernel's accounting of
// its processes; it does not know how the work is done. Each scenario is a question with a goal
// (go run ./tests/sim/cmd/sim -list). The gate (-small) compares counts and bytes, which do not
// depend on the machine, with a golden file. Its invariant: every scenario starts from nothing and
// leaves nothing, so its figures depend on no other.
//
// Rules for a fair comparison: the client shares the machine, so its CPU is reported next to the
// server's; figures of different machines or runs are not compared, only ratios of one run are; a
// quoted figure is the median of several runs on an idle machine.
package sim
