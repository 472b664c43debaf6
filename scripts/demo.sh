#!/usr/bin/env bash
# Runs the demo in one command: a cluster, the mesh with autoscaling and disruption budgets, and the
# bookstore in it, then one screen that shows what runs. Running it again brings everything up to
# the current sources.
#
# Without KUBECONFIG it creates a cluster of three nodes on this machine. With KUBECONFIG it uses
# that cluster, and needs a registry that the cluster can pull from:
#   IMAGE_REGISTRY  registry[/prefix]; the credentials are those of `docker login`
#   IMAGE_ARCH      architecture of the cluster's nodes (default: this machine's)
#   SIDECAR_IMAGE   Envoy image (default: the chart's)
# In both cases DEMO_SVG names a file for a picture of the final screen, and PROVIDER selects who signs the
# mesh's certificates: tresor (the built-in CA, the default), vault or cert-manager. On the local
# cluster the provider is deployed for you; on yours you provide it, and set
#   PROVIDER_VALUES to a file with the chart values for it (docs/certificates.md)
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/cluster.sh
source scripts/cluster.sh

if ! command -v go >/dev/null; then
  die "Go is needed to build the programs: install the version that go.mod names"
fi

provider="${PROVIDER:-tresor}"
case "$provider" in
  tresor) provider_image='' ;;
  vault) provider_image=osm-openbao ;;
  cert-manager) provider_image=osm-cert-manager ;;
  *) die "PROVIDER=$provider: choose tresor, vault or cert-manager" ;;
esac

on_local_cluster() {
  build cluster
  bin/cluster preflight
  say "building the cluster's programs and starting three nodes (the first time takes about ten minutes)"
  bin/cluster up --nodes 3
  KUBECONFIG="$(bin/cluster kubeconfig)"
  export KUBECONFIG
  say "building images and loading them into the nodes"
  build images
  local_images bin/images.d "osm-controlplane,osm-demo,osm-envoy${provider_image:+,$provider_image}"
}

on_given_cluster() {
  if [[ -n "$provider_image" ]]; then
    [[ -f "${PROVIDER_VALUES:-}" ]] || die "PROVIDER=$provider on your own cluster: deploy the provider, and set PROVIDER_VALUES to a file with the chart values for it (see docs/certificates.md)"
  fi
  say "building images and pushing them to ${IMAGE_REGISTRY:-a registry}"
  build images
  pushed_images osm-controlplane,osm-demo
}

mkdir -p bin
controlplane_ref='' demo_ref='' envoy_ref='' openbao_ref='' cert_manager_ref=''
if is_foreign; then on_given_cluster; else on_local_cluster; fi

say "building bin/osm and bin/demo"
build osm
build demo

# Another provider has another root: running pods and new ones would not trust each other.
has="$(bin/demo provider show)"
[[ -z "$has" || "$has" == "$provider" ]] || die "$has signs the running mesh: set PROVIDER=$has, or run make demo-down first"

# deploy_provider deploys a provider to the local cluster and writes the chart values for it.
deploy_provider() {
  local crds
  say "deploying the certificate provider $provider"
  case "$provider" in
    vault) bin/demo provider deploy vault --image "$openbao_ref" >"$1" ;;
    cert-manager)
      crds="$(scripts/certmanager.sh)"
      bin/demo provider deploy cert-manager --image "$cert_manager_ref" --definitions "$(dirname "$crds")/crds.yaml" >"$1"
      ;;
  esac
}

values=(
  --set "osm.certificateProvider.kind=$provider"
  --profile ha
  --set "osm.image.registry=${controlplane_ref%/osm-controlplane:*}"
  --set-string "osm.image.tag=${controlplane_ref##*:}"
)
if [[ -n "$provider_image" ]] && is_foreign; then
  values+=(-f "$PROVIDER_VALUES")
elif [[ -n "$provider_image" ]]; then
  deploy_provider bin/images.d/provider.yaml
  values+=(-f bin/images.d/provider.yaml)
fi
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
