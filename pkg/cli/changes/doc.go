// Package changes says what a change of a mesh would change: the chart's version, settings and objects.
//
// It is pure: it compares two states that others have read or rendered. It does not know whether the cluster holds what
// the older state says.
//
// Its invariant: no secret is in its result, neither the data of a Secret nor a value that looks like a secret.
package changes
