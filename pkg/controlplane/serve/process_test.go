package serve

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func newTestProcess(t *testing.T) *Process {
	t.Helper()
	p, err := NewProcess(ProcessConfig{HTTPAddress: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if p.Health == nil || p.Metrics == nil || p.Refusals == nil {
		t.Fatalf("incomplete defaults: %+v", p)
	}
	return p
}

// A process that is asked to stop ends in order: its servers run until the body has returned.
func TestProcessServesUntilItsBodyReturns(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := newTestProcess(t).Run(ctx, func(starting, serving context.Context, group *errgroup.Group) error {
		group.Go(func() error { <-serving.Done(); return nil })
		cancel()
		<-starting.Done()
		if serving.Err() != nil {
			t.Error("a server ended before the body did")
		}
		return starting.Err()
	})
	if err != nil {
		t.Errorf("an orderly stop returns %v", err)
	}
}

// A failure in the group ends the start, and Run returns it, as it does the body's own error.
func TestProcessFailures(t *testing.T) {
	defer goleak.VerifyNone(t)
	broken := errors.New("broken")
	err := newTestProcess(t).Run(t.Context(), func(starting, _ context.Context, group *errgroup.Group) error {
		group.Go(func() error { return broken })
		<-starting.Done()
		return starting.Err()
	})
	if !errors.Is(err, broken) {
		t.Errorf("a failure in the group returns %v", err)
	}
	err = newTestProcess(t).Run(t.Context(), func(context.Context, context.Context, *errgroup.Group) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("a failure of the body returns %v", err)
	}
	busy := newTestProcess(t)
	busy.cfg.HTTPAddress = "256.0.0.1:0"
	err = busy.Run(t.Context(), func(starting, _ context.Context, _ *errgroup.Group) error { <-starting.Done(); return starting.Err() })
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("an address that cannot be used returns %v", err)
	}
}
