#!/usr/bin/env bash
# Checks formatting, vet and golangci-lint in all modules; spelling; that downloaded modules match
# go.sum and have no known vulnerability; that generated files, including the third-party notices, are up
# to date.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p bin
go build -C tools/lint -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
for module in . "${MODULES[@]}"; do
  say "lint $module"
  (cd "$module" && "$root/bin/golangci-lint" run --allow-parallel-runners --config "$root/.golangci.yml" ./...)
done
# golangci-lint checks the spelling of Go files; this checks the others.
say "spelling"
go build -C tools/lint -o ../../bin/misspell github.com/golangci/misspell/cmd/misspell
git ls-files -z -- '*.md' '*.sh' '*.yaml' '*.tpl' '*.txt' '*.txtar' '*.golden' Makefile .ci/run ':!THIRD_PARTY_NOTICES' |
  xargs -0 bin/misspell -error || die "misspelled words: correct them in their source files"
for module in . "${MODULES[@]}"; do
  (cd "$module" && go mod tidy -diff) || die "go.mod of $module is not tidy: run go mod tidy there"
done

say "modules match go.sum"
while read -r file; do
  printf '%s: ' "$(dirname "$file")"
  go mod verify -C "$(dirname "$file")" || die "a module in the cache does not match go.sum (see above): run go clean -modcache"
done < <(git ls-files -- go.mod '*/go.mod')

# vulnerable PACKAGES... checks whether the code of packages, in the current folder, calls anything with a
# known vulnerability. If the database cannot be reached it says so and passes.
vulnerable() {
  local out code=0
  out="$("$root/bin/govulncheck" "$@" 2>&1)" || code=$?
  case $code in
    0) printf '%s\n' "$out" | tail -n 1 ;;
    3) printf '%s\n' "$out"; die "govulncheck: known vulnerabilities: upgrade to the versions that it names" ;;
    *)
      grep -q 'fetching vulnerabilities' <<<"$out" || { printf '%s\n' "$out"; die "govulncheck failed"; }
      say "govulncheck: the vulnerability database cannot be reached, NOT CHECKED: $(tail -n 1 <<<"$out")"
      ;;
  esac
}

say "known vulnerabilities"
go build -C tools -o ../bin/govulncheck golang.org/x/vuln/cmd/govulncheck
for module in . "${MODULES[@]}"; do (cd "$module" && vulnerable ./...); done

say "generated files"
before="$(generated_digest)"
scripts/generate.sh
[[ "$before" == "$(generated_digest)" ]] || die "generated files were out of date: run make generate and commit what it changed"
