package catest

import (
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Domain is the trust domain of the authorities.
const Domain identity.TrustDomain = api.DefaultDomain

// Today is the time of the tests that do not run in a synctest bubble.
func Today() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC) }

// At returns a stopped clock.
func At(t time.Time) func() time.Time { return func() time.Time { return t } }

// Workload is an identity in namespace bookstore.
func Workload(name string) identity.Identity {
	return identity.Identity{Namespace: "bookstore", ServiceAccount: name}
}

// Clock is a wall clock that a test advances.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration
}

// Now is the time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

// Jump advances the clock.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}
