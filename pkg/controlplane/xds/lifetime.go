package xds

import (
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

// lifetime is when a stream ends, and why.
type lifetime struct {
	at  time.Time
	why *termination
}

// lifetime returns how long a stream may last: until the client certificate expires, and at most as long as
// the limit allows. Both ends are spread over time: pods of one ServiceAccount share a certificate, and all
// proxies of a replica that fails connect again at the same moment.
func (s *Server) lifetime(who peer) lifetime {
	now := s.cfg.Now()
	end := lifetime{
		at:  who.until.Add(-share(who.until.Sub(now), 20)),
		why: &termination{"expired", codes.Unauthenticated, "the client certificate expires: connect again"},
	}
	if age := s.cfg.Limits.age(); now.Add(age).Before(who.until) {
		end.at = now.Add(age - share(age, 10))
		end.why = &termination{"aged", codes.Unavailable, "the stream has lasted long enough: connect again"}
	}
	if age := s.cfg.MaxAge; age > 0 && now.Add(age).Before(end.at) {
		end.at = now.Add(age - share(age, 2))
		end.why = &termination{"rebalance", codes.Unavailable, "the stream has lasted long enough: connect again"}
	}
	return end
}

// share returns a random duration of at most the nth part of a time.
func share(of time.Duration, nth int64) time.Duration {
	return time.Duration(rand.Int64N(max(int64(of)/nth, 1))) //nolint:gosec // spacing, not a secret
}

// party is whose sync slots the proxy uses.
func (p peer) party() party { return party{p.identity, p.source} }
