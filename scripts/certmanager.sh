#!/usr/bin/env bash
# Prints the path of a program that runs cert-manager's own controllers, for tests; nothing else
# goes to stdout. It takes $CERT_MANAGER, then the one in the cache folder, else it is compiled
# from the module in tests/certmanager: about two minutes the first time.
set -euo pipefail

module="$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/certmanager" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/osm"

say() { printf 'certmanager.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

if [[ -n "${CERT_MANAGER:-}" ]]; then
  "$CERT_MANAGER" crds >/dev/null || die "CERT_MANAGER=$CERT_MANAGER does not run or has no definitions next to it: unset it to compile the program"
  printf '%s\n' "$CERT_MANAGER"
  exit
fi
command -v go >/dev/null || die "Go is missing: install the version that go.mod names, or set CERT_MANAGER to a built program"

# GOWORK=off: a workspace around the repository must not change what is pinned here.
export CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly

# The key covers everything that the result depends on, so that a change never hits the cache.
key="$({ go env GOVERSION GOOS GOARCH; cat "${BASH_SOURCE[0]}" "$module"/go.mod "$module"/go.sum "$module"/*.go; } | sha256sum | cut -c1-16)"
target="$cache/cert-manager-$key"
if [[ -x "$target/certmanager" && -s "$target/crds.yaml" ]]; then
  printf '%s\n' "$target/certmanager"
  exit
fi

mkdir -p "$cache"
work="$(mktemp -d "$cache/.partial-cert-manager.XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "compiling cert-manager's controllers"
nice go build -C "$module" -trimpath -buildvcs=false -ldflags "-s -w" -o "$work/certmanager" . >&2 || die "go build failed in $module"
upstream="$(go list -C "$module" -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)"
# Each file starts with its own document separator.
cat "$upstream"/deploy/crds/*.yaml >"$work/crds.yaml"
chmod 0755 "$work"

# A rename within one folder: another run sees all of it or nothing. If another run was first,
# its result is equivalent.
mv -T "$work" "$target" 2>/dev/null || [[ -x "$target/certmanager" ]] || die "could not keep the program as $target"
say "kept as $target"
printf '%s\n' "$target/certmanager"
