package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/world"
)

// changeTimeout is how long a change may take before it counts as lost.
const changeTimeout = 2 * time.Minute

// random returns a separate random source for each use, so that one does not affect another.
func (r *rig) random(use uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.Seed, use)) //nolint:gosec // reproducible on purpose
}

// toggle inverts one endpoint's readiness and returns how long that took to reach each proxy, from
// before the write was sent.
func (r *rig) toggle(f *fleet.Fleet, s *world.Service, pod int) ([]time.Duration, error) {
	return r.toggleAmong(func(string) bool { return true }, f, s, pod)
}

// toggleAmong is toggle for an endpoint that only concerns some proxies, named by their nodes.
func (r *rig) toggleAmong(expected func(node string) bool, f *fleet.Fleet, s *world.Service, pod int) ([]time.Duration, error) {
	pods := s.Pods()
	addr := pods[pod].Addr.String()
	probe, err := f.ProbeAmong(expected, addr, !pods[pod].Ready, pods[(pod+1)%len(pods)].Addr.String())
	if err != nil {
		return nil, err
	}
	if _, err := r.world.Toggle(r.ctx, s, pod); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, changeTimeout)
	defer cancel()
	latencies, missing := probe.Result(ctx)
	if missing > 0 {
		r.log("%d proxies never learnt of a change: %s", missing, f.Stats().Troubles())
		return latencies, errors.Join(errLost, r.ctx.Err())
	}
	return latencies, nil
}

var errLost = errors.New("a change did not reach all proxies")

// unready: what does one endpoint change cost, and when does the last proxy know?
func unready(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	var bytes, messages, last []float64
	var server, client time.Duration
	for i := range r.scenario.events {
		s := r.world.Services[(7*i)%len(r.world.Services)]
		before, err := r.read(f)
		if err != nil {
			return err
		}
		latencies, err := r.toggle(f, s, 0)
		if err != nil {
			return err
		}
		if err := r.quiet(time.Second, f); err != nil {
			return err
		}
		cost, err := r.since(before, f)
		if err != nil {
			return err
		}
		m, b := cost.stats.Total()
		messages, bytes = append(messages, float64(m)), append(bytes, float64(b))
		last = append(last, report.Quantile(latencies, 1).Seconds())
		server += cost.server
		client += cost.client
	}
	n := float64(r.scenario.events)
	r.judge("bytes of one change, all proxies", report.Median(bytes)/mega, "MB", 1.5)
	r.add("messages of one change, all proxies", report.Median(messages), "")
	r.judge("server CPU of one change", server.Seconds()/n, "s", 0.15)
	r.add("client CPU of one change", client.Seconds()/n, "s")
	r.judge("last proxy has it after (median)", report.Median(last), "s", 0.3)
	return nil
}

// lone: how fast is a change to a quiet mesh?
func lone(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	latencies, err := r.loneChanges(f, r.scenario.events)
	if err != nil {
		return err
	}
	r.judge("p50", report.Milliseconds(report.Quantile(latencies, 0.5)), "ms", 25)
	r.judge("p99", report.Milliseconds(report.Quantile(latencies, 0.99)), "ms", 60)
	r.add("slowest", report.Milliseconds(report.Quantile(latencies, 1)), "ms")
	return nil
}

