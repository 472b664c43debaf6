package sim

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
)

// sample is the state of the replica at one moment of the soak.
type sample struct {
	share           float64 // of the changes that are made
	rss, goroutines float64
}

// soak: does the replica hold more at the end than at the beginning? Nothing makes it collect its
// garbage, so single readings jump; medians over a stretch of the run are compared.
func soak(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	var made atomic.Int64
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	const writers = 6
	for w := range writers {
		group.Go(func() error { return r.soakWrites(ctx, w, writers, &made) })
	}
	samples := make(chan []sample, 1)
	watching, enough := context.WithCancel(ctx)
	go func() { samples <- r.soakWatch(watching, f, &made) }()
	began := time.Now()
	err = group.Wait()
	enough()
	taken := <-samples
	if err != nil {
		return err
	}
	r.add("object changes", float64(made.Load()), "")
	r.add("object changes per second", float64(made.Load())/time.Since(began).Seconds(), "")
	r.add("reconnects", float64(f.Stats().Streams), "")
	// The first tenth warms up what is allocated once.
	r.judgeDrift("RSS", taken, "MiB", func(s sample) float64 { return s.rss / mebi })
	r.judgeDrift("goroutines", taken, "", func(s sample) float64 { return s.goroutines })
	if _, err := f.AwaitConfigured(r.ctx); err != nil {
		return err
	}
	latencies, err := r.toggle(f, r.world.Services[0], 0)
	r.judge("proxies that miss a later change", float64(f.Size()-len(latencies)), "", 0)
	return err
}

// judgeDrift compares the second tenth of the run with the last.
func (r *rig) judgeDrift(metric string, samples []sample, unit string, of func(sample) float64) {
	between := func(from, to float64) float64 {
		var values []float64
		for _, s := range samples {
			if s.share >= from && s.share < to {
				values = append(values, of(s))
			}
		}
		return report.Median(values)
	}
	begin, end := between(0.1, 0.2), between(0.9, 2)
	r.add(metric+" at the beginning", begin, unit)
	r.add(metric+" at the end", end, unit)
	r.judge(metric+" drift", math.Abs(end/begin-1)*100, "%", 5)
}

// soakWrites makes one writer's share of the changes: mostly readiness, some that nobody reads, and
// now and then a pod that is replaced.
func (r *rig) soakWrites(ctx context.Context, writer, writers int, made *atomic.Int64) error {
	random := r.random(uint64(100 + writer)) //nolint:gosec // small
	harmless := r.world.Unseen()[:3]
	for n := 0; made.Load() < int64(r.Changes); n++ {
		// Each writer has services of its own.
		own := writer + writers*random.IntN(len(r.world.Services)/writers)
		s := r.world.Services[own]
		var err error
		switch dice := random.IntN(100); {
		case dice < 80:
			_, err = r.world.Toggle(ctx, s, 1+random.IntN(len(s.Pods())-1))
		case dice < 98:
			err = harmless[dice%len(harmless)].Apply(ctx, n)
		default:
			err = r.replaceLast(ctx, own)
			made.Add(3)
		}
		if err != nil {
			return err
		}
		made.Add(1)
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

// soakWatch cuts connections in step with the changes and takes samples until ctx ends.
func (r *rig) soakWatch(ctx context.Context, f *fleet.Fleet, made *atomic.Int64) []sample {
	var samples []sample
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	cut, logged := 0, 0
	every := max(10, r.Changes/400)
	next := 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return samples
		}
		done := int(made.Load())
		for ; cut < r.Reconnects*done/r.Changes; cut++ {
			// Half of them come back as new ones.
			f.CutOne(cut, cut%2 == 0)
		}
		if done < next {
			continue
		}
		next = done + every
		if s, ok := r.sampleNow(ctx); ok {
			s.share = float64(done) / float64(r.Changes)
			samples = append(samples, s)
		}
		if done*20/r.Changes > logged {
			logged = done * 20 / r.Changes
			r.log("%d changes made, %d connections cut", done, cut)
		}
	}
}

func (r *rig) sampleNow(ctx context.Context) (sample, bool) {
	u, err := r.server().Usage()
	if err != nil {
		return sample{}, false
	}
	m, err := r.server().Metrics(ctx)
	if err != nil {
		return sample{}, false
	}
	return sample{rss: float64(u.RSS), goroutines: m.Get("go_goroutines")}, true
}
