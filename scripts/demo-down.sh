#!/usr/bin/env bash
# Removes what scripts/demo.sh created: the whole local cluster, or, from the cluster that KUBECONFIG
# names, the bookstore and the mesh. It succeeds when there is nothing to remove.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
if ! is_foreign; then
  [[ -x bin/cluster ]] || build cluster
  bin/cluster down
  rm -rf bin/images.d
  exit
fi

build osm
build demo
say "removing the bookstore"
bin/demo remove
if has_mesh; then
  say "removing the mesh"
  bin/osm uninstall mesh --mesh-name "$DEMO_MESH" --force --delete-cluster-wide-resources --delete-namespace
fi
