package catest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// ErrAway is the error of an unavailable authority.
var ErrAway = errors.New("authority is unavailable")

// Counting is an authority that counts requests, and can be slow or unavailable.
type Counting struct {
	ca.Authority
	Delay  time.Duration
	Away   atomic.Bool
	Issued atomic.Int32
	Asked  atomic.Int32
}

// Issue counts the request and passes it on.
func (c *Counting) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	c.Asked.Add(1)
	if c.Delay > 0 {
		time.Sleep(c.Delay)
	}
	if c.Away.Load() {
		return nil, ErrAway
	}
	c.Issued.Add(1)
	return c.Authority.Issue(ctx, req)
}
