#!/usr/bin/env bash
# Runs the tests of all modules with the race detector, against real programs: Envoy, a server of
# Vault's API, cert-manager's controllers, and an API server (compiled the first time: minutes).
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/ci-deps.sh
ENVOY="$(scripts/envoy.sh)"
BAO="$(scripts/openbao.sh)"
CERT_MANAGER="$(scripts/certmanager.sh)"
KUBE_APISERVER="$(kube_apiserver)"
export ENVOY BAO CERT_MANAGER KUBE_APISERVER
# A busy machine needs longer than the default of ten minutes per package.
go test -race -timeout 25m ./...
# tests/certmanager is a program for tests; it has no tests of its own.
for module in tools demo/cluster; do
  say "module $module"
  go test -C "$module" -race ./...
done
