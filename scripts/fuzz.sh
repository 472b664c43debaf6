#!/usr/bin/env bash
# Runs every fuzz target of all modules, one after another, and ends with a table of results.
#   FUZZTIME=60s   how long each one runs; or a number of inputs, such as 1000x
#   FUZZ=REGEXP    only the targets whose name matches
# It fails if a target finds a crash, and prints the path of the crashing input: a file that, once
# committed, is a seed for every later `make test`. Inputs that merely reach new code are kept in
# Go's cache, so the next run continues from there. The race detector is off: it makes a
# target about ten times slower, and `make test` runs all seeds with it.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

fuzztime="${FUZZTIME:-60s}"
pattern="${FUZZ:-.}"
log="$(mktemp -d)"
trap 'rm -rf "$log"' EXIT
# Some targets validate their output with the real program.
ENVOY="$(scripts/envoy.sh)"
export ENVOY

# targets MODULE prints its targets, as FOLDER NAME, without compiling anything.
targets() {
  local folder files
  while read -r folder files; do
    [[ -n "$files" ]] || continue
    # shellcheck disable=SC2086 # a list of names
    (cd "$folder" && sed -n "s,^func \(Fuzz[A-Za-z0-9_]*\)(.*testing\.F.*,$folder \1,p" $files)
  done < <(go list -C "$1" -find -f '{{.Dir}}{{range .TestGoFiles}} {{.}}{{end}}{{range .XTestGoFiles}} {{.}}{{end}}' ./...)
}

# fuzz FOLDER NAME runs one target and adds its line to the table. Making an input shorter that reaches new
# code may take Go a minute, in which nothing else is tried: two seconds must do.
fuzz() {
  local folder=$1 name=$2 package="${1#"$root"/}" out="$log/out" verdict=clean seed
  say "$name in $package, $fuzztime"
  if ! go test -C "$folder" -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" -fuzzminimizetime 2s . 2>&1 | tee "$out" >&2; then
    verdict=FAILED
    seed="$(sed -n 's/^ *Failing input written to //p' "$out")"
    [[ -z "$seed" ]] || printf '%s\n' "$package/$seed" >>"$log/seeds"
    failed=$((failed + 1))
  fi
  # Its last words: fuzz: elapsed: 60s, execs: 325017 (5416/sec), new interesting: 11 (total: 202)
  sed -n 's/^fuzz: elapsed: .* execs: \([0-9]*\) .* new interesting: \([0-9]*\) (total: \([0-9]*\)).*/\1 \2 \3/p' "$out" | tail -n 1 |
    { read -r execs fresh total || true; printf '%-28s %-44s %12s %8s %8s  %s\n' "$name" "$package" "${execs:--}" "${fresh:--}" "${total:--}" "$verdict"; } >>"$log/table"
}

say "looking for targets"
for module in . "${MODULES[@]}"; do targets "$module"; done | awk -v pattern="$pattern" '$2 ~ pattern' >"$log/targets"
[[ -s "$log/targets" ]] || die "no fuzz target matches FUZZ=$pattern"

failed=0 count=0
while read -r folder name <&3; do
  fuzz "$folder" "$name"
  count=$((count + 1))
done 3<"$log/targets"

printf '\n%-28s %-44s %12s %8s %8s\n' target package inputs new corpus
cat "$log/table"
say "$count targets, $fuzztime each, without the race detector: $failed failed"
if [[ -s "$log/seeds" ]]; then
  say "crashing inputs: fix the bug and commit these files with the fix, as seeds"
  cat "$log/seeds" >&2
fi
[[ $failed -eq 0 ]]
