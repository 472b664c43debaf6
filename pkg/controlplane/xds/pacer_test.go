package xds

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// pacing is a pacer and streams that are named by one letter.
type pacing struct {
	pacer
	streams map[string]*stream
	turns   chan *stream
}

func newPacing(places int, names string) *pacing {
	p := &pacing{streams: map[string]*stream{}, turns: make(chan *stream, 10)}
	p.pacer = pacer{turn: func(st *stream) { p.turns <- st }, free: places, patience: time.Second}
	for _, name := range strings.Split(names, "") {
		p.streams[name] = &stream{}
	}
	return p
}

// had returns the streams that have had a turn since the last call, sorted.
func (p *pacing) had() string {
	synctest.Wait()
	var names []string
	for len(p.turns) > 0 {
		st := <-p.turns
		for name, known := range p.streams {
			if known == st {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return strings.Join(names, "")
}

func TestPacer(t *testing.T) {
	type step struct {
		do   string // what, and to which stream
		want string // whose turn it is
	}
	cases := []struct {
		name   string
		places int
		steps  []step
	}{
		{"the longest waiting first", 1, []step{{"add c", "c"}, {"add a", ""}, {"add b", ""}, {"done c", "a"}, {"done a", "b"}, {"done b", ""}}},
		{"two at once", 2, []step{{"add a", "a"}, {"add b", "b"}, {"add c", ""}, {"done a", "c"}}},
		{"a stream waits only once", 1, []step{{"add a", "a"}, {"add b", ""}, {"add b", ""}, {"done a", "b"}, {"done b", ""}}},
		{"a change during a turn leads to another turn", 1, []step{{"add a", "a"}, {"add a", ""}, {"add b", ""}, {"done a", "b"}, {"done b", "a"}, {"done a", ""}}},
		{"alone, the next turn is at once", 1, []step{{"add a", "a"}, {"add a", ""}, {"done a", "a"}, {"done a", ""}}},
		{"a proxy that does not answer", 1, []step{{"add a", "a"}, {"add b", ""}, {"wait", "b"}, {"wait", ""}, {"add a", "a"}}},
		{"a late answer frees no place", 1, []step{{"add a", "a"}, {"wait", ""}, {"done a", ""}, {"add b", "b"}, {"add c", ""}, {"done b", "c"}}},
		{"a stream that ends with a place", 1, []step{{"add a", "a"}, {"add a", ""}, {"add b", ""}, {"leave a", "b"}, {"add a", ""}, {"done b", ""}}},
		{"a stream that ends while it waits", 1, []step{{"add a", "a"}, {"add b", ""}, {"add c", ""}, {"leave b", ""}, {"done a", "c"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPacing(c.places, "abc")
				for i, s := range c.steps {
					verb, name, _ := strings.Cut(s.do, " ")
					switch verb {
					case "add":
						p.add(p.streams[name])
					case "done":
						p.done(p.streams[name])
					case "leave":
						p.leave(p.streams[name])
					case "wait":
						time.Sleep(p.patience)
					}
					if got := p.had(); got != s.want {
						t.Errorf("step %d, %s: turns of %q, want %q", i+1, s.do, got, s.want)
					}
				}
			})
		})
	}
}

// With one place, which a proxy that does not answer holds, the others get every change, and in
// the end that one gets the last.
func TestPaceOfAProxyThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		m.pace.free = 1
		builder := envoy.NewBuilder(nil)
		m.Publish(built(t, builder, regular(2, 2, 0)))
		streams := make([]*memoryDelta, 2)
		for i := range streams {
			streams[i] = m.open(t.Context(), fmt.Sprintf("service%d-%d", i, i))
			streams[i].ask(envoy.Endpoints, nil, "shop/service0|80")
			streams[i].take(t)
		}
		silent, reading := streams[0], streams[1]
		m.Publish(built(t, builder, regular(2, 2, 1)))
		synctest.Wait()
		for host := range 5 {
			m.Publish(built(t, builder, regular(2, 2, byte(host+2))))
			time.Sleep(2 * pacePatience)
			for synctest.Wait(); len(reading.responses) > 0; synctest.Wait() {
				resp := reading.take(t)
				if got := endpointOf(t, resp); got != hostOf(host+2) && got != hostOf(1) {
					t.Errorf("the reading proxy was sent %s, want %s", got, hostOf(host+2))
				}
			}
		}
		if n := len(silent.responses); n != 1 {
			t.Fatalf("%d responses for the one that does not answer, want 1", n)
		}
		silent.take(t)
		time.Sleep(2 * pacePatience)
		if got := endpointOf(t, silent.takeNow(t)); got != hostOf(6) {
			t.Errorf("after it answered it was sent %s, want the last, %s", got, hostOf(6))
		}
		for _, d := range streams {
			d.close()
		}
		synctest.Wait()
		if m.pace.free != 1 || len(m.pace.waiting) != 0 {
			t.Errorf("%d places and %d waiting streams are left, want 1 and none", m.pace.free, len(m.pace.waiting))
		}
	})
}

// However publications, answers and turns interleave, every proxy has the last publication in the end.
func TestPaceLosesNothing(t *testing.T) {
	const proxies, changes = 30, 200
	m := newInMemory(t)
	m.pace.free = 2
	builder := envoy.NewBuilder(nil)
	configs := []*envoy.Config{built(t, builder, regular(2, proxies, 1)), built(t, builder, regular(2, proxies, 2)), built(t, builder, regular(2, proxies, 3))}
	m.Publish(configs[0])
	streams := make([]*memoryDelta, proxies)
	var wait sync.WaitGroup
	for i := range streams {
		streams[i] = m.open(t.Context(), fmt.Sprintf("service%d-%d", i%2, i))
		streams[i].ask(envoy.Endpoints, nil, "shop/service0|80")
		wait.Go(func() {
			for endpointOf(t, streams[i].take(t)) != hostOf(3) {
			}
		})
	}
	for n := range changes {
		m.Publish(configs[n%2])
	}
	m.Publish(configs[2])
	wait.Wait()
	view, _ := configs[2].View(mesh.PodName{Namespace: "shop", Name: "service0-0"})
	want := layers(view.Sets(envoy.Endpoints)).version()
	for _, p := range m.Debug().Proxies {
		if got := p.Types[0].Version; got != want {
			t.Errorf("%s was offered %s last, want %s", p.Pod, got, want)
		}
	}
	for _, d := range streams {
		d.close()
	}
}
