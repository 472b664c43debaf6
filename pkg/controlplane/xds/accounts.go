package xds

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// accounts are what pods have and may do. The server's mu is held for all that is done to them.
type accounts struct {
	limits Limits
	pods   ledger[mesh.PodName, *account]
}

// account is one pod's.
type account struct {
	streams []*stream     // the oldest first
	opened  *rate.Limiter // streams
	asked   *rate.Limiter // requests that answer nothing
}

const (
	// reopenings is how many streams a pod may open at once, and bigTalk for how many seconds' worth of
	// requests: an Envoy that is configured for the first time asks for much in a moment.
	reopenings = 10
	bigTalk    = 25
)

func (a *account) idle(now time.Time) bool {
	return len(a.streams) == 0 && full(a.opened, now) && full(a.asked, now)
}

func newAccounts(limits Limits) accounts {
	return accounts{limits: limits, pods: newLedger(func(mesh.PodName) *account {
		return &account{
			opened: rate.NewLimiter(rate.Limit(limits.StreamsPerMinute)/60, reopenings),
			asked:  rate.NewLimiter(rate.Limit(limits.RequestsPerSecond), bigTalk*limits.RequestsPerSecond),
		}
	})}
}

// add gives a pod another stream. Over the limit the oldest one makes room, since that is the one whose
// proxy may be gone without the server having noticed. A stream that comes from the pod's own address does
// not make room for one from elsewhere: that may be another pod with the same ServiceAccount.
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
	st.asked = known.asked
	return displaced, true
}

// remove takes a stream away.
func (a *accounts) remove(st *stream) {
	if known := a.pods.entries[st.peer.pod]; known != nil {
		known.streams = slices.DeleteFunc(known.streams, func(other *stream) bool { return other == st })
	}
}
