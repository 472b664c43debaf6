# shellcheck shell=bash
# Sourced after lib.sh: builds the images of this checkout and delivers them to a cluster.

# images ARGS...: builds and delivers images; sets NAME_ref of each.
images() {
  local lines name ref
  lines="$(bin/images --version "$version" --commit "$commit" --date "$date" "$@")"
  while read -r name ref _; do
    # Read by the script that sources this one.
    # shellcheck disable=SC2034
    case "$name" in
      osm-controlplane) controlplane_ref=$ref ;;
      osm-demo) demo_ref=$ref ;;
      osm-envoy) envoy_ref=$ref ;;
      osm-testapp) testapp_ref=$ref ;;
      osm-openbao) openbao_ref=$ref ;;
      osm-cert-manager) cert_manager_ref=$ref ;;
    esac
  done <<<"$lines"
}

# programs NAMES: sets given to the flags of bin/images that name the third-party programs
# that these comma-separated images need; missing ones are fetched or compiled.
programs() {
  local file
  given=()
  if [[ ",$1," == *,osm-envoy,* ]]; then
    file="$(scripts/envoy.sh)"
    given+=(--envoy "$file")
  fi
  if [[ ",$1," == *,osm-openbao,* ]]; then
    file="$(scripts/openbao.sh)"
    given+=(--openbao "$file")
  fi
  if [[ ",$1," == *,osm-cert-manager,* ]]; then
    file="$(scripts/certmanager.sh)"
    given+=(--cert-manager "$file")
  fi
}

# local_images FOLDER NAMES [CLUSTER-FLAGS...]: builds the images of these comma-separated names
# and loads them into the nodes of a local cluster.
local_images() {
  local folder=$1 names=$2 archives=() name given
  shift 2
  programs "$names"
  images --out "$folder" --only "$names" "${given[@]}"
  for name in ${names//,/ }; do archives+=("$folder/$name.tar"); done
  bin/cluster load "$@" "${archives[@]}"
}

# pushed_images NAMES: builds the images and pushes them to IMAGE_REGISTRY, for a cluster that is
# not ours. Envoy is not included: such a cluster pulls the official image.
pushed_images() {
  [[ -n "${IMAGE_REGISTRY:-}" ]] || die "KUBECONFIG is set but IMAGE_REGISTRY is not: set it to a registry[/prefix] that the cluster can pull from, or unset KUBECONFIG to create a cluster on this machine"
  local given
  programs "$1"
  images --push "$IMAGE_REGISTRY" --only "$1" --arch "${IMAGE_ARCH:-$(go env GOHOSTARCH)}" "${given[@]}"
  # shellcheck disable=SC2034
  envoy_ref="${SIDECAR_IMAGE:-}"
}

# previous_version COMMIT FOLDER [CLUSTER-FLAGS...]: builds osm and the control plane's image of another commit, and loads the
# image into the nodes of a local cluster; sets previous_osm and previous_ref.
previous_version() {
  local tree="$root/$2/previous" version date commit
  commit="$(git rev-parse --short=12 "$1")"
  version="$(git describe --tags --always "$1")"
  date="$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ "$1")"
  shift 2
  rm -rf "$tree"
  mkdir -p "$tree"
  git archive "$commit" | tar -x -C "$tree"
  previous_osm="$tree/bin/osm"
  go build -C "$tree" -trimpath -ldflags "-s -w -X main.version=$version -X main.gitCommit=$commit -X main.buildDate=$date" -o bin/osm ./cmd/osm
  previous_ref="$(bin/images --root "$tree" --version "$version" --commit "$commit" --date "$date" --only osm-controlplane --out "$tree" | awk '$1 == "osm-controlplane" { print $2 }')"
  bin/cluster load "$@" "$tree/osm-controlplane.tar"
}
