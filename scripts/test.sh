#!/usr/bin/env bash
# Runs the tests of all modules with the race detector, with a real Envoy as one of the judges.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/ci-deps.sh
ENVOY="$(scripts/envoy.sh)"
export ENVOY
go test -race ./...
for module in tools demo/cluster; do
  say "module $module"
  go test -C "$module" -race ./...
done
