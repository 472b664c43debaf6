package vault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Pauses between attempts while requests fail.
const (
	pauseFirst = time.Second
	pauseLast  = time.Minute
	// refusedLast is the longest pause between requests that the server is known to refuse.
	refusedLast = 10 * time.Second
	// refusedAtOnce is how many new requests per minute may turn out to be refused. It is more than
	// maxInFlight, so that no request waits while none is refused.
	refusedAtOnce = 20
	// maxRefused bounds the memory of refused requests.
	maxRefused = 10_000
)

// outcome is the result of a request.
type outcome int

const (
	succeeded outcome = iota
	failed            // the server, the network or the token is at fault
	refused           // the server does not grant this request
	abandoned         // the caller gave up
)

// gate lets requests through, at most maxInFlight at once, so that a thousand waiting proxies cost a failing
// server no more load than one. After a failure it lets one request through from time to time, as an attempt, and
// fails the others at once. Refused requests are retried in the same way, while others pass: a role may grant
// some names and not others.
type gate struct {
	now   func() time.Time // keeps the monotonic reading, since it measures pauses
	slots chan struct{}

	mu       sync.Mutex
	trying   bool
	retryAt  time.Time
	failures int           // in a row
	failure  error         // the last one
	refusals int           // in a row, of attempts
	refusal  error         // the last one
	known    map[any]error // refused requests by their key
	fresh    *rate.Limiter // of requests newly known as refused
}

func newGate(now func() time.Time) *gate {
	return &gate{
		now: now, slots: make(chan struct{}, maxInFlight),
		known: map[any]error{}, fresh: rate.NewLimiter(rate.Every(time.Minute/refusedAtOnce), refusedAtOnce),
	}
}

// pass calls f if the gate is open for its key, and remembers the outcome.
func (g *gate) pass(ctx context.Context, key any, f func() (outcome, error)) error {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-g.slots }()
	try, err := g.enter(key)
	if err != nil {
		return err
	}
	how, err := f()
	g.leave(key, try, how, err)
	return err
}

// enter reports whether this request is an attempt, or returns an error if it may not pass.
func (g *gate) enter(key any) (try bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	trouble := g.trouble(key)
	if trouble == nil {
		return false, nil
	}
	if wait := g.retryAt.Sub(g.now()); g.trying || wait > 0 {
		return false, fmt.Errorf("next attempt in %v, the last one failed: %w", max(wait, 0).Round(time.Second), trouble)
	}
	g.trying = true
	return true, nil
}

// trouble returns the error that makes this request an attempt, nil if it may just pass.
func (g *gate) trouble(key any) error {
	switch {
	case g.failures > 0:
		return g.failure
	case g.known[key] != nil:
		return g.known[key]
	case g.fresh.TokensAt(g.now()) < float64(len(g.slots)): // all requests in flight may be refused
		return g.refusal
	}
	return nil
}

func (g *gate) leave(key any, try bool, how outcome, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if try {
		g.trying = false
	}
	switch how {
	case succeeded:
		g.failures = 0
		if g.known[key] != nil { // a refused request is granted now, so others may be as well
			clear(g.known)
			g.refusals = 0
		}
	case failed:
		g.failed(try, err)
	case refused:
		g.refused(key, try, err)
	case abandoned:
	}
}

func (g *gate) failed(try bool, err error) {
	if g.failures > 0 && !try {
		return // one of several that were in flight when the first failed
	}
	g.failures++
	g.failure = err
	g.retryAt = g.now().Add(pause(g.failures, pauseLast))
}

func (g *gate) refused(key any, try bool, err error) {
	g.failures = 0 // the server responds
	if g.known[key] == nil {
		g.fresh.AllowN(g.now(), 1)
	}
	if len(g.known) >= maxRefused {
		clear(g.known)
	}
	g.known[key], g.refusal = err, err
	if try {
		g.refusals++
		g.retryAt = g.now().Add(pause(g.refusals, refusedLast))
	}
}

// pause returns the backoff after a number of failures in a row: it doubles from pauseFirst to longest, with
// jitter of up to half, so that replicas do not retry in step.
func pause(failures int, longest time.Duration) time.Duration {
	d := min(pauseFirst<<min(max(failures-1, 0), 10), longest)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}
