package xds

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc/keepalive"
)

// Limits bound what one pod, one identity and one address may take from a Server that many share.
// A zero field means its default.
type Limits struct {
	// PendingConnections and PendingPerAddress bound the connections that carry no accepted stream:
	// in the handshake, before the first request, waiting to be configured, or idle.
	PendingConnections, PendingPerAddress int
	// ConnectionsPerAddress is how many connections an address may open a second, ten times that at once.
	ConnectionsPerAddress int
	// HandshakeSeconds bound TLS and the HTTP/2 preface; PendingSeconds all that comes before an accepted
	// stream.
	HandshakeSeconds, PendingSeconds int
	// StreamsPerPod is how many streams a pod may have; one more ends the oldest.
	StreamsPerPod int
	// StreamsPerMinute is how many streams a pod may open a minute.
	StreamsPerMinute int
	// RequestBytes is the size of the largest request.
	RequestBytes int
	// RequestsPerSecond is how many requests a pod may send that answer nothing, 25 times that at once.
	RequestsPerSecond int
	// Names and NameBytes bound what one stream may make the server remember: how many names, and the
	// memory that they take.
	Names, NameBytes int
	// LogLines is how many lines a minute are logged about one offender.
	LogLines int
	// StreamMinutes is the longest time that a stream lasts; each ends at a random time in the last tenth of it.
	StreamMinutes int
	// FirstSyncsPerCPU is how many proxies without a configuration are served at the same time, for each CPU.
	FirstSyncsPerCPU int
	// KeepaliveSeconds is how long a connection may be silent before the server pings its proxy, and
	// KeepaliveTimeoutSeconds how long the proxy may leave a ping, or any data, unanswered.
	KeepaliveSeconds, KeepaliveTimeoutSeconds int
}

// limit describes one limit: its flag after "limit-" (the chart's value is the same name in camel case), its
// default and its range.
type limit struct {
	of                 func(*Limits) *int
	name               string
	usual, least, most int
	usage              string
}

func limits() []limit {
	return []limit{
		{func(l *Limits) *int { return &l.PendingConnections }, "pending-connections", 4096, 16, 100_000, "connections of proxies without an accepted stream, of all addresses"},
		{func(l *Limits) *int { return &l.PendingPerAddress }, "pending-connections-per-address", 50, 1, 100_000, "the same of one address"},
		{func(l *Limits) *int { return &l.ConnectionsPerAddress }, "connections-per-address-per-second", 20, 1, 100_000, "connections that an address may open a second, ten times that at once"},
		{func(l *Limits) *int { return &l.HandshakeSeconds }, "handshake-seconds", 10, 1, 120, "time for a proxy's TLS handshake, in seconds"},
		{func(l *Limits) *int { return &l.PendingSeconds }, "pending-seconds", 60, 10, 600, "time that a connection may be without an accepted stream, in seconds"},
		{func(l *Limits) *int { return &l.StreamsPerPod }, "streams-per-pod", 2, 1, 16, "streams of one pod; one more ends the oldest"},
		{func(l *Limits) *int { return &l.StreamsPerMinute }, "streams-per-pod-per-minute", 60, 2, 6000, "streams that a pod may open a minute"},
		{func(l *Limits) *int { return &l.RequestBytes }, "request-bytes", 1 << 20, 64 << 10, 16 << 20, "size of a proxy's request"},
		{func(l *Limits) *int { return &l.RequestsPerSecond }, "requests-per-pod-per-second", 20, 1, 10_000, "requests of a pod that answer nothing, 25 times that at once; what is more waits"},
		{func(l *Limits) *int { return &l.Names }, "names", 50_000, 1000, 1_000_000, "names that a stream may subscribe to"},
		{func(l *Limits) *int { return &l.NameBytes }, "name-bytes", 8 << 20, 256 << 10, 64 << 20, "memory for the names that a stream subscribes to"},
		{func(l *Limits) *int { return &l.LogLines }, "log-lines-per-minute", 10, 1, 10_000, "lines logged about one proxy or address; the others are counted"},
		{func(l *Limits) *int { return &l.StreamMinutes }, "stream-minutes", 24 * 60, 10, 30 * 24 * 60, "life of a stream, in minutes; its proxy connects again"},
		{func(l *Limits) *int { return &l.FirstSyncsPerCPU }, "first-syncs-per-cpu", 32, 1, 1000, "proxies that are configured for the first time at once, for each CPU; the others wait"},
		{func(l *Limits) *int { return &l.KeepaliveSeconds }, "keepalive-seconds", 30, 5, 300, "silence of a proxy's connection before the server pings it, in seconds"},
		{func(l *Limits) *int { return &l.KeepaliveTimeoutSeconds }, "keepalive-timeout-seconds", 10, 1, 60, "time for a proxy to answer a ping, or to acknowledge data, in seconds"},
	}
}

// Bind adds a flag for each limit, with its default and its range.
func (l *Limits) Bind(set *pflag.FlagSet) {
	for _, one := range limits() {
		set.IntVar(one.of(l), "limit-"+one.name, one.usual, fmt.Sprintf("%s (%d to %d)", one.usage, one.least, one.most))
	}
}

// Validate returns an error about the first limit that is out of its range. Zero stands for the default.
func (l Limits) Validate() error {
	for _, one := range limits() {
		if value := *one.of(&l); value != 0 && (value < one.least || value > one.most) {
			return fmt.Errorf("--limit-%s %d: want an integer from %d to %d", one.name, value, one.least, one.most)
		}
	}
	return nil
}

// fits returns an error if a session makes the server remember too much.
func (l Limits) fits(p protocol) error {
	if names, bytes := p.remembers(); names > l.Names || bytes > l.NameBytes {
		return fmt.Errorf("subscribed to %d names that take %d bytes, the limits are %d and %d", names, bytes, l.Names, l.NameBytes)
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	for _, one := range limits() {
		value := one.of(&l)
		*value = cmp.Or(*value, one.usual)
	}
	return l
}

func (l Limits) handshake() time.Duration { return time.Duration(l.HandshakeSeconds) * time.Second }
func (l Limits) pending() time.Duration   { return time.Duration(l.PendingSeconds) * time.Second }
func (l Limits) age() time.Duration       { return time.Duration(l.StreamMinutes) * time.Minute }

// keepalive returns the times after which a silent proxy is pinged, and after which one that does not answer is
// disconnected.
func (l Limits) keepalive() keepalive.ServerParameters {
	return keepalive.ServerParameters{Time: time.Duration(l.KeepaliveSeconds) * time.Second, Timeout: time.Duration(l.KeepaliveTimeoutSeconds) * time.Second}
}
