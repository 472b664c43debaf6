package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/coalesce"
)

// lax is how long changes of busy keys wait.
const lax = 2 * time.Second

// busy makes the Trigger spend nearly all of its allowance on urgent events, after a change of the key
// "hot". From then on it may run once a second for them.
func busy(t *testing.T, r *recorder) {
	t.Helper()
	if err := r.trigger.Resize(coalesce.Window{Idle: idle, Max: most, Lax: lax, Urgent: 1}); err != nil {
		t.Fatal(err)
	}
	r.trigger.Changed("hot")
	for range 3 {
		time.Sleep(2 * idle)
		r.trigger.Kick()
	}
	time.Sleep(2 * idle)
	synctest.Wait()
	if len(r.runs) != 4 {
		t.Fatalf("%d runs, want 4", len(r.runs))
	}
	r.runs, r.start = nil, time.Now()
}

// TestUrgency: while events are few, all are urgent. Otherwise changes of busy keys wait, for at
// most Lax, and the change of a quiet key runs at once, together with those that wait.
func TestUrgency(t *testing.T) {
	type change struct {
		at  int // ms
		key string
	}
	tests := map[string]struct {
		changes []change
		want    []time.Duration
	}{
		"a quiet key runs at once":                   {changes: []change{{0, "cold"}}, want: ms(0)},
		"a busy key waits":                           {changes: []change{{0, "hot"}}, want: ms(2000)},
		"waiting changes are merged":                 {changes: []change{{0, "hot"}, {400, "hot"}, {800, "hot"}, {1200, "hot"}}, want: ms(2000)},
		"an urgent change includes waiting ones":     {changes: []change{{0, "hot"}, {700, "cold"}}, want: ms(700)},
		"and is not delayed by a recent run":         {changes: []change{{0, "hot"}, {2005, "cold"}}, want: ms(2000, 2005)},
		"urgent changes in quick succession wait":    {changes: []change{{3000, "cold"}, {3005, "cool"}}, want: ms(3000, 3025)},
		"a waiting change is due in an urgent burst": {changes: []change{{0, "hot"}, {1995, "cold"}, {1999, "cool"}}, want: ms(1995, 2019)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t, 0)
				busy(t, r)
				for _, c := range tt.changes {
					time.Sleep(time.Until(r.start.Add(time.Duration(c.at) * time.Millisecond)))
					r.trigger.Changed(c.key)
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if !slices.Equal(r.runs, tt.want) {
					t.Errorf("ran at %v, want %v", r.runs, tt.want)
				}
			})
		})
	}
}

// TestUrgencyWithoutPressure: while events are few, even changes of a busy key run at once.
func TestUrgencyWithoutPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, 0)
		if err := r.trigger.Resize(coalesce.Window{Idle: idle, Max: most, Lax: lax, Urgent: 100}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			r.trigger.Changed("hot")
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		if len(r.runs) != 100 {
			t.Errorf("%d runs for 100 changes, want one each", len(r.runs))
		}
	})
}

// TestChurnDelaysNoOther: ninety keys change fifty times a second in total. A change of a key that changes
// every ten seconds still runs at once, those of the ninety within Lax, and there are no more runs
// than the allowance permits.
func TestChurnDelaysNoOther(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			const seconds, urgent = 300, 10
			random := rand.New(rand.NewPCG(seed, 1))
			r := record(t, 0)
			if err := r.trigger.Resize(coalesce.Window{Idle: idle, Max: most, Lax: lax, Urgent: urgent}); err != nil {
				t.Fatal(err)
			}
			var changes, lone []time.Duration
			for n := range seconds * 50 {
				time.Sleep(20 * time.Millisecond)
				if n%500 == 499 {
					lone = append(lone, time.Since(r.start))
					r.trigger.Changed("lone")
				}
				changes = append(changes, time.Since(r.start))
				r.trigger.Changed(fmt.Sprint(random.IntN(90)))
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, change := range changes {
				if waited := r.after(change); waited > lax {
					t.Fatalf("seed %d: the change at %v waits for %v, want at most %v", seed, change, waited, lax)
				}
			}
			quick := 0
			for _, change := range lone {
				if r.after(change) <= idle {
					quick++
				}
			}
			if quick < len(lone)*9/10 {
				t.Errorf("seed %d: %d of %d rare changes ran at once, want nearly all", seed, quick, len(lone))
			}
			// Runs because of Lax are few: urgent ones come first.
			if limit := seconds*(urgent+1) + 4*urgent; len(r.runs) > limit {
				t.Errorf("seed %d: %d runs in %d s, want at most %d", seed, len(r.runs), seconds, limit)
			}
		})
	}
}

// TestUrgencyProperties is TestRunProperties with some keys that change all the time.
func TestUrgencyProperties(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			r := record(t, time.Duration(random.IntN(300))*time.Millisecond)
			if err := r.trigger.Resize(coalesce.Window{Idle: idle, Max: most, Lax: lax, Urgent: random.Float64() * 10}); err != nil {
				t.Fatal(err)
			}
			var changes []time.Duration
			for range 200 {
				time.Sleep(time.Duration(random.IntN(1<<random.IntN(9))) * time.Millisecond)
				changes = append(changes, time.Since(r.start))
				r.trigger.Changed(fmt.Sprint(random.IntN(1 + random.IntN(5))))
				synctest.Wait()
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, change := range changes {
				if waited := r.after(change); waited > lax+r.cost {
					t.Fatalf("seed %d: the change at %v waits for %v, want at most %v", seed, change, waited, lax+r.cost)
				}
			}
		})
	}
}

// after returns how long after a moment the next run began; the maximum if there was none.
func (r *recorder) after(moment time.Duration) time.Duration {
	i, _ := slices.BinarySearch(r.runs, moment)
	if i == len(r.runs) {
		return math.MaxInt64
	}
	return r.runs[i] - moment
}

func BenchmarkChanged(b *testing.B) {
	trigger, err := coalesce.New(coalesce.Window{Idle: idle, Max: most, Lax: lax, Urgent: 10})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- trigger.Run(ctx, func(context.Context) {}) }()
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		trigger.Changed(keys[n%len(keys)])
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		b.Error(err)
	}
}
