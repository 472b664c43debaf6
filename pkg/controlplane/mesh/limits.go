package mesh

import (
	"cmp"
	"time"
)

// Limits bound what a peer can make a workload's proxy keep: connections that never finish their
// handshake, requests that never end, any number of streams. A zero field means its default.
type Limits struct {
	// Handshake is the time from the connection's beginning to the end of the TLS handshake; 10 s.
	Handshake time.Duration
	// RequestHeaders is the time from a request's first byte to the end of its headers; 10 s.
	RequestHeaders time.Duration
	// StreamIdle is how long a request or response may go without a byte; 1 h.
	StreamIdle time.Duration
	// Streams is the number of concurrent requests on one HTTP/2 connection; 1024. Clients open another
	// connection for more.
	Streams uint32
}

// WithDefaults returns the limits that are in force.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Handshake:      cmp.Or(l.Handshake, 10*time.Second),
		RequestHeaders: cmp.Or(l.RequestHeaders, 10*time.Second),
		StreamIdle:     cmp.Or(l.StreamIdle, time.Hour),
		Streams:        cmp.Or(l.Streams, 1024),
	}
}
