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
	// refusedLast is the longest pause between requests of which it is known that the server
	// answers and does not grant them.
	refusedLast = 10 * time.Second
	// refusedAtOnce is how many requests in a minute may find out that they are refused. It is more
	// than maxInFlight, so that none has to wait while none is refused.
	refusedAtOnce = 20
	// maxRefused bounds the memory of refused requests.
	maxRefused = 10_000
)

// outcome is how a request ended.
type outcome int

const (
	succeeded outcome = iota
	failed            // the server, the network or the token is at fault
	refused           // the server does not grant this request
	abandoned         // the caller gave up
)

// gate lets requests through, at most maxInFlight at once, so that a thousand waiting proxies ask
// a server that is in trouble no more often than one. After a failure it lets one through from
// time to time, to try, and answers the others with the failure. Requests that were refused try in
// the same way, while the others pass: a role may grant some names and not others.
type gate struct {
	now   func() time.Time // must not be rounded: pauses are measured, not read off the wall
	slots chan struct{}

	mu       sync.Mutex
	trying   bool
	retryAt  time.Time
	failures int           // in a row
	failure  error         // the last one
	refusals int           // in a row, of requests that tried
	refusal  error         // the last one
	known    map[any]error // refused requests by their key
	fresh    *rate.Limiter // of refused requests that were not known
}

func newGate(now func() time.Time) *gate {
	return &gate{
		now: now, slots: make(chan struct{}, maxInFlight),
		known: map[any]error{}, fresh: rate.NewLimiter(rate.Every(time.Minute/refusedAtOnce), refusedAtOnce),
	}
}

// pass calls f if the gate is open for its key, and remembers how it ended.
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

// enter says whether this request is one that tries, or the error why it may not pass.
func (g *gate) enter(key any) (try bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	trouble := g.trouble(key)
	if trouble == nil {
		return false, nil
	}
	if wait := g.retryAt.Sub(g.now()); g.trying || wait > 0 {
		return false, fmt.Errorf("not asked again before the next attempt in %v, the last one failed: %w", max(wait, 0).Round(time.Second), trouble)
	}
	g.trying = true
	return true, nil
}

// trouble is why a request has to try.
func (g *gate) trouble(key any) error {
	switch {
	case g.failures > 0:
		return g.failure
	case g.known[key] != nil:
		return g.known[key]
	case g.fresh.TokensAt(g.now()) < float64(len(g.slots)): // all that are under way may be refused
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
		if g.known[key] != nil { // what was refused is granted: so may the others be
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
		return // one of several that were under way when the first failed
	}
	g.failures++
	g.failure = err
	g.retryAt = g.now().Add(pause(g.failures, pauseLast))
}

func (g *gate) refused(key any, try bool, err error) {
	g.failures = 0 // the server answers
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

// pause is the time to wait after a number of failures in a row: it doubles from pauseFirst to
// longest, less up to half of it, so that replicas do not ask in step.
func pause(failures int, longest time.Duration) time.Duration {
	d := min(pauseFirst<<min(max(failures-1, 0), 10), longest)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}
