package coalesce_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/osm-edge/osm/pkg/controlplane/coalesce"
)

const (
	idle = 20 * time.Millisecond
	most = 250 * time.Millisecond
)

// TestMain finds goroutines that a test leaves behind; synctest finds those inside its bubbles.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder runs a Trigger and records when its function ran, as time since the start.
type recorder struct {
	trigger *coalesce.Trigger
	start   time.Time
	runs    []time.Duration
	cost    time.Duration // of a run
}

func record(t *testing.T, cost time.Duration) *recorder {
	t.Helper()
	trigger, err := coalesce.New(coalesce.Window{Idle: idle, Max: most})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour) // quiet before the first event
	r := &recorder{trigger: trigger, start: time.Now(), cost: cost}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- trigger.Run(ctx, r.run) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want context.Canceled", err)
		}
	})
	return r
}

func (r *recorder) run(context.Context) {
	r.runs = append(r.runs, time.Since(r.start))
	time.Sleep(r.cost)
}

// kickAt kicks at the given times since the start, in order.
func (r *recorder) kickAt(times ...time.Duration) {
	for _, at := range times {
		time.Sleep(time.Until(r.start.Add(at)))
		r.trigger.Kick()
		synctest.Wait()
	}
}

func every(step, until time.Duration) (times []time.Duration) {
	for at := time.Duration(0); at <= until; at += step {
		times = append(times, at)
	}
	return times
}

func ms(values ...int) (out []time.Duration) {
	for _, v := range values {
		out = append(out, time.Duration(v)*time.Millisecond)
	}
	return out
}

// TestRun lets no event coincide with the end of a window: their order would be random.
func TestRun(t *testing.T) {
	tests := map[string]struct {
		kicks []time.Duration
		cost  time.Duration
		want  []time.Duration
	}{
		"no event":                             {},
		"the first event runs at once":         {kicks: ms(0), want: ms(0)},
		"events far apart all run at once":     {kicks: ms(0, 100, 200), want: ms(0, 100, 200)},
		"followers wait for the end of burst":  {kicks: ms(0, 5, 10, 15), want: ms(0, 35)},
		"an event just inside idle waits":      {kicks: ms(0, 19), want: ms(0, 39)},
		"an event at idle is quiet again":      {kicks: ms(0, 20), want: ms(0, 20)},
		"an endless burst runs every max":      {kicks: every(7*time.Millisecond, 602*time.Millisecond), want: ms(0, 257, 509, 622)},
		"an event during a run leads to a run": {kicks: ms(0, 50), cost: 100 * time.Millisecond, want: ms(0, 100)},
		"events during a run older than max":   {kicks: ms(0, 50, 390), cost: 400 * time.Millisecond, want: ms(0, 400)},
		"events just before a run's end":       {kicks: ms(0, 95), cost: 100 * time.Millisecond, want: ms(0, 115)},
		"an event just after a run waits":      {kicks: ms(0, 110), cost: 100 * time.Millisecond, want: ms(0, 130)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t, tt.cost)
				r.kickAt(tt.kicks...)
				time.Sleep(time.Minute)
				synctest.Wait()
				if !slices.Equal(r.runs, tt.want) {
					t.Errorf("ran at %v, want %v", r.runs, tt.want)
				}
			})
		})
	}
}

// TestRunProperties: whatever the events and the cost of a run, every event is followed by a run
// that begins within max of it, or of the end of the run that it fell into.
func TestRunProperties(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			r := record(t, time.Duration(random.IntN(300))*time.Millisecond)
			var at time.Duration
			var kicks []time.Duration
			for range 200 {
				at += time.Duration(random.IntN(1<<random.IntN(9))) * time.Millisecond
				kicks = append(kicks, at)
			}
			r.kickAt(kicks...)
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, kick := range kicks {
				i, _ := slices.BinarySearch(r.runs, kick)
				if i == len(r.runs) {
					t.Fatalf("seed %d: no run after the event at %v", seed, kick)
				}
				bound := kick + most
				if i > 0 {
					bound = max(bound, r.runs[i-1]+r.cost)
				}
				if r.runs[i] > bound {
					t.Fatalf("seed %d: event at %v ran at %v, want no later than %v", seed, kick, r.runs[i], bound)
				}
			}
			if len(r.runs) > len(kicks) {
				t.Fatalf("seed %d: %d runs for %d events", seed, len(r.runs), len(kicks))
			}
		})
	}
}

func TestKickNeverBlocksWithoutRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trigger, err := coalesce.New(coalesce.Window{Idle: idle, Max: most})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			trigger.Kick() // a Kick that blocked would be a deadlock, which synctest reports
		}
		ran := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- trigger.Run(ctx, func(context.Context) { ran++ }) }()
		time.Sleep(time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || ran != 1 {
			t.Errorf("ran %d times and returned %v, want once and context.Canceled", ran, err)
		}
	})
}

// TestRunEndsWhileWaiting: the end of ctx is noticed in the middle of a burst, and nothing runs after it.
func TestRunEndsWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trigger, err := coalesce.New(coalesce.Window{Idle: idle, Max: most})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		ran := 0
		done := make(chan error, 1)
		go func() { done <- trigger.Run(ctx, func(context.Context) { ran++ }) }()
		trigger.Kick()
		synctest.Wait()
		trigger.Kick()
		synctest.Wait()
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) || ran != 1 {
			t.Errorf("ran %d times and returned %v, want once and %v", ran, err, stop)
		}
	})
}

func TestNewRefusesWindows(t *testing.T) {
	for _, w := range []coalesce.Window{{Idle: -1}, {Idle: 2, Max: 1}, {Idle: 1, Max: 2, Lax: 1}, {Urgent: -1}} {
		if _, err := coalesce.New(w); err == nil {
			t.Errorf("New(%+v) accepted it", w)
		}
	}
	if _, err := coalesce.New(coalesce.Window{}); err != nil {
		t.Errorf("New of the zero window: %v", err)
	}
}

func BenchmarkKick(b *testing.B) {
	trigger, err := coalesce.New(coalesce.Window{Idle: idle, Max: most})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		trigger.Kick()
	}
}

// The window may change while the Trigger runs.
func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trigger, err := coalesce.New(coalesce.Window{Idle: time.Hour, Max: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		runs := make(chan time.Time, 10)
		ended := make(chan error)
		go func() { ended <- trigger.Run(ctx, func(context.Context) { runs <- time.Now() }) }()
		trigger.Kick()
		<-runs // after quiet, at once
		start := time.Now()
		if err := trigger.Resize(coalesce.Window{Idle: 2, Max: 1}); err == nil {
			t.Error("a window whose idle time is longer than its maximum was accepted")
		}
		if err := trigger.Resize(coalesce.Window{Idle: time.Second, Max: time.Minute}); err != nil {
			t.Fatal(err)
		}
		trigger.Kick()
		if ran := <-runs; ran.Sub(start) != time.Second {
			t.Errorf("ran after %v, want the new idle time of a second", ran.Sub(start))
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}
