# shellcheck shell=bash
# Sourced by the other scripts: where things are, and how to say so.
set -euo pipefail

# DEMO_NAMESPACES are the bookstore's; DEMO_MESH is the mesh's name and so the release's.
# shellcheck disable=SC2034
DEMO_NAMESPACES=(bookbuyer bookthief bookstore bookwarehouse) DEMO_MESH=osm

# MODULES are the Go modules beside the product's own, whose dependencies must not become its.
# shellcheck disable=SC2034
MODULES=(tools demo/cluster tests/certmanager)

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

# The version comes from git where there is one; the date is the commit's, never the clock's, so
# that the same sources give the same images.
version="${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}"
commit="$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
date="$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo 1970-01-01T00:00:00Z)"

# local_kubeconfig prints the local cluster's kubeconfig, or nothing when there is no cluster.
local_kubeconfig() { [[ -x bin/cluster ]] && bin/cluster kubeconfig 2>/dev/null || true; }

# is_foreign: whether KUBECONFIG names a cluster that is not our local one.
is_foreign() { [[ -n "${KUBECONFIG:-}" && "$KUBECONFIG" != "$(local_kubeconfig)" ]]; }

# has_mesh: whether the cluster has the demo's mesh.
has_mesh() { bin/osm mesh list | awk -v mesh="$DEMO_MESH" '$1 == mesh { found = 1 } END { exit !found }'; }

# generated_digest: one digest over every generated file, to tell whether generating changed any.
generated_digest() {
  find pkg/api pkg/controlplane/bootstrap/crds charts/osm/README.md \( -name 'zz_generated*' -o -name '*.yaml' -o -name README.md \) -type f -print0 |
    sort -z | xargs -0 sha256sum | sha256sum
}
