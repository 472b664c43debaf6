package ca

import (
	"hash/fnv"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Failed attempts to issue are repeated after retryFirst, doubling up to retryLast.
const (
	retryFirst = time.Second
	retryLast  = time.Minute
)

// Spread returns a duration in [0, d) that depends on the identity alone: even over many identities,
// and the same on every replica.
func Spread(id identity.Identity, d time.Duration) time.Duration { return fraction(d, jitter(id)) }

// RetryDelay is how long to wait after so many failures in a row before another attempt. Half of it
// is jitter that depends on the identity.
func RetryDelay(id identity.Identity, failures int) time.Duration {
	delay := min(retryFirst<<min(failures, 10), retryLast)
	return delay/2 + Spread(id, delay/2)
}

// jitter maps an identity to [0, 1), evenly over many identities and always to the same point.
func jitter(id identity.Identity) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id.String())) // a hash never fails
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads FNV's weak high bits (the finalizer of SplitMix64): names that differ only in
// their last letters would land side by side otherwise.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fraction is a share of a duration.
func fraction(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * share)
}
