package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// keep keeps the token valid until ctx ends, and returns the context's cause.
func (s *session) keep(ctx context.Context) error {
	failures := 0
	for {
		err := s.maintain(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			failures = 0
			s.sleep(ctx, s.untilDue(), s.changed)
			continue
		}
		if failures++; failures == 1 {
			s.cfg.Log.Warn("token of the certificate provider not renewed, will retry", "error", err)
		}
		s.sleep(ctx, pause(failures, pauseLast), nil)
	}
}

// sleep waits, but no longer than until changed receives.
func (*session) sleep(ctx context.Context, wait time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

func (s *session) untilDue() time.Duration {
	held := s.holding()
	if held == nil || held.lifetime == 0 || s.cfg.Token != nil && !held.renewable {
		return maxTick
	}
	return min(max(held.renewAt.Sub(s.now()), minRenewal), maxTick)
}

// maintain renews, replaces or looks up the token if that is due.
func (s *session) maintain(ctx context.Context) error {
	if s.cfg.Token != nil {
		if _, err := s.given(ctx); err != nil {
			return err
		}
	}
	held := s.holding()
	switch {
	case held == nil: // refused; the next request logs in
		return nil
	case !held.known:
		return s.lookUp(ctx, held)
	case held.lifetime == 0 || s.now().Before(held.renewAt):
		return nil
	case held.renewable && !held.over(s.now()):
		return s.renew(ctx, held)
	case s.cfg.Token == nil:
		_, err := s.login(ctx)
		return err
	}
	return nil // a given token that cannot be renewed: renew logged it
}

// lookUp asks for the lifetime of a given token.
func (s *session) lookUp(ctx context.Context, held *grant) error {
	secret, err := s.server.read(ctx, held.token, "auth/token/lookup-self")
	if err != nil && !denied(err) {
		return err
	}
	if err != nil {
		// Requests will show whether the token is valid; only its lifetime remains unknown.
		s.cfg.Log.Warn("token of the certificate provider cannot be looked up and will not be renewed", "error", err)
		s.replace(held, held.withLifetime(s.now(), 0, false))
		return nil
	}
	renewable, _ := secret.Data["renewable"].(bool)
	lifetime := seconds(secret.Data["ttl"])
	if lifetime > 0 && !renewable {
		s.cfg.Log.Warn("token of the certificate provider cannot be renewed: put a new one into its Secret before it expires", "ends", s.now().Add(lifetime))
	}
	s.replace(held, held.withLifetime(s.now(), lifetime, renewable))
	return nil
}

// renew renews a token, or replaces it if it nears its maximum lifetime.
func (s *session) renew(ctx context.Context, held *grant) error {
	secret, err := s.server.write(ctx, held.token, "auth/token/renew-self", map[string]any{})
	if err == nil && secret.Auth == nil {
		err = s.server.explain("auth/token/renew-self", errors.New("the response has no token"))
	}
	if denied(err) && s.cfg.Token == nil {
		_, err = s.login(ctx) // expired, revoked, or not allowed to renew itself
		return err
	}
	if err != nil {
		return fmt.Errorf("renew the token: %w", err)
	}
	next := held.withLifetime(s.now(), time.Duration(secret.Auth.LeaseDuration)*time.Second, secret.Auth.Renewable)
	s.replace(held, next)
	return s.replaceShrunk(ctx, next)
}

// replaceShrunk replaces a token whose renewals grant ever shorter lifetimes.
func (s *session) replaceShrunk(ctx context.Context, g *grant) error {
	if g.lifetime == 0 || g.lifetime > g.first/shrunk {
		return nil
	}
	if s.cfg.Token == nil {
		_, err := s.login(ctx)
		return err
	}
	s.cfg.Log.Warn("token of the certificate provider nears its maximum lifetime: put a new one into its Secret before it expires", "ends", s.now().Add(g.lifetime))
	final := *g
	final.renewable = false
	s.replace(g, &final)
	return nil
}

// replace stores the successor of a grant, unless another token has taken its place.
func (s *session) replace(old, next *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && s.held.token == old.token {
		next.accepted = s.held.accepted
		s.held = next
	}
}

// seconds reads a number of seconds from the API.
func seconds(value any) time.Duration {
	number, ok := value.(json.Number)
	if !ok {
		return 0
	}
	n, err := number.Int64()
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
