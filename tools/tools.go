// Package tools roots the module of the project's own build tools and of its pinned generators.
//
// The product does not import it, so that a tool's requirement never decides a version that
// ships. Its invariant: every program that `go tool` runs for this project is pinned in a go.mod below here.
// golangci-lint and helm-docs have their own modules, because their dependencies conflict.
package tools
