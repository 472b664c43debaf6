#!/usr/bin/env bash
# The demo in one command: a cluster, the mesh with autoscaling and disruption budgets, and the
# bookstore in it, then one screen that shows what runs. Running it again brings everything up to
# the current sources.
#
# Without KUBECONFIG it makes a cluster of three nodes on this machine. With KUBECONFIG it uses
# that cluster, and needs a registry to push to that the cluster can pull from:
#   IMAGE_REGISTRY  registry[/prefix]; the credentials are those of `docker login`
#   IMAGE_ARCH      architecture of the cluster's nodes (default: this machine's)
#   SIDECAR_IMAGE   Envoy image (default: the chart's)
# In both cases DEMO_SVG names a file to draw the final screen into.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/cluster.sh
source scripts/cluster.sh

if ! command -v go >/dev/null; then
  die "Go is needed to build the programs: install the version that go.mod names"
fi

on_local_cluster() {
  build cluster
  bin/cluster preflight
  say "building the cluster's programs and starting three nodes (the first time takes about ten minutes)"
  bin/cluster up --nodes 3
  KUBECONFIG="$(bin/cluster kubeconfig)"
  export KUBECONFIG
  say "building images and loading them into the nodes"
  build images
  local_images bin/images.d osm-controlplane,osm-demo,osm-envoy
}

on_given_cluster() {
  say "building images and pushing them to ${IMAGE_REGISTRY:-a registry}"
  build images
  pushed_images osm-controlplane,osm-demo
}

mkdir -p bin
controlplane_ref='' demo_ref='' envoy_ref=''
if is_foreign; then on_given_cluster; else on_local_cluster; fi

say "building bin/osm and bin/demo"
build osm
build demo

values=(
  --set osm.osmController.autoScale.enable=true
  --set osm.osmController.enablePodDisruptionBudget=true
  --set osm.injector.autoScale.enable=true
  --set osm.injector.enablePodDisruptionBudget=true
  --set "osm.image.registry=${controlplane_ref%/osm-controlplane:*}"
  --set "osm.image.tag=${controlplane_ref##*:}"
)
[[ -z "$envoy_ref" ]] || values+=(--set "osm.sidecarImage=$envoy_ref")

install() { bin/osm install --mesh-name "$DEMO_MESH" --recover "${values[@]}"; }
if has_mesh; then
  say "upgrading the mesh"
  # A first installation that was interrupted cannot be upgraded, but installed once more.
  bin/osm upgrade --mesh-name "$DEMO_MESH" --recover "${values[@]}" || install
else
  say "installing the mesh"
  install
fi

say "deploying the bookstore into the mesh"
bin/demo namespaces
bin/osm namespace add --mesh-name "$DEMO_MESH" "${DEMO_NAMESPACES[@]}"
bin/demo deploy --image "$demo_ref"

say "waiting for metrics, books and certificates"
bin/demo summary ${DEMO_SVG:+--svg "$DEMO_SVG"}

cat >&2 <<END

export KUBECONFIG=$KUBECONFIG    to look around with kubectl and bin/osm
make demo-down                   to remove everything again
END
