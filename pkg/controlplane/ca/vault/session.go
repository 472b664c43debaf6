package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/openbao/openbao/api/v2"
	"golang.org/x/sync/singleflight"

	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

const (
	// maxTick bounds how late a jump of the wall clock or a changed Secret is noticed: timers use
	// the monotonic clock, which stops while the host sleeps.
	maxTick = 30 * time.Second
	// freshToken is how long a token that was never accepted is kept: a new one would be
	// refused as well.
	freshToken = time.Minute
	// minRenewal is the shortest time between two renewals of a token, however short it lives.
	minRenewal = 2 * time.Second
	// shrunk is the share of its first lifetime below which a renewed token is replaced: it nears its
	// maximum lifetime, and renewals would get ever shorter.
	shrunk = 2
)

// grant is a token and what is known about its lifetime. It is immutable.
type grant struct {
	token     string
	since     time.Time
	lifetime  time.Duration // 0: unlimited, or unknown
	first     time.Duration // the lifetime of the token when it was new
	renewable bool
	known     bool // whether the lifetime was looked up
	accepted  bool // whether a request was granted with it
	renewAt   time.Time
}

func (g *grant) over(now time.Time) bool {
	return g.lifetime > 0 && !now.Before(g.since.Add(g.lifetime))
}

// session holds the one token that all requests share.
type session struct {
	server  *server
	cfg     Config
	flight  singleflight.Group
	changed wake.Signal // keep must check again

	mu   sync.Mutex
	held *grant
}

func newSession(cfg Config, server *server) *session {
	return &session{server: server, cfg: cfg, changed: wake.NewSignal()}
}

// call sends a request with the current token. If the token is refused, it gets another one if it can, and
// sends the request once more.
func (s *session) call(ctx context.Context, path string, body map[string]any) (*api.Secret, error) {
	for again := true; ; again = false {
		current, err := s.current(ctx)
		if err != nil {
			return nil, err
		}
		secret, err := s.server.write(ctx, current.token, path, body)
		if err == nil {
			s.accepted(current)
			return secret, nil
		}
		if !refuses(err) || !again || !s.drop(current) {
			return nil, err
		}
	}
}

// current returns a token that is not known to have expired. It logs in if necessary.
func (s *session) current(ctx context.Context) (*grant, error) {
	if s.cfg.Token != nil {
		return s.given(ctx)
	}
	if held := s.holding(); held != nil && !held.over(s.now()) {
		return held, nil
	}
	return s.login(ctx)
}

// given returns the token that was created elsewhere.
func (s *session) given(ctx context.Context) (*grant, error) {
	text, err := s.cfg.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("get the token for %s: %w", s.cfg, err)
	}
	token := strings.TrimSpace(text)
	if token == "" {
		return nil, fmt.Errorf("get the token for %s: it is empty", s.cfg)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil || s.held.token != token {
		s.held = &grant{token: token, since: s.now()}
		s.changed.Wake()
	}
	return s.held, nil
}

// login gets a new token. Concurrent callers share one login.
func (s *session) login(ctx context.Context) (*grant, error) {
	result := s.flight.DoChan("login", func() (any, error) {
		// A caller that gives up must not fail the others. Requests have a timeout of their own.
		return s.logIn(context.WithoutCancel(ctx))
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*grant), nil
	}
}

func (s *session) logIn(ctx context.Context) (*grant, error) {
	jwt, err := os.ReadFile(s.cfg.Login.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("log in to %s: read the ServiceAccount token: %w", s.cfg, err)
	}
	secret, err := s.server.write(ctx, "", s.cfg.loginPath(), map[string]any{
		"role": s.cfg.Login.Role, "jwt": strings.TrimSpace(string(jwt)),
	})
	if err != nil {
		return nil, fmt.Errorf("log in with role %q: %w", s.cfg.Login.Role, err)
	}
	if secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, fmt.Errorf("log in with role %q: %w", s.cfg.Login.Role, s.server.explain(s.cfg.loginPath(), errors.New("the response has no token")))
	}
	lifetime := time.Duration(secret.Auth.LeaseDuration) * time.Second
	fresh := (&grant{token: secret.Auth.ClientToken}).withLifetime(s.now(), lifetime, secret.Auth.Renewable)
	s.hold(fresh)
	return fresh, nil
}

// withLifetime returns the grant with a lifetime that begins now. It is due at two thirds, or a little before, so
// that replicas that started together do not keep renewing together.
func (g *grant) withLifetime(now time.Time, lifetime time.Duration, renewable bool) *grant {
	next := *g
	next.since, next.lifetime, next.renewable, next.known = now, lifetime, renewable, true
	if next.first == 0 {
		next.first = lifetime
	}
	next.renewAt = now.Add(max(time.Duration(float64(lifetime)*(2.0/3-rand.Float64()/15)), minRenewal)) //nolint:gosec // jitter is no secret
	return &next
}

func (s *session) holding() *grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

func (s *session) hold(g *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = g
	s.changed.Wake()
}

// accepted records that a request was granted with a token.
func (s *session) accepted(g *grant) {
	if g.accepted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && s.held.token == g.token {
		proven := *s.held
		proven.accepted = true
		s.held = &proven
	}
}

// drop discards a refused token, and reports whether to retry with another one.
func (s *session) drop(g *grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil || s.held.token != g.token {
		return true // another caller has replaced it
	}
	if s.cfg.Token != nil || !s.held.accepted && s.now().Sub(s.held.since) < freshToken {
		return false
	}
	s.held = nil
	return true
}

func (s *session) now() time.Time { return s.cfg.Now().Round(0) }
