#!/usr/bin/env bash
# The performance gate: what a fixed trace costs in messages, bytes and resources built, compared with
# a committed file. Counts do not depend on how busy the machine is. Then the gate itself is tried:
# a controller that rebuilds the world for each event must not pass it.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/ci-deps.sh
scripts/sim.sh -small

say "the gate must refuse a controller that rebuilds the world for each event"
planted="$(mktemp -d)"
trap 'rm -rf "$planted"' EXIT
source=pkg/controlplane/controller/pipeline.go
sed 's/l\.builder\.Build(/l.newBuilder().Build(/' "$source" >"$planted/pipeline.go"
cmp -s "$source" "$planted/pipeline.go" && die "the line to plant the fault in is not in $source any more"
printf '{"Replace": {"%s": "%s"}}' "$root/$source" "$planted/pipeline.go" >"$planted/overlay.json"
go build -trimpath -overlay "$planted/overlay.json" -o "$planted/osm-controlplane" ./cmd/osm-controlplane
if bin/sim -controlplane "$planted/osm-controlplane" -apiserver "$(kube_apiserver)" -small >"$planted/out" 2>&1; then
  cat "$planted/out" >&2
  die "it passed"
fi
grep -q built "$planted/out" || { cat "$planted/out" >&2; die "it was refused, but not for what it built"; }
say "refused, as it must be"
