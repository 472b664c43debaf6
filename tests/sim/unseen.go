package sim

import (
	"context"
	"strings"
	"time"

	"github.com/osm-edge/osm/tests/sim/report"
)

// unseen: what is sent for changes that do not affect any proxy?
func unseen(r *rig) error {
	if err := r.world.CreateOutside(r.ctx); err != nil {
		return err
	}
	f, err := r.connected()
	if err != nil {
		return err
	}
	// The informers must see the namespace outside before it changes.
	if err := r.still(time.Second); err != nil {
		return err
	}
	for _, change := range r.world.Unseen() {
		before, err := r.read(f)
		if err != nil {
			return err
		}
		for i := range r.scenario.events {
			if err := change.Apply(r.ctx, i); err != nil {
				return err
			}
		}
		// A control plane may send late what it should not send.
		if err := r.wait(2 * time.Second); err != nil {
			return err
		}
		cost, err := r.since(before, f)
		if err != nil {
			return err
		}
		messages, bytes := cost.stats.Total()
		r.judge(change.Name+": messages", float64(messages), "", 0)
		r.judge(change.Name+": bytes", float64(bytes), "B", 0)
		r.add(change.Name+": server CPU of one", report.Milliseconds(cost.server)/float64(r.scenario.events), "ms")
	}
	// Receiving nothing proves something only if visible changes do arrive.
	latencies, err := r.toggle(f, r.world.Services[0], 0)
	r.judge("proxies that miss a change that they can see", float64(f.Size()-len(latencies)), "", 0)
	if err != nil {
		return err
	}
	return r.unasked()
}

// unasked changes endpoints that one proxy of a second fleet is not subscribed to.
func (r *rig) unasked() error {
	f := r.usualFleet()
	proxies, err := r.firstProxies()
	if err != nil {
		return err
	}
	last := r.world.Services[len(r.world.Services)-1]
	for i := range proxies[:10] {
		proxies[i].Only = func(name string) bool { return !strings.Contains(name, last.Name) }
	}
	// The pods of these proxies already have a stream: an Envoy that restarts briefly has two.
	f.Add(proxies[:10]...)
	if _, err := f.AwaitConfigured(r.ctx); err != nil {
		return err
	}
	if err := r.quiet(time.Second, f); err != nil {
		return err
	}
	before := f.Stats()
	ctx, cancel := context.WithTimeout(r.ctx, changeTimeout)
	defer cancel()
	for range 2 {
		if _, err := r.world.Toggle(ctx, last, 0); err != nil {
			return err
		}
		if err := r.wait(time.Second); err != nil {
			return err
		}
	}
	messages, bytes := f.Stats().Sub(before).Total()
	r.judge("endpoints that were not asked for: messages", float64(messages), "", 0)
	r.judge("endpoints that were not asked for: bytes", float64(bytes), "B", 0)
	return nil
}