// loneChanges changes one endpoint of the first tenth of the services at a time, with quiet between.
func (r *rig) loneChanges(f *fleet.Fleet, events int) ([]time.Duration, error) {
	random := r.random(1)
	var all []time.Duration
	for i := range events {
		s := r.world.Services[i%loneServices(r)]
		latencies, err := r.toggle(f, s, random.IntN(len(s.Pods())))
		if err != nil {
			return nil, err
		}
		all = append(all, latencies...)
		if err := r.wait(time.Duration(300+random.IntN(300)) * time.Millisecond); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// loneServices is the number of services that lone changes use; churn does not change them.
func loneServices(r *rig) int { return max(1, len(r.world.Services)/10) }

// churn: how much slower is that when the rest of the mesh changes all the time?
func churn(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	quiet, err := r.loneChanges(f, r.scenario.events)
	if err != nil {
		return err
	}
	before, err := r.read(f)
	if err != nil {
		return err
	}
	const perSecond = 50
	var busy []time.Duration
	written, err := r.under(perSecond, func() error {
		if err := r.wait(2 * time.Second); err != nil {
			return err
		}
		busy, err = r.loneChanges(f, r.scenario.events)
		return err
	})
	if err != nil {
		return err
	}
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		was, is := report.Quantile(quiet, q.q), report.Quantile(busy, q.q)
		r.add(q.name+" without churn", report.Milliseconds(was), "ms")
		r.add(q.name+" under churn", report.Milliseconds(is), "ms")
		r.judge(q.name+" under churn / without", float64(is)/float64(was), "x", 1.25)
	}
	lasted := cost.at.Sub(before.at).Seconds()
	_, bytes := cost.stats.Total()
	r.add("other changes per second, reached", float64(written)/lasted, "")
	r.add("server CPU", cost.server.Seconds()/lasted, "CPUs")
	r.add("client CPU", cost.client.Seconds()/lasted, "CPUs")
	r.add("bytes per change", float64(bytes)/float64(written)/mega, "MB")
	return nil
}

// under runs work while endpoints of the services without lone changes change at a rate,
// and returns how many changes were made.
func (r *rig) under(perSecond int, work func() error) (written int, err error) {
	ctx, stop := context.WithCancel(r.ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	counted := make(chan int, 1)
	go func() { counted <- r.disturb(ctx, group, perSecond) }()
	err = work()
	stop()
	written = <-counted
	if failed := group.Wait(); failed != nil && r.ctx.Err() == nil && !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return written, err
}

// disturb writes at a rate until ctx ends. If the API server is too slow, the rate falls.
func (r *rig) disturb(ctx context.Context, group *errgroup.Group, perSecond int) int {
	random := r.random(2)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	others := r.world.Services[loneServices(r):]
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n
		}
		s := others[random.IntN(len(others))]
		pod := random.IntN(len(s.Pods()))
		group.Go(func() error {
			_, err := r.world.Toggle(ctx, s, pod)
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}
}

// steadyLoad changes endpoints at a rate, each of a service whose last change has arrived
// everywhere, and compares all times with the goal, which is in milliseconds.
func (r *rig) steadyLoad(f *fleet.Fleet, perSecond int, goal float64) error {
	before, err := r.read(f)
	if err != nil {
		return err
	}
	events := int(r.scenario.lasts.Seconds() * float64(perSecond))
	all, err := r.togglesAt(f, perSecond, events)
	if err != nil {
		return err
	}
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	lasted := cost.at.Sub(before.at).Seconds()
	_, bytes := cost.stats.Total()
	r.judge("p99", report.Milliseconds(report.Quantile(all, 0.99)), "ms", goal)
	r.add("p50", report.Milliseconds(report.Quantile(all, 0.5)), "ms")
	r.add("slowest", report.Milliseconds(report.Quantile(all, 1)), "ms")
	r.add("changes per second, reached", float64(events)/lasted, "")
	r.add("server CPU", cost.server.Seconds()/lasted, "CPUs")
	r.add("client CPU", cost.client.Seconds()/lasted, "CPUs")
	r.add("bytes per change", float64(bytes)/float64(events)/mega, "MB")
	return nil
}

// togglesAt makes changes at a rate, of one service after the other, and returns all their times.
func (r *rig) togglesAt(f *fleet.Fleet, perSecond, events int) ([]time.Duration, error) {
	group, ctx := errgroup.WithContext(r.ctx)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	times := make([][]time.Duration, events)
	turns := make([]sync.Mutex, len(r.world.Services))
	for i := range events {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(group.Wait(), r.ctx.Err())
		}
		at := i % len(r.world.Services)
		s := r.world.Services[at]
		pod := i / len(r.world.Services) % len(s.Pods())
		group.Go(func() (err error) {
			turns[at].Lock()
			defer turns[at].Unlock()
			times[i], err = r.toggle(f, s, pod)
			return err
		})
	}
	err := group.Wait()
	return slices.Concat(times...), err
}
