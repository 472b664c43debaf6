#!/usr/bin/env bash
# Writes the generated files: deepcopy, the CRDs, the chart's README and the third-party notices.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
go build -C tools -o ../bin/controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen
go build -C tools/helmdocs -o ../../bin/helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs
bin/controller-gen object paths=./pkg/api/config/v1alpha2
bin/controller-gen crd paths=./pkg/api/config/v1alpha2 output:crd:dir=pkg/controlplane/bootstrap/crds
bin/helm-docs --chart-search-root charts --sort-values-order file --log-level warning
go build -C tools -o ../bin/notices ./notices
bin/notices ./cmd/osm ./cmd/osm-controlplane >bin/THIRD_PARTY_NOTICES
mv bin/THIRD_PARTY_NOTICES THIRD_PARTY_NOTICES
