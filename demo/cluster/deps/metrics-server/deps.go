//go:build tools

// Package deps pins metrics-server for the local cluster. Nothing imports it: a module of its own
// keeps the versions of these programs out of every other go.mod.
package deps

import (
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
