package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Stats counts what a fleet has received since its start, by kind, and the cost.
type Stats struct {
	Messages, Bytes, Resources, Removed [NumKinds]int64
	// Connections and Streams that were opened.
	Connections, Streams int64
	// Refused streams ended before the first response, by gRPC code; Lost connections by error.
	Refused, Lost map[string]int64
}

// Sub returns the difference from an earlier reading.
func (s Stats) Sub(earlier Stats) Stats {
	for k := range NumKinds {
		s.Messages[k] -= earlier.Messages[k]
		s.Bytes[k] -= earlier.Bytes[k]
		s.Resources[k] -= earlier.Resources[k]
		s.Removed[k] -= earlier.Removed[k]
	}
	s.Connections -= earlier.Connections
	s.Streams -= earlier.Streams
	s.Refused, s.Lost = less(s.Refused, earlier.Refused), less(s.Lost, earlier.Lost)
	return s
}

func less(now, earlier map[string]int64) map[string]int64 {
	left := map[string]int64{}
	for key, n := range now {
		if n -= earlier[key]; n != 0 {
			left[key] = n
		}
	}
	return left
}

// Total sums over kinds; with none given, over all.
func (s Stats) Total(kinds ...Kind) (messages, bytes int64) {
	if len(kinds) == 0 {
		kinds = slices.Collect(allKinds)
	}
	for _, k := range kinds {
		messages += s.Messages[k]
		bytes += s.Bytes[k]
	}
	return messages, bytes
}

func allKinds(yield func(Kind) bool) {
	for k := range NumKinds {
		if !yield(k) {
			return
		}
	}
}

// Refusals is the number of refused streams.
func (s Stats) Refusals() int64 {
	var n int64
	for _, refused := range s.Refused {
		n += refused
	}
	return n
}

// Troubles describes refusals and losses.
func (s Stats) Troubles() string {
	var parts []string
	for _, what := range []struct {
		name   string
		counts map[string]int64
	}{{"refused", s.Refused}, {"lost", s.Lost}} {
		for _, key := range slices.Sorted(maps.Keys(what.counts)) {
			parts = append(parts, fmt.Sprintf("%s %d (%s)", what.name, what.counts[key], key))
		}
	}
	if len(parts) == 0 {
		return "none refused or lost"
	}
	return strings.Join(parts, ", ")
}

// counters are Stats that are being counted.
type counters struct {
	messages, bytes, resources, removed [NumKinds]atomic.Int64
	connections, streams                atomic.Int64

	mu            sync.Mutex
	refused, gone map[string]int64
}

func (c *counters) take(r received, bytes int) {
	c.messages[r.kind].Add(1)
	c.bytes[r.kind].Add(int64(bytes))
	c.resources[r.kind].Add(int64(r.resources))
	c.removed[r.kind].Add(int64(r.removed))
}

func (c *counters) refuse(code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[string]int64{}
	}
	c.refused[code]++
}

// lost counts a connection that ended or could not be opened, by the innermost cause.
func (c *counters) lost(err error) {
	if err == nil {
		return
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone == nil {
		c.gone = map[string]int64{}
	}
	c.gone[err.Error()]++
}

// Stats returns what the fleet has received.
func (f *Fleet) Stats() Stats {
	c := &f.count
	var s Stats
	for k := range NumKinds {
		s.Messages[k], s.Bytes[k] = c.messages[k].Load(), c.bytes[k].Load()
		s.Resources[k], s.Removed[k] = c.resources[k].Load(), c.removed[k].Load()
	}
	s.Connections, s.Streams = c.connections.Load(), c.streams.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Refused, s.Lost = maps.Clone(c.refused), maps.Clone(c.gone)
	return s
}
