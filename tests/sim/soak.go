package sim

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
)

// sample is the state of the replica at one time during the soak.
type sample struct {
	share           float64 // of the changes that are made
	rss, goroutines float64
}

// soak: does the replica hold more at the end than at the beginning? It is compared twice: at rest,
// when all proxies are connected and nothing is in progress, and under load. Nothing forces the replica to
// collect garbage, so single readings under load fluctuate: medians over a part of the run are compared.
func soak(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	l := &soakLoad{rig: r, fleet: f}
	// The first tenth warms up one-time allocations.
	begin, err := l.upTo(r.Changes/10, r.Reconnects/10)
	if err != nil {
		return err
	}
	end, err := l.upTo(r.Changes, r.Reconnects)
	if err != nil {
		return err
	}
	r.add("object changes", float64(l.made.Load()), "")
	r.add("object changes per second", float64(l.made.Load())/l.lasted.Seconds(), "")
	r.add("reconnects", float64(f.Stats().Streams), "")
	r.judgeDrift("RSS at rest", begin.rss/mebi, end.rss/mebi, "MiB")
	r.judgeDrift("goroutines at rest", begin.goroutines, end.goroutines, "")
	r.judgeDrift("RSS under load", l.median(0.1, 0.2, rss)/mebi, l.median(0.9, 2, rss)/mebi, "MiB")
	r.judgeDrift("goroutines under load", l.median(0.1, 0.2, goroutines), l.median(0.9, 2, goroutines), "")
	latencies, err := r.toggle(f, r.world.Services[0], 0)
	r.judge("proxies that miss a later change", float64(f.Size()-len(latencies)), "", 0)
	return err
}

func rss(s sample) float64        { return s.rss }
func goroutines(s sample) float64 { return s.goroutines }

// judgeDrift compares the end with the beginning.
func (r *rig) judgeDrift(metric string, begin, end float64, unit string) {
	r.add(metric+", at the beginning", begin, unit)
	r.add(metric+", at the end", end, unit)
	r.judge(metric+", drift", math.Abs(end/begin-1)*100, "%", 5)
}

// soakLoad is the soak's load so far.
type soakLoad struct {
	*rig
	fleet   *fleet.Fleet
	made    atomic.Int64 // changes
	cut     int          // connections
	lasted  time.Duration
	samples []sample // under load
}

// upTo continues until that many changes were made and connections cut in total, then waits until
// everything is at rest, and reads the replica.
func (l *soakLoad) upTo(changes, reconnects int) (atRest sample, err error) {
	ctx, stop := context.WithCancel(l.ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	const writers = 6
	for w := range writers {
		group.Go(func() error { return l.write(ctx, w, writers, int64(changes)) })
	}
	watching, enough := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		l.watch(watching, reconnects)
	}()
	err = group.Wait()
	enough()
	<-watched
	l.lasted += time.Since(began)
	if err != nil {
		return sample{}, err
	}
	if _, err := l.fleet.AwaitConfigured(l.ctx); err != nil {
		return sample{}, err
	}
	if err := errors.Join(l.quiet(2*time.Second, l.fleet), l.wait(l.Settle)); err != nil {
		return sample{}, err
	}
	return l.sampleNow(l.ctx)
}

// median returns the median of the samples under load in a part of the run. The last change may be a few more.
func (l *soakLoad) median(from, to float64, of func(sample) float64) float64 {
	var values []float64
	for _, s := range l.samples {
		if s.share >= from && s.share <= to {
			values = append(values, of(s))
		}
	}
	return report.Median(values)
}

// write makes one writer's share of the changes: mostly readiness, some without effect, and
// sometimes a replaced pod.
func (l *soakLoad) write(ctx context.Context, writer, writers int, changes int64) error {
	random := l.random(uint64(100 + writer))
	harmless := l.world.Unseen()[:3]
	for n := 0; l.made.Load() < changes; n++ {
		// Each writer has its own services.
		own := writer + writers*random.IntN(len(l.world.Services)/writers)
		s := l.world.Services[own]
		var err error
		switch dice := random.IntN(100); {
		case dice < 80:
			_, err = l.world.Toggle(ctx, s, 1+random.IntN(len(s.Pods())-1))
		case dice < 98:
			err = harmless[dice%len(harmless)].Apply(ctx, n)
		default:
			err = l.replaceLast(ctx, own)
			l.made.Add(3)
		}
		if err != nil {
			return err
		}
		l.made.Add(1)
	}
	return nil
}

// replaceLast replaces the last pod of a service; that one has no proxy in this scenario.
func (r *rig) replaceLast(ctx context.Context, service int) error {
	s := r.world.Services[service]
	pods := s.Pods()
	old := pods[len(pods)-1]
	pod, err := r.world.AddPod(ctx, s)
	if err != nil {
		return err
	}
	if err := r.world.AddEndpoint(ctx, s, pod); err != nil {
		return err
	}
	if err := r.world.RemoveEndpoint(ctx, s, old); err != nil {
		return err
	}
	return r.world.DeletePod(ctx, old)
}

// watch cuts connections in step with the changes and takes samples until ctx ends; then it cuts
// the remaining ones.
func (l *soakLoad) watch(ctx context.Context, reconnects int) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	every, next, logged := max(10, l.Changes/400), int(l.made.Load()), 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.cutUpTo(reconnects)
			return
		}
		done := int(l.made.Load())
		l.cutUpTo(min(reconnects, l.Reconnects*done/l.Changes))
		if done < next {
			continue
		}
		next = done + every
		if s, err := l.sampleNow(ctx); err == nil {
			s.share = float64(done) / float64(l.Changes)
			l.samples = append(l.samples, s)
		}
		if done*20/l.Changes > logged {
			logged = done * 20 / l.Changes
			l.log("%d changes made, %d connections cut", done, l.cut)
		}
	}
}

// cutUpTo cuts connections until that many were cut in total. Half of the proxies come back as new ones.
func (l *soakLoad) cutUpTo(n int) {
	for ; l.cut < n; l.cut++ {
		l.fleet.CutOne(l.cut, l.cut%2 == 0)
	}
}

func (r *rig) sampleNow(ctx context.Context) (sample, error) {
	u, err := r.server().Usage()
	if err != nil {
		return sample{}, err
	}
	m, err := r.server().Metrics(ctx)
	if err != nil {
		return sample{}, err
	}
	return sample{rss: float64(u.RSS), goroutines: m.Get("go_goroutines")}, nil
}
