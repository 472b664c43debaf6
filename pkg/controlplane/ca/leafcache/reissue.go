package leafcache

import "time"

// MaxReissueTime is the time over which the leaves of a whole fleet are replaced.
const MaxReissueTime = 5 * time.Minute

// ReissueTime returns the time over which the given number of proxies get certificates of another root: ten a second,
// which a provider can sustain, and all within MaxReissueTime. A rotation waits for it.
func ReissueTime(proxies int) time.Duration {
	return min(time.Duration(proxies)*100*time.Millisecond, MaxReissueTime)
}
