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
	pods   map[mesh.PodName]*account
	swept  int // how many there were after the last sweep
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

func newAccounts(limits Limits) accounts {
	return accounts{limits: limits, pods: map[mesh.PodName]*account{}}
}

// of is a pod's account; it is kept for as long as the pod has a stream or is not yet free to do all again.
func (a *accounts) of(pod mesh.PodName, now time.Time) *account {
	if known := a.pods[pod]; known != nil {
		return known
	}
	if len(a.pods) > 2*a.swept+1000 {
		for name, known := range a.pods {
			if len(known.streams) == 0 && full(known.opened, now) && full(known.asked, now) {
				delete(a.pods, name)
			}
		}
		a.swept = len(a.pods)
	}
	made := &account{
		opened: rate.NewLimiter(rate.Limit(a.limits.StreamsPerMinute)/60, reopenings),
		asked:  rate.NewLimiter(rate.Limit(a.limits.RequestsPerSecond), bigTalk*a.limits.RequestsPerSecond),
	}
	a.pods[pod] = made
	return made
}

func full(l *rate.Limiter, now time.Time) bool { return l.TokensAt(now) >= float64(l.Burst()) }

// add gives a pod another stream. Over the limit the oldest one makes room, since that is the one whose
// proxy may be gone without the server having noticed. A stream that comes from the pod's own address does
// not make room for one from elsewhere: that may be another pod with the same ServiceAccount.
func (a *accounts) add(st *stream, now time.Time) (displaced *stream, ok bool) {
	known := a.of(st.peer.pod, now)
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
	if known := a.pods[st.peer.pod]; known != nil {
		known.streams = slices.DeleteFunc(known.streams, func(other *stream) bool { return other == st })
	}
}
