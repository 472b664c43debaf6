package secrets

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// betweenPods is the shortest pause between probes for pods that start one after another.
	betweenPods = time.Second
	// firstAwaited is the pause before a Secret is probed again while a pod does not start. It doubles with each probe.
	firstAwaited = 2 * time.Second
)

// awaited is which pods may be waiting for a Secret. The control plane may not watch Secrets, and a missing one does no
// harm until a pod has to mount it: that pod does not start. So each new pod has its account's Secret probed at
// once, and ever more seldom while the pod does not start, for whatever reason.
type awaited struct {
	pods  []types.UID // sorted
	last  time.Time   // when the Secret was probed
	next  time.Time   // when to probe again if there are pods
	pause time.Duration
}

// by notes the pods that have not started.
func (a *awaited) by(pods []types.UID) {
	pods = slices.Sorted(slices.Values(pods))
	if slices.ContainsFunc(pods, func(uid types.UID) bool { _, known := slices.BinarySearch(a.pods, uid); return !known }) {
		a.pause, a.next = firstAwaited, a.last.Add(betweenPods)
	}
	a.pods = pods
}

// probed notes a probe. No pause is longer than that between any two probes.
func (a *awaited) probed(now time.Time, longest time.Duration) {
	a.last, a.next = now, now.Add(a.pause)
	a.pause = min(2*a.pause, longest)
}

// before returns the earlier of a time and that of the next probe for the pods.
func (a *awaited) before(at time.Time) time.Time {
	if len(a.pods) > 0 && a.next.Before(at) {
		return a.next
	}
	return at
}
