//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/tests/e2e/chaos"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

const (
	// chaosInterval of each call of a client, in a suite that must leave the machine time for the mesh.
	chaosInterval = 100 * time.Millisecond
	// sampling is how often clients are asked, so that little is unknown of one that dies.
	sampling = time.Second
	// askTime limits one question to a client, which may be cut off.
	askTime = 2 * time.Second
)

// loadState is a client and what it has counted.
type loadState struct {
	pod, node string
	client    agent.Client
	last      agent.Tally
	known     int // of last's failures
}

// startLoads makes every client send, unless it does; the one that it has goes on, with its connections.
func (c *chaosMesh) startLoads(t *testing.T, pods []*corev1.Pod) {
	t.Helper()
	now := map[string]*loadState{}
	for _, pod := range pods {
		state := c.loads[pod.Name]
		if state == nil {
			state = &loadState{pod: pod.Name, node: pod.Spec.NodeName}
		}
		state.client = agentOf(pod)
		now[pod.Name] = state
		eventually(t, time.Minute, func(ctx context.Context) string {
			tally, err := state.client.TallySince(ctx, 0)
			if err == nil && tally.Started.IsZero() {
				err = state.client.StartLoad(ctx, agent.Load{Calls: c.calls(), Interval: chaosInterval})
			}
			if err != nil {
				return err.Error()
			}
			return ""
		})
	}
	c.loads = now
	warm := c.count(t)
	warm.settle(t, "")
	warm.stop()
}

// counts adds up what clients count during a fault.
type counts struct {
	loads    map[string]*loadState
	total    map[string]agent.Tally // by node
	failures map[string][]agent.Failure
	cancel   context.CancelFunc
	done     chan struct{}
}

// count starts to count.
func (c *chaosMesh) count(t *testing.T) *counts {
	t.Helper()
	all := &counts{loads: c.loads, total: map[string]agent.Tally{}, failures: map[string][]agent.Failure{}, done: make(chan struct{})}
	for _, state := range c.loads {
		state.last = must(state.client.TallySince(t.Context(), state.last.Failed))(t)
		state.known = state.last.Failed
	}
	ctx, cancel := context.WithCancel(t.Context())
	all.cancel = cancel
	go func() {
		defer close(all.done)
		tick := time.NewTicker(sampling)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for _, state := range all.loads {
					_ = all.sample(ctx, state) // one that is cut off is asked later
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return all
}

func (a *counts) stop() {
	a.cancel()
	<-a.done
}

// sample adds what a client has counted since the last time. A client that was restarted counts from 0.
func (a *counts) sample(ctx context.Context, state *loadState) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	now, err := state.client.TallySince(ctx, state.known)
	if err != nil {
		return err
	}
	if !now.Started.Equal(state.last.Started) {
		state.last, state.known = agent.Tally{}, 0
	}
	sum := a.total[state.node]
	sum.Succeeded += now.Succeeded - state.last.Succeeded
	sum.Failed += now.Failed - state.last.Failed
	sum.Stalled += now.Stalled - state.last.Stalled
	sum.Leaving += now.Leaving - state.last.Leaving
	sum.Slowest = max(sum.Slowest, now.Slowest)
	a.total[state.node] = sum
	a.failures[state.node] = append(a.failures[state.node], now.Failures...)
	state.known += len(now.Failures)
	state.last = now
	return nil
}

// settle ends the sampling when every call that runs now has ended, and each client has made a few more. Clients of a
// stopped node are other pods now.
func (a *counts) settle(t *testing.T, stopped string) {
	t.Helper()
	a.stop()
	begin := time.Now()
	for _, state := range a.loads {
		if state.node == stopped {
			continue
		}
		enough := state.last.Succeeded + state.last.Failed + 100
		eventually(t, loadTime, func(ctx context.Context) string {
			if err := a.sample(ctx, state); err != nil {
				return err.Error()
			}
			if state.last.Started.IsZero() {
				return "" // its pod was restarted, and sends nothing yet
			}
			n, oldest := state.last.Succeeded+state.last.Failed, state.last.Oldest
			if n < enough && n > 100 || !oldest.IsZero() && oldest.Before(begin) {
				return fmt.Sprintf("%s has made %d calls, want %d; the oldest of those that run began at %s", state.pod, n, enough, oldest.Format(time.TimeOnly))
			}
			return ""
		})
	}
}

// into writes the counts into a row; failures of clients on the lost node are told apart.
func (a *counts) into(row *chaos.Fault, lost string) {
	for node, sum := range a.total {
		row.Sent += sum.Succeeded + sum.Failed
		row.Stalled += sum.Stalled
		row.Leaving += sum.Leaving
		row.Slowest = max(row.Slowest, sum.Slowest.Milliseconds())
		if node == lost {
			row.OnNode += sum.Failed
		} else {
			row.Lost += sum.Failed
		}
	}
}

func (a *counts) print(t *testing.T) {
	t.Helper()
	for _, node := range slices.Sorted(maps.Keys(a.failures)) {
		for _, failure := range a.failures[node][:min(30, len(a.failures[node]))] {
			t.Logf("  %s after %s, from %s: %s", failure.At.UTC().Format(time.StampMilli), failure.Took.Round(time.Millisecond), node, failure.Error)
		}
	}
}
