//go:build tools

// Package deps pins CoreDNS for the local cluster. Nothing imports it: a module of its own
// keeps the versions of these programs out of every other go.mod.
package deps

import (
	_ "github.com/coredns/coredns"
)
