#!/usr/bin/env bash
# The performance gate compares the cost of a fixed trace, in messages, bytes and resources built, with
# a committed file. Counts do not depend on the load of the machine. Then the gate itself is tested:
# it must fail a controller that rebuilds the world for each event.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/ci-deps.sh
scripts/sim.sh -small

say "the gate must fail a controller that rebuilds the world for each event"
planted="$(mktemp -d)"
trap 'rm -rf "$planted"' EXIT
source=pkg/controlplane/controller/pipeline.go
sed 's/l\.builder\.Build(/l.newBuilder().Build(/' "$source" >"$planted/pipeline.go"
cmp -s "$source" "$planted/pipeline.go" && die "$source no longer contains the line in which to inject the bug"
printf '{"Replace": {"%s": "%s"}}' "$root/$source" "$planted/pipeline.go" >"$planted/overlay.json"
go build -trimpath -overlay "$planted/overlay.json" -o "$planted/osm-controlplane" ./cmd/osm-controlplane
if bin/sim -controlplane "$planted/osm-controlplane" -apiserver "$(kube_apiserver)" -small >"$planted/out" 2>&1; then
  cat "$planted/out" >&2
  die "the gate passed it"
fi
grep -q built "$planted/out" || { cat "$planted/out" >&2; die "the gate failed it, but not because of the resources built"; }
say "failed, as expected"
