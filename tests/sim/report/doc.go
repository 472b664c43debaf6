// Package report holds the simulator's measurements and goals, and prints them: as a table
// for people, as JSON for programs, and as the golden counts of the gate.
//
// It measures nothing itself. Its invariant: a figure is never printed without its unit, and a goal
// never without its figure.
package report
