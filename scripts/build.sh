#!/usr/bin/env bash
# Compiles every program into bin/.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
for program in osm demo images cluster; do build "$program"; done
go build -trimpath -o bin/osm-controlplane ./cmd/osm-controlplane
