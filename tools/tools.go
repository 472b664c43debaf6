// Package tools roots the module of the project's own build tools and of its pinned generators.
//
// It is not imported by the product, so that what a tool needs never decides a version that
// ships. Its invariant: whatever `go tool` runs for this project is pinned in a go.mod below here.
// golangci-lint and helm-docs have modules of their own, because their dependencies conflict.
package tools
