#!/usr/bin/env bash
# Runs the tests of all modules with the race detector, against real programs.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

real_programs
# A busy machine needs longer than the default of ten minutes per package.
go test -race -timeout 25m ./...
# tests/certmanager is a program for tests; it has no tests of its own.
for module in tools demo/cluster; do
  say "module $module"
  go test -C "$module" -race ./...
done
