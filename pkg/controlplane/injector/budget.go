package injector

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// halves of the memory: one for the network, one for work. A review that holds a part of the network's half
	// may wait for the work's half. No review waits the other way round, so reviews cannot deadlock.
	halves = 2
	// sourceParts bounds what one source may hold of the network's half: a quarter.
	sourceParts = 4
)

var (
	errTooMuch = errors.New("more than the injector may spend on one review")
	errBusy    = errors.New("the injector is busy with other reviews: try again")
)

// budget is an amount of memory that reviews share. No source gets more than its share, so that a client
// that sends slow or large reviews delays only itself.
type budget struct {
	total, share int64
	gauge        prometheus.Gauge // nil is none

	mu      sync.Mutex
	used    int64
	sources map[netip.Addr]int64
	freed   chan struct{} // closed when something is given back
}

func newBudget(total, share int64, gauge prometheus.Gauge) *budget {
	return &budget{total: total, share: share, gauge: gauge, sources: map[netip.Addr]int64{}, freed: make(chan struct{})}
}

// take waits until n is free for the source, or until ctx ends. giveBack returns n.
func (b *budget) take(ctx context.Context, source netip.Addr, n int64) (giveBack func(), err error) {
	if n > b.share {
		return nil, errTooMuch
	}
	for {
		freed, ok := b.tryTake(source, n)
		if ok {
			return sync.OnceFunc(func() { b.give(source, n) }), nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, errBusy
		}
	}
}

func (b *budget) tryTake(source netip.Addr, n int64) (freed <-chan struct{}, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.total || b.sources[source]+n > b.share {
		return b.freed, false
	}
	b.used += n
	b.sources[source] += n
	b.show()
	return nil, true
}

func (b *budget) give(source netip.Addr, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.sources[source] -= n; b.sources[source] <= 0 {
		delete(b.sources, source)
	}
	b.show()
	close(b.freed)
	b.freed = make(chan struct{})
}

func (b *budget) show() {
	if b.gauge != nil {
		b.gauge.Set(float64(b.used))
	}
}
