#!/usr/bin/env bash
# Runs the fault suite: a mesh under load on a local cluster of three nodes, and one fault after another.
# OSM_CHAOS=ci runs the subset for each commit, OSM_CHAOS=all also what takes long. OSM_E2E_PREVIOUS is the commit that the
# control plane is rolled back to, the one before this in a full run; otherwise that fault is left out. Arguments are passed to `go test`, such as
# -run 'TestChaos/kill', which replaces these rows in the report, out/chaos/report.json. Copy it to
# tests/e2e/chaos/testdata/report.json after a full run, and run `go test ./tests/e2e/chaos -update` for the table in docs/ha.md.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ -z "${KUBECONFIG:-}" ]] || die "unset KUBECONFIG: faults kill processes and cut cables of a cluster on this machine"
if [[ $# -eq 0 ]]; then
  set -- -run '^TestChaos$'
  if [[ "${OSM_CHAOS:-}" != ci ]]; then
    OSM_E2E_PREVIOUS="${OSM_E2E_PREVIOUS:-$(git rev-parse --verify --quiet HEAD~1 || true)}"
    export OSM_E2E_PREVIOUS
  fi
fi
OSM_CHAOS_OUT="$root/out/chaos" exec scripts/e2e.sh -timeout 90m "$@"
