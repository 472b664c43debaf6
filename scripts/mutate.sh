#!/usr/bin/env bash
# Plants faults one after another and fails unless the tests notice each; see tests/mutate. The working tree
# stays as it is. The race detector is off.
#   MUTANTS=REGEXP   only those whose name or claim matches, such as HA-13 or drain
#   SOME=N           only N of them, chosen by the commit
# Arguments are passed on, such as -list or -o json.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

real_programs
go build -o bin/mutate ./tests/mutate/cmd/mutate
exec bin/mutate -run "${MUTANTS:-.}" -some "${SOME:-0}" -seed "$commit" "$@"
