package coalesce_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/coalesce"
	"github.com/osm-edge/osm/tests/reach"
)

// laxest is how long an event that is not urgent may wait in FuzzTrigger.
const laxest = time.Second

// event is a change of a key.
type event struct {
	at     time.Duration
	key    string // empty for an event that is always urgent
	urgent bool
}

// FuzzTrigger: for any sequence of changes, each change is followed by a run that begins in time.
func FuzzTrigger(f *testing.F) {
	f.Add([]byte{0, 0, 0}, uint8(0), uint8(0))
	f.Add([]byte{1, 1, 1, 1, 2, 1, 1, 1}, uint8(5), uint8(1))
	f.Add(slices.Repeat([]byte{1, 1}, 100), uint8(20), uint8(1))
	f.Add(slices.Repeat([]byte{1, 1, 200, 2, 9, 0}, 30), uint8(255), uint8(3))
	outcomes := reach.All(f, "urgent", "not urgent")
	f.Fuzz(func(t *testing.T, script []byte, cost, rate uint8) {
		synctest.Test(t, func(t *testing.T) {
			r := record(t, time.Duration(cost)*time.Millisecond)
			if err := r.trigger.Resize(coalesce.Window{Idle: idle, Max: most, Lax: laxest, Urgent: float64(rate)}); err != nil {
				t.Fatal(err)
			}
			events := r.play(script[:min(len(script), 400)])
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, e := range events {
				outcomes.Note(map[bool]string{true: "urgent", false: "not urgent"}[e.urgent])
				r.check(t, e)
			}
			if len(r.runs) > len(events) {
				t.Errorf("%d runs for %d events", len(r.runs), len(events))
			}
		})
	})
}

// play executes a script: pairs of a pause and a key.
func (r *recorder) play(script []byte) []event {
	var events []event
	for i := 0; i+1 < len(script); i += 2 {
		time.Sleep(time.Duration(script[i]) * time.Millisecond)
		e := event{at: time.Since(r.start), key: string("\x00abc"[script[i+1]%4])}
		if e.key == "\x00" {
			e.urgent = true
			r.trigger.Kick()
		} else {
			e.urgent = r.trigger.Changed(e.key)
		}
		synctest.Wait()
		events = append(events, e)
	}
	return events
}

// check fails unless a run follows an event, within its limit after the event or the run that it fell into.
func (r *recorder) check(t *testing.T, e event) {
	t.Helper()
	i, _ := slices.BinarySearch(r.runs, e.at)
	if i == len(r.runs) {
		t.Errorf("no run after the event at %v", e.at)
		return
	}
	bound := e.at + laxest
	if e.urgent {
		bound = e.at + most
	}
	if i > 0 {
		bound = max(bound, r.runs[i-1]+r.cost)
	}
	if r.runs[i] > bound {
		t.Errorf("event at %v, urgent %t, ran at %v, want no later than %v", e.at, e.urgent, r.runs[i], bound)
	}
}
