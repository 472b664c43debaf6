package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/world"
)

// podChurn: what does a rolling restart cost? Each step replaces one pod: the new one comes with its
// proxy and becomes an endpoint; the old one stops being one and disappears with its proxy.
func podChurn(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	before, err := r.read(f)
	if err != nil {
		return err
	}
	const perSecond = 10
	replaced, err := r.replacePods(f, perSecond)
	if err != nil {
		return err
	}
	if err := r.quiet(time.Second, f); err != nil {
		return err
	}
	if _, err := f.AwaitConfigured(r.ctx); err != nil {
		return err
	}
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	lasted, n := cost.at.Sub(before.at).Seconds(), float64(replaced)
	r.add("pods replaced per second, reached", n/lasted, "")
	r.add("server CPU per replaced pod", report.Milliseconds(cost.server)/n, "ms")
	r.add("client CPU per replaced pod", report.Milliseconds(cost.client)/n, "ms")
	r.add("server CPU", cost.server.Seconds()/lasted, "CPUs")
	for k := range fleet.NumKinds {
		r.add("bytes of "+k.String()+" per replaced pod, all proxies", float64(cost.stats.Bytes[k])/n/mega, "MB")
	}
	messages, _ := cost.stats.Total()
	r.add("messages per replaced pod, all proxies", float64(messages)/n, "")
	r.add("streams refused meanwhile", float64(cost.stats.Refusals()), "")
	r.log("%s", cost.stats.Troubles())
	return nil
}

// replacePods replaces the pods of one service after another at a rate.
func (r *rig) replacePods(f *fleet.Fleet, perSecond int) (int, error) {
	group, ctx := errgroup.WithContext(r.ctx)
	group.SetLimit(2 * perSecond)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	total := int(r.scenario.lasts.Seconds() * float64(perSecond))
	locks := make([]sync.Mutex, len(r.world.Services)) // one pod of a service at a time
	for i := range total {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, errors.Join(group.Wait(), ctx.Err())
		}
		group.Go(func() error {
			at := i % len(r.world.Services)
			locks[at].Lock()
			defer locks[at].Unlock()
			return r.replacePod(ctx, f, r.world.Services[at])
		})
	}
	return total, group.Wait()
}

func (r *rig) replacePod(ctx context.Context, f *fleet.Fleet, s *world.Service) error {
	old := s.Pods()[0]
	pod, err := r.world.AddPod(ctx, s)
	if err != nil {
		return err
	}
	proxies, err := r.proxies(pod)
	if err != nil {
		return err
	}
	f.Add(proxies...)
	if err := r.world.AddEndpoint(ctx, s, pod); err != nil {
		return err
	}
	if err := r.world.RemoveEndpoint(ctx, s, old); err != nil {
		return err
	}
	// A pod without a connected proxy may be replaced, too.
	_ = f.Remove(old.String())
	return r.world.DeletePod(ctx, old)
}
