// Package chaos is the report of the fault suite (make chaos): what was done to a mesh under load, and what it cost.
//
// The faults themselves are in package e2e. Its invariant: the table in docs/ha.md is the one that the committed report
// of the last full run gives.
package chaos
