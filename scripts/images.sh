#!/usr/bin/env bash
# Builds the images, as archives in bin/images.d or, with --push REGISTRY[/PREFIX], into a registry.
# IMAGE_ARCH is the architecture of the cluster's nodes (default: this machine's).
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
build images
envoy="$(scripts/envoy.sh)"
to=(--out bin/images.d)
[[ $# -eq 0 ]] || to=("$@")
bin/images --version "$version" --commit "$commit" --date "$date" --envoy "$envoy" \
  --arch "${IMAGE_ARCH:-$(go env GOHOSTARCH)}" "${to[@]}"
