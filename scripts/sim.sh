#!/usr/bin/env bash
# Runs the fleet simulator (tests/sim): real controllers and a real API server on loopback, fed by
# traces and watched by fake Envoys. Arguments are passed to the simulator; without any it runs all scenarios,
# which takes 50 minutes, 25 of them the soak.
#   scripts/sim.sh -small                      the gate: counts and bytes against the golden file
#   scripts/sim.sh -run lone-500 -o json       one scenario
#   scripts/sim.sh -list                       list the scenarios
# It needs etcd in PATH; kube-apiserver is the local cluster's, compiled the first time.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v etcd >/dev/null || die "etcd is not in PATH: install the package etcd-server, or run bin/cluster up once, which does"

mkdir -p bin
say "building the programs"
apiserver="$(kube_apiserver)"
# Neither stripped nor instrumented: the tested program is the shipped one.
go build -trimpath -o bin/osm-controlplane ./cmd/osm-controlplane
go build -trimpath -o bin/sim ./tests/sim/cmd/sim

[[ $# -gt 0 ]] || set -- -run all
exec bin/sim -controlplane bin/osm-controlplane -apiserver "$apiserver" "$@"
