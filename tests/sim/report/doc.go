// Package report holds what the simulator has measured, beside the goals, and prints it: as a table
// for people, as JSON for programs, and as the golden counts of the gate.
//
// It measures nothing itself. Its invariant: a figure is never printed without its unit, and a goal
// never without the figure that is judged by it.
package report
