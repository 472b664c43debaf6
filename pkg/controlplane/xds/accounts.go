package xds

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// accounts holds the streams and rate limits of each pod. It is guarded by the server's mu.
type accounts struct {
	limits Limits
	pods   ledger[mesh.PodName, *account]
}

// account holds those of one pod.
type account struct {
	streams  []*stream     // the oldest first
	opens    *rate.Limiter // streams
	requests *rate.Limiter // requests that answer nothing
}

const (
	// streamBurst is how many streams a pod may open at once, and requestBurstSeconds how many seconds'
	// worth of requests it may send at once: an Envoy sends many with its first configuration.
	streamBurst         = 10
	requestBurstSeconds = 25
)

func (a *account) idle(now time.Time) bool {
	return len(a.streams) == 0 && full(a.opens, now) && full(a.requests, now)
}

func newAccounts(limits Limits) accounts {
	return accounts{limits: limits, pods: newLedger(func(mesh.PodName) *account {
		return &account{
			opens:    rate.NewLimiter(rate.Limit(limits.StreamsPerMinute)/60, streamBurst),
			requests: rate.NewLimiter(rate.Limit(limits.RequestsPerSecond), requestBurstSeconds*limits.RequestsPerSecond),
		}
	})}
}

// add adds a stream to its pod. Over the limit the oldest stream is displaced, since its proxy may be gone
// without the server having noticed. A stream from the pod's own address is never displaced by one from
// elsewhere, which may be another pod with the same ServiceAccount.
func (a *accounts) add(st *stream, now time.Time) (displaced *stream, ok bool) {
	known := a.pods.of(st.peer.pod, now)
	if len(known.streams) >= a.limits.StreamsPerPod {
		i := slices.IndexFunc(known.streams, func(other *stream) bool { return !other.peer.home })
		switch {
		case i >= 0:
		case st.peer.home:
			i = 0
		default:
			return nil, false
		}
		displaced = known.streams[i]
		known.streams = slices.Delete(known.streams, i, i+1)
	}
	known.streams = append(known.streams, st)
	st.requests = known.requests
	return displaced, true
}

// remove removes a stream.
func (a *accounts) remove(st *stream) {
	if known := a.pods.entries[st.peer.pod]; known != nil {
		known.streams = slices.DeleteFunc(known.streams, func(other *stream) bool { return other == st })
	}
}
