package agent

import (
	"slices"
	"testing"
	"time"
)

// A kept call uses one connection; without Keep each call makes its own.
func TestKeptCallsUseOneConnection(t *testing.T) {
	h := run(t)
	calls := newCaller()
	for protocol, number := range map[Protocol]int{TCP: PortTCP, GRPC: PortGRPC} {
		for _, keep := range []bool{true, false} {
			call := Call{Protocol: protocol, Address: h.address(port(number)), Keep: keep}
			do, end := calls.repeated(t.Context(), call)
			var sources []string
			for range 3 {
				answer := do(t.Context(), call)
				if !answer.OK() {
					t.Fatalf("%+v: %s", call, answer.Error)
				}
				sources = append(sources, answer.Seen.Source)
			}
			end()
			slices.Sort(sources)
			if n := len(slices.Compact(sources)); (n == 1) != keep {
				t.Errorf("3 calls %+v used %d connections", call, n)
			}
		}
	}
}

// A kept connection that breaks is a failure, and the next call opens another.
func TestKeptCallsRecover(t *testing.T) {
	h := run(t)
	call := Call{Protocol: TCP, Address: h.address(port(PortTCP)), Keep: true}
	held := &held{open: holdTCP}
	defer held.close()
	if answer := held.do(t.Context(), call); !answer.OK() {
		t.Fatal(answer.Error)
	}
	held.now.close()
	if answer := held.do(t.Context(), call); answer.OK() {
		t.Error("a call on a closed connection succeeded")
	}
	if answer := held.do(t.Context(), call); !answer.OK() {
		t.Errorf("the call after the broken one failed: %s", answer.Error)
	}
}

func TestTallyOfStallsAndNewFailures(t *testing.T) {
	l := newLoad(t.Context(), newCaller())
	answered, failed := Answer{Seen: Seen{Server: "server-0"}}, Answer{Error: "refused"}
	l.count(t.Context(), Call{}, time.Now(), Stall, Answer{Seen: Seen{Server: "server-0", Leaving: true}})
	l.count(t.Context(), Call{}, time.Now(), Stall+1, answered)
	l.count(t.Context(), Call{}, time.Now(), 1, failed)
	l.count(t.Context(), Call{}, time.Now(), 2, failed)
	begun := l.begin(t.Context(), Call{Protocol: HTTP})
	tally := l.await(t.Context(), 4, 1)
	if !tally.Oldest.Equal(begun) {
		t.Errorf("the oldest call that runs began at %s, want %s", tally.Oldest, begun)
	}
	if tally.Succeeded != 2 || tally.Leaving != 1 || tally.Failed != 2 || tally.Stalled != 1 || tally.Slowest != Stall+1 {
		t.Errorf("tally = %+v, want 2 successes, one of them stalled and one of a server that leaves, and 2 failures", tally)
	}
	if len(tally.Failures) != 1 || tally.Failures[0].Took != 2 {
		t.Errorf("failures after the first = %+v, want the second", tally.Failures)
	}
	if tally := l.await(t.Context(), 0, 9); tally.Slowest != 0 || len(tally.Failures) != 0 {
		t.Errorf("second tally = %+v, want no slowest call and no failure", tally)
	}
}
