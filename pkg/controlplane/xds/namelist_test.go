package xds

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/tests/reach"
)

// The reported size of a subscription is its actual size.
func TestNamesAreCountedHonestly(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int
		count int
	}{{"short", 4, 50_000}, {"usual", 40, 50_000}} {
		t.Run(c.name, func(t *testing.T) {
			names := func() []string {
				all := make([]string, c.count)
				for i := range all {
					all[i] = strings.Clone(fmt.Sprintf("%0*x", c.size, i))
				}
				return all
			}
			session, nothing := deltaSession{lists: newNameLists()}, emptyMesh().offer(t)
			before := heap()
			session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.Endpoints.TypeURL(), ResourceNamesSubscribe: names()}, nothing, instant)
			taken := heap() - before
			n, bytes := session.remembers()
			if n != c.count || bytes < taken*7/10 || bytes > taken*2 {
				t.Errorf("%d names are reported to take %d bytes, and take %d", n, bytes, taken)
			}
			runtime.KeepAlive(&session)
		})
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Too many names are refused before they are processed, in whatever form they arrive.
func TestNamesAreBounded(t *testing.T) {
	many := func(n int) []string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("%04x", i)
		}
		return names
	}
	for name, ask := range map[string]func(*memoryDelta){
		"at once":             func(d *memoryDelta) { d.ask(envoy.Endpoints, nil, many(1001)...) },
		"one after the other": func(d *memoryDelta) { d.ask(envoy.Endpoints, nil, many(1000)...); d.ask(envoy.Routes, nil, "one more") },
		"as what it holds": func(d *memoryDelta) {
			holds := map[string]string{}
			for _, name := range many(1001) {
				holds[name] = "1"
			}
			d.ask(envoy.Clusters, holds)
		},
		"later": func(d *memoryDelta) { d.ask(envoy.Clusters, nil); d.ask(envoy.Endpoints, nil, many(1001)...) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newInMemory(t, func(cfg *Config) { cfg.Limits.Names = 1000 })
			m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
			d := m.open(t.Context(), "service0-0")
			defer d.stop()
			go ask(d)
			for {
				select {
				case <-d.responses:
				case err := <-d.done:
					if status.Code(err) != codes.ResourceExhausted {
						t.Errorf("ended with %v, want ResourceExhausted", err)
					}
					if m.limited("names", "pod shop/service0-0")+m.limited("names", "identity shop/service0") != 1 {
						t.Error("the metric names no offender")
					}
					return
				}
			}
		})
	}
}

// Whatever names a proxy asks for, drops and claims to hold, in any order, a session remembers what the proxy
// asked for and did not drop, reports it, and exceeds a limit exactly when that is more.
func FuzzNames(f *testing.F) {
	f.Add("a,b,c", "b", "c,d", "a")
	f.Add("a,b,c,d", "", "a", "")
	f.Add("*", "", "a,a,a", "*")
	f.Add(",,", ",", strings.Repeat("x", 5000)+",*", "")
	f.Add(strings.Repeat("ab,", 300), "ab", "", "*,ab")
	outcomes := reach.All(f, reach.Accepted, reach.Refused, "dropped")
	limits := Limits{Names: 3, NameBytes: 8 << 10}
	f.Fuzz(func(t *testing.T, first, then, drop, held string) {
		split := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ",")
		}
		holds := map[string]string{}
		for _, name := range split(held) {
			holds[name] = "1"
		}
		o := emptyMesh().offer(t)
		session := &deltaSession{lists: newNameLists()}
		want := map[string]bool{}
		for _, req := range []*discoveryv3.DeltaDiscoveryRequest{
			{ResourceNamesSubscribe: split(first), InitialResourceVersions: holds},
			{ResourceNamesSubscribe: split(then), ResourceNamesUnsubscribe: split(drop)},
		} {
			req.TypeUrl = envoy.Endpoints.TypeURL()
			session.handle(req, o, instant)
			for _, name := range req.GetResourceNamesSubscribe() {
				want[name] = name != wildcardName
			}
			for _, name := range req.GetResourceNamesUnsubscribe() {
				if want[name] {
					outcomes.Note("dropped")
				}
				delete(want, name)
			}
			delete(want, wildcardName)
			checkFits(t, session, len(want))
			err := limits.fits(session)
			outcomes.Error(err)
			if len(want) > limits.Names && err == nil {
				t.Errorf("%d names fit a limit of %d", len(want), limits.Names)
			}
			if got := session.types[envoy.Endpoints].names.all(); !slices.IsSorted(got) {
				t.Errorf("%q are not sorted", got)
			}
		}
		bytes := 0
		for name := range want {
			bytes += len(name)
		}
		if _, said := session.remembers(); said < bytes+stringSize*len(want) {
			t.Errorf("%d names of %d bytes are reported to take %d", len(want), bytes, said)
		}
		for session.next(o, instant) != nil { // it answers everything
			typ := &session.types[envoy.Endpoints]
			typ.awaiting, typ.sent = 0, sent{}
		}
	})
}
