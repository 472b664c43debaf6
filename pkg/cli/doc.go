// Package cli is the osm command: commands.go lists all commands, and each is in the package of its
// name or group (install, upgrade, uninstall, mesh, rotate, namespace, proxy, verify, version).
//
// Commands parse flags, ask and print. What several need is in package command, and what install,
// upgrade and mesh scale share is in package rollout. The packages below that know no flags: release
// (Helm), changes (what an upgrade changes), cluster (questions to a cluster), check (checks as data), provider (the kinds of certificate
// providers), output, prompt and suggest.
//
// It keeps no state between runs: everything comes in by command.Env. Its invariant: a command that
// returns an error before it reports that it starts has changed nothing, and only Main turns errors
// into messages and an exit code.
package cli
