//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// traffic is a load that must not lose a single call while something happens to the mesh.
type traffic struct{ from agent.Client }

// interval of each call of a load, short enough to notice a gap of a tenth of a second.
const interval = 50 * time.Millisecond

// loadTime is how long to wait for a load to make progress.
const loadTime = time.Minute

// flow starts a load of all calls concurrently and waits until it runs.
func flow(t *testing.T, from agent.Client, calls ...agent.Call) traffic {
	t.Helper()
	if err := from.StartLoad(t.Context(), agent.Load{Calls: calls, Interval: interval}); err != nil {
		t.Fatal(err)
	}
	f := traffic{from}
	f.more(t, 10*len(calls))
	return f
}

// more waits for that many more calls, and checks that all calls since the start succeeded.
func (f traffic) more(t *testing.T, calls int) agent.Tally {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), loadTime)
	defer cancel()
	now := must(f.from.Tally(ctx, 0))(t)
	tally := must(f.from.Tally(ctx, now.Succeeded+now.Failed+calls))(t)
	if tally.Failed > 0 {
		t.Errorf("%d of %d calls failed, want none", tally.Failed, tally.Failed+tally.Succeeded)
		for _, failure := range tally.Failures {
			t.Logf("  %s %s", failure.At.UTC().Format(time.StampMilli), failure.Error)
		}
	}
	return tally
}

// stop ends the load and checks it one last time.
func (f traffic) stop(t *testing.T) {
	t.Helper()
	tally := f.more(t, 1)
	t.Logf("traffic: %d calls succeeded, %d failed, %d servers responded", tally.Succeeded, tally.Failed, len(tally.Servers))
	if err := f.from.StartLoad(t.Context(), agent.Load{Interval: time.Second}); err != nil {
		t.Error(err)
	}
}
