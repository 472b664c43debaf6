package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Limits bound what a peer can make a workload's proxy keep: connections that never finish their
// handshake, requests that never end, streams without number. A zero field means its default.
type Limits struct {
	// Handshake is the time from the connection's beginning to the end of the TLS handshake; 10 s.
	Handshake time.Duration
	// RequestHeaders is the time from a request's first byte to the end of its headers; 10 s.
	RequestHeaders time.Duration
	// StreamIdle is how long a request or response may rest in the middle; 1 h.
	StreamIdle time.Duration
	// Streams are the requests at a time on one HTTP/2 connection; 1024. Clients open another connection
	// for more.
	Streams uint32
}

// The least of each limit: less would refuse honest peers on a busy node.
const (
	leastTimeout    = time.Second
	leastStreamIdle = time.Minute
	leastStreams    = 16
	mostStreams     = 1<<31 - 1
)

// WithDefaults returns the limits that are in force.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Handshake:      cmp.Or(l.Handshake, 10*time.Second),
		RequestHeaders: cmp.Or(l.RequestHeaders, 10*time.Second),
		StreamIdle:     cmp.Or(l.StreamIdle, time.Hour),
		Streams:        cmp.Or(l.Streams, 1024),
	}
}

// Validate reports everything that is wrong with l, joined, in the terms of the command's flags.
func (l Limits) Validate() error {
	l = l.WithDefaults()
	var errs []error
	atLeast := func(flag string, value, least time.Duration) {
		if value < least {
			errs = append(errs, fmt.Errorf("--%s %s: want %s or more", flag, value, least))
		}
	}
	atLeast("sidecar-handshake-timeout", l.Handshake, leastTimeout)
	atLeast("sidecar-request-headers-timeout", l.RequestHeaders, leastTimeout)
	atLeast("sidecar-stream-idle-timeout", l.StreamIdle, leastStreamIdle)
	if l.Streams < leastStreams || l.Streams > mostStreams {
		errs = append(errs, fmt.Errorf("--sidecar-max-streams %d: want %d to %d", l.Streams, leastStreams, mostStreams))
	}
	return errors.Join(errs...)
}
