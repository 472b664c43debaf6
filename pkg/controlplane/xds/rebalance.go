package xds

import (
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

const (
	// restTime is how long a proxy that came from another stream stays where it is, and how long it is
	// remembered that a proxy was turned away: within that time no proxy is moved twice.
	restTime = 10 * time.Minute
	// maxTurns is how often one replica turns a proxy away. Then it came back twice, and may stay.
	maxTurns = 2
)

// moves remembers which proxies were turned away for the balance of the replicas. It is guarded by the server's mu.
type moves struct {
	full    time.Time // until then proxies that reconnect are turned away
	rate    *rate.Limiter
	turned  map[mesh.PodName]turns
	cleared time.Time
}

// turns are those of one proxy.
type turns struct {
	n    int
	last time.Time
}

func newMoves(perSecond int) moves {
	return moves{rate: rate.NewLimiter(rate.Limit(perSecond), max(perSecond, 1)), turned: map[mesh.PodName]turns{}}
}

// turn notes that a proxy is turned away, and forgets those for which that is long ago.
func (m *moves) turn(pod mesh.PodName, now time.Time) {
	m.turned[pod] = turns{m.turnedAway(pod, now) + 1, now}
	if now.Sub(m.cleared) < restTime {
		return
	}
	m.cleared = now
	for name, t := range m.turned {
		if now.Sub(t.last) >= restTime {
			delete(m.turned, name)
		}
	}
}

// turnedAway returns how often a proxy was turned away lately.
func (m *moves) turnedAway(pod mesh.PodName, now time.Time) int {
	if t, ok := m.turned[pod]; ok && now.Sub(t.last) < restTime {
		return t.n
	}
	return 0
}

// TurnAway makes the server turn away proxies that reconnect with a configuration, for a while: each at most twice,
// and not more a second than Config.MovesPerSecond. Proxies without a configuration are always served.
func (s *Server) TurnAway(lasting time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moves.full = s.cfg.Now().Add(lasting)
}

// Shed ends the stream of one proxy together with its connection, so that the proxy connects to another replica. It
// keeps its configuration. Shed returns false if no proxy may be moved: those that were turned away before, those that
// came from another stream a short while ago, and those that may still be waiting for their first configuration stay.
func (s *Server) Shed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if s.draining {
		return false
	}
	for st := range s.streams {
		if !s.movable(st, now) {
			continue
		}
		s.moves.turn(st.peer.pod, now)
		st.end(&termination{"rebalance", codes.Unavailable, "this replica has more than its share of proxies: connect again"})
		return true
	}
	return false
}

// Movable is how many proxies Shed may move now.
func (s *Server) Movable() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return 0
	}
	now := s.cfg.Now()
	for st := range s.streams {
		if s.movable(st, now) {
			n++
		}
	}
	return n
}

// movable is called with mu.
func (s *Server) movable(st *stream, now time.Time) bool {
	age := now.Sub(st.since)
	return age >= s.cfg.Patience && (!st.held || age >= restTime) && s.moves.turnedAway(st.peer.pod, now) == 0
}

// welcome refuses a proxy that reconnects while this replica has more than its share. held reports whether the
// proxy has a configuration.
func (s *Server) welcome(who peer, held bool) error {
	if !held || !s.turnsAway(who.pod) {
		return nil
	}
	return s.refuse(who, "rebalance", codes.Unavailable, "this replica has more than its share of proxies: connect again")
}

func (s *Server) turnsAway(pod mesh.PodName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if s.draining || !now.Before(s.moves.full) || s.moves.turnedAway(pod, now) >= maxTurns || !s.moves.rate.AllowN(now, 1) {
		return false
	}
	s.moves.turn(pod, now)
	return true
}
