# The available commands. Everything runs on a fresh machine.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-print-directory

GOLDEN   = $$(grep -rl --include='*_test.go' 'flag.Bool("update"' $(1) | xargs -r -n1 dirname | sort -u | sed 's,^,./,')

##@ Use
demo: ## a local cluster (or yours, with KUBECONFIG and IMAGE_REGISTRY), the mesh, the bookstore; PROVIDER=vault or cert-manager signs
	@scripts/demo.sh
demo-down: ## remove everything that make demo created
	@scripts/demo-down.sh

##@ Build
build: ## all programs, into bin/
	@scripts/build.sh
images: ## OCI images into bin/images.d, or PUSH=registry/prefix
	@scripts/images.sh $(if $(filter-out undefined,$(origin PUSH)),--push $(PUSH))
generate: ## CRDs, deepcopy and the chart's README
	@scripts/generate.sh
golden: ## rewrite golden files; read the diff before you commit it
	@ENVOY=$$(scripts/envoy.sh); export ENVOY; go test $(call GOLDEN,pkg charts demo/report tests/sim/report tests/e2e/chaos) -update
	@cd demo/cluster && go test $(call GOLDEN,.) -update

##@ Check
test: ## unit, golden, story and property tests of all modules, with the race detector
	@scripts/test.sh
fuzz: ## every fuzz target for FUZZTIME=60s each, those that match FUZZ=regexp only
	@scripts/fuzz.sh
lint: ## formatting, vet, golangci-lint, and whether generated files are up to date
	@scripts/lint.sh
gate: ## the cost of a fixed trace in messages, bytes and work, against a committed file
	@scripts/gate.sh
mutate: ## plant every fault of tests/mutate (MUTANTS=regexp, SOME=n) and check that the tests notice it
	@scripts/mutate.sh
e2e: ## end-to-end tests on a real cluster of three nodes
	@scripts/e2e.sh
chaos: ## faults on a real cluster under load, into out/chaos/report.json; OSM_CHAOS=ci for a subset, all for what takes long, too
	@scripts/chaos.sh
bench: ## the fleet simulator's table of budgets, then the Go benchmarks (an hour)
	@scripts/sim.sh
	@go test -run '^$$' -bench . -benchmem ./pkg/controlplane/...

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo demo-down build images generate golden test fuzz lint gate mutate e2e chaos bench help
