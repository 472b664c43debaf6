// Package rollout brings a mesh to a chart and values: it is what osm install, osm upgrade and osm
// mesh scale have in common. A Change holds their flags, checks them, renders the chart, runs the
// pre-flight checks, shows progress and reports why a change failed.
//
// It is no command, and it does not know Helm: package release does the work. Its invariant: nothing
// is written to the cluster before the pre-flight checks have passed, and not at all in a dry run.
package rollout
