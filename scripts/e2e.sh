#!/usr/bin/env bash
# Runs the end-to-end tests: a mesh from its installation to its removal, on a real cluster.
#
# Without KUBECONFIG it creates its own local cluster of three nodes, next to the demo's, and
# removes it at the end; an existing one is used and kept. With KUBECONFIG it uses that
# cluster, WHICH MUST BE FOR TESTS ONLY (a node is drained, every Secret's fence is tried), and:
#   IMAGE_REGISTRY  registry[/prefix] to push to; the credentials are those of `docker login`
#   IMAGE_ARCH      architecture of the cluster's nodes (default: this machine's)
#   SIDECAR_IMAGE   Envoy image (default: the chart's)
# OSM_E2E_PREVIOUS, on the local cluster, is a commit that the fault suite rolls the control plane back to.
# The certificate providers run from images; on a cluster whose nodes have another architecture
# than this machine they cannot run, and their tests are skipped.
# Arguments are passed to `go test`, such as -run 'TestMesh/drain'. Evidence of a failure
# is in out/e2e.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/cluster.sh
source scripts/cluster.sh

# Without arguments all stories run, those of the providers on their own cluster: each compares the
# cluster with its state before, and must not find objects that another story left. That cluster has
# a DNS domain of its own, which the mesh must find out.
if [[ $# -eq 0 ]]; then
  scripts/e2e.sh -run '^TestMesh$'
  OSM_E2E_DOMAIN=mesh.test exec scripts/e2e.sh -run '^(TestProviders|TestRotation)$'
fi

if ! command -v go >/dev/null; then
  die "Go is needed to build the programs: install the version that go.mod names"
fi

# Unique name and addresses of the new cluster.
cluster=(--name e2e --octet 60)
out="$root/out/e2e"
made=false

# finish keeps the logs of the cluster's daemons if the tests failed, and removes what was created.
finish() {
  local code=$? logs
  trap - EXIT
  if $made; then
    logs="$(dirname "$(dirname "$(bin/cluster kubeconfig --name e2e)")")/log"
    if [[ $code -ne 0 && -d "$logs" ]]; then
      mkdir -p "$out"
      cp -r "$logs" "$out/cluster-log" || true
    fi
    say "removing the cluster"
    bin/cluster down --name e2e || code=1
    rm -rf bin/e2e.d
  fi
  exit "$code"
}

mkdir -p bin
rm -rf "$out"
controlplane_ref='' demo_ref='' envoy_ref='' testapp_ref='' openbao_ref='' cert_manager_ref=''
providers=osm-openbao,osm-cert-manager
say "building the programs"
build osm
build images
if [[ -n "${KUBECONFIG:-}" ]]; then
  say "building images and pushing them to ${IMAGE_REGISTRY:-a registry}"
  if [[ "${IMAGE_ARCH:-$(go env GOHOSTARCH)}" != "$(go env GOHOSTARCH)" ]]; then providers=''; fi
  pushed_images "osm-controlplane,osm-demo,osm-testapp${providers:+,$providers}"
else
  build cluster
  bin/cluster preflight
  trap finish EXIT
  if ! bin/cluster kubeconfig --name e2e >/dev/null 2>&1; then
    made=true
    say "starting a cluster of three nodes (the first time takes about ten minutes)"
  fi
  if $made && [[ -n "${OSM_E2E_DOMAIN:-}" ]]; then cluster+=(--domain "$OSM_E2E_DOMAIN"); fi
  bin/cluster up "${cluster[@]}" --nodes 3
  KUBECONFIG="$(bin/cluster kubeconfig --name e2e)"
  export KUBECONFIG
  say "building images and loading them into the nodes"
  local_images bin/e2e.d "osm-controlplane,osm-demo,osm-envoy,osm-testapp,$providers" --name e2e
  if [[ -n "${OSM_E2E_PREVIOUS:-}" ]]; then
    say "building the control plane of $OSM_E2E_PREVIOUS"
    previous_version "$OSM_E2E_PREVIOUS" bin/e2e.d --name e2e
    export OSM_E2E_PREVIOUS_OSM=$previous_osm OSM_E2E_PREVIOUS_IMAGE=$previous_ref
  fi
  # What can cut a node's power.
  export OSM_E2E_CLUSTER="$root/bin/cluster --name e2e"
  # What the control plane asks of the API server, to be compared with what it may.
  OSM_E2E_AUDIT_LOG="$(dirname "$(dirname "$KUBECONFIG")")/log/audit.log"
  export OSM_E2E_AUDIT_LOG
fi

export OSM_E2E_CONTROLPLANE_IMAGE=$controlplane_ref OSM_E2E_ENVOY_IMAGE=$envoy_ref
export OSM_E2E_DEMO_IMAGE=$demo_ref OSM_E2E_TESTAPP_IMAGE=$testapp_ref
export OSM_E2E_OPENBAO_IMAGE=$openbao_ref OSM_E2E_CERT_MANAGER_IMAGE=$cert_manager_ref
if [[ -n "$cert_manager_ref" ]]; then
  crds="$(scripts/certmanager.sh)"
  export OSM_E2E_CERT_MANAGER_CRDS="${crds%/*}/crds.yaml"
fi
say "running the tests"
go test -tags e2e -count=1 -timeout 50m -v "$@" ./tests/e2e
