package serve

import (
	"math"
	"runtime/debug"
)

// LeaveHeadroom lowers the soft memory limit that GOMEMLIMIT set, which in a cluster is the
// container's limit, by a tenth: the kernel also counts what the Go runtime does not, and ends a
// process that reaches the limit before the garbage collector runs. Without a limit it does nothing.
func LeaveHeadroom() {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}
