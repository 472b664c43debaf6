package fleet

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Probe measures how long one change takes to reach each proxy. The change is that an address begins or
// ceases to be among the endpoints of a service; whatever else is in the same response, a proxy has
// the change when that holds for what it received.
type Probe struct {
	fleet   *Fleet
	name    *name
	address string
	present bool
	began   time.Time
	arrived []atomic.Int64 // by proxy: nanoseconds until then; 0 not yet, -1 not expected
	open    atomic.Int64   // expected and not arrived
	done    chan struct{}
}

// Probe starts to wait for an address to be present, or not, in the endpoint resource that also
// holds, or held, the address beside. The time starts now, so make the change after the call.
func (f *Fleet) Probe(address string, present bool, beside string) (*Probe, error) {
	return f.ProbeAmong(func(string) bool { return true }, address, present, beside)
}

// ProbeAmong is Probe for a change that only concerns some proxies, named by their nodes.
func (f *Fleet) ProbeAmong(expected func(node string) bool, address string, present bool, beside string) (*Probe, error) {
	n := f.cfg.Catalog.endpointsOf(beside)
	if n == nil {
		return nil, fmt.Errorf("no proxy ever received the endpoint %s", beside)
	}
	f.mu.Lock()
	p := &Probe{fleet: f, name: n, address: address, present: present, arrived: make([]atomic.Int64, len(f.envoys)), done: make(chan struct{})}
	for i, e := range f.envoys {
		if e == nil || !expected(e.proxy.Node) || e.configuredAt.Load() == 0 || e.proxy.Only != nil && !e.proxy.Only(n.text) {
			p.arrived[i].Store(-1)
		} else {
			p.open.Add(1)
		}
	}
	f.mu.Unlock()
	if p.open.Load() == 0 {
		return nil, fmt.Errorf("no proxy asks for %s", n.text)
	}
	p.began = time.Now()
	if !n.probe.CompareAndSwap(nil, p) {
		return nil, fmt.Errorf("there is already a probe of %s", n.text)
	}
	return p, nil
}

func (p *Probe) arrive(proxy int) {
	if proxy < len(p.arrived) && p.arrived[proxy].CompareAndSwap(0, int64(time.Since(p.began))) && p.open.Add(-1) == 0 {
		close(p.done)
	}
}

// Result ends the probe when all proxies have the change or ctx ends, and returns the times of those
// that have it and how many do not.
func (p *Probe) Result(ctx context.Context) (latencies []time.Duration, missing int) {
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	p.name.probe.CompareAndSwap(p, nil)
	for i := range p.arrived {
		switch at := p.arrived[i].Load(); {
		case at > 0:
			latencies = append(latencies, time.Duration(at))
		case at == 0:
			missing++
		}
	}
	return latencies, missing
}
