#!/usr/bin/env bash
# Formatting, vet and golangci-lint in all modules, then whether generated files are up to date.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
go build -C tools/lint -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
for module in . "${MODULES[@]}"; do
  say "lint $module"
  (cd "$module" && "$root/bin/golangci-lint" run --allow-parallel-runners --config "$root/.golangci.yml" ./...)
done
for module in . "${MODULES[@]}"; do
  (cd "$module" && go mod tidy -diff) || die "go.mod of $module is not tidy: run go mod tidy there"
done

say "generated files"
before="$(generated_digest)"
scripts/generate.sh
[[ "$before" == "$(generated_digest)" ]] || die "generated files were out of date: run make generate and commit what it changed"
