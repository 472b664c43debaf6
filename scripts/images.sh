#!/usr/bin/env bash
# Builds the images, as archives in bin/images.d or, with --push REGISTRY[/PREFIX], into a registry.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
build images
envoy="$(scripts/envoy.sh)"
to=(--out bin/images.d)
[[ $# -eq 0 ]] || to=("$@")
bin/images --version "$version" --commit "$commit" --date "$date" --envoy "$envoy" "${to[@]}"
