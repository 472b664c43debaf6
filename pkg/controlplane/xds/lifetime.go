package xds

import (
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

// lifetime is when a stream ends, and what its proxy is told then.
type lifetime struct {
	at  time.Time
	why *parted
}

// lifetime says how long a stream may last: never longer than the certificate that proved who the proxy is,
// and not longer than the limit however long the certificate says that it is good. Both ends are spread:
// pods of one ServiceAccount share a certificate, and connect at one time when a replica fails.
func (s *Server) lifetime(who peer) lifetime {
	now := s.cfg.Now()
	end := lifetime{
		at:  who.until.Add(-share(who.until.Sub(now), 20)),
		why: &parted{"expired", codes.Unauthenticated, "the client certificate expires: connect again"},
	}
	if age := s.cfg.Limits.age(); now.Add(age).Before(who.until) {
		end.at = now.Add(age - share(age, 10))
		end.why = &parted{"aged", codes.Unavailable, "the stream has lasted long enough: connect again"}
	}
	return end
}

// share is a random part of the nth part of a time.
func share(of time.Duration, nth int64) time.Duration {
	return time.Duration(rand.Int64N(max(int64(of)/nth, 1))) //nolint:gosec // spacing, not a secret
}

// party is whose turns the proxy uses.
func (p peer) party() party { return party{p.identity, p.source} }
