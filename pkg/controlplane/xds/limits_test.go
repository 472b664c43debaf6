package xds

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spf13/pflag"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

func TestLimitsRanges(t *testing.T) {
	var l Limits
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	l.Bind(set)
	if err := l.Validate(); err != nil || l != (Limits{}).withDefaults() {
		t.Errorf("the flags' defaults are %+v, %v; want those of a zero Limits", l, err)
	}
	for _, one := range limits() {
		for value, ok := range map[int]bool{one.least - 1: false, one.least: true, one.most: true, one.most + 1: false, -1: false} {
			bad := l
			*one.of(&bad) = value
			err := bad.Validate()
			if (err == nil) != (ok || value == 0) {
				t.Errorf("%s %d: %v", one.name, value, err)
			}
			if err == nil {
				continue
			}
			if text := err.Error(); !strings.Contains(text, "--limit-"+one.name+" ") || !strings.Contains(text, fmt.Sprintf("an integer from %d to %d", one.least, one.most)) {
				t.Errorf("%q does not name the flag and its range", text)
			}
		}
	}
}

// limited is the metric that names offenders.
func (m *inMemory) limited(limit, offender string) float64 {
	return testutil.ToFloat64(m.metrics.limited.WithLabelValues(limit, offender))
}

func from(address string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1000))
}

// home is the address of the first pod of a regular mesh.
const home = "10.2.0.0"

// A pod's new stream takes the place of its oldest, unless that is the pod's own and the new one is not.
func TestStreamsPerPod(t *testing.T) {
	cases := []struct {
		name  string
		from  []string // the addresses of its streams, in order
		ended string   // which of them have ended, by position
	}{
		{"a proxy that comes back before its old stream is noticed dead", []string{home, home}, ""},
		{"the oldest makes room", []string{home, home, home, home}, "01"},
		{"behind their node's address all are alike", []string{"10.9.0.1", "10.9.0.1", "10.9.0.1"}, "0"},
		{"one from elsewhere makes room first", []string{home, "10.9.0.1", home}, "1"},
		{"own ones do not make room for one from elsewhere", []string{home, home, "10.9.0.1"}, "2"},
		{"and it may not have the last word", []string{"10.9.0.1", "10.9.0.1", home, home, "10.9.0.1"}, "014"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newInMemory(t)
				m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
				other := m.open(t.Context(), "service1-1")
				other.ask(clusters, nil)
				other.take(t)
				var streams []*memoryDelta
				for _, address := range c.from {
					d := m.openWith(t.Context(), "service0-0", time.Now().Add(24*time.Hour), from(address))
					d.ask(clusters, nil)
					streams = append(streams, d)
					synctest.Wait()
				}
				ended := ""
				for i, d := range streams {
					select {
					case err := <-d.done:
						ended += fmt.Sprint(i)
						if status.Code(err) != codes.ResourceExhausted {
							t.Errorf("stream %d ended with %v, want ResourceExhausted", i, err)
						}
						d.stop()
					default:
						d.close()
					}
				}
				if ended != c.ended {
					t.Errorf("streams %q ended, want %q", ended, c.ended)
				}
				if got := m.limited("streams-per-pod", "pod shop/service0-0"); got != float64(len(c.ended)) {
					t.Errorf("%v counted", got)
				}
				other.quiet(t) // still there
				other.close()
				if m.Connected() != 0 {
					t.Errorf("%d streams left", m.Connected())
				}
			})
		})
	}
}

// Whoever opens streams all the time is refused; after a while it is let in again.
func TestStreamsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		try := func(pod string) codes.Code {
			d := m.open(t.Context(), pod)
			d.ask(clusters, nil)
			synctest.Wait()
			defer d.stop()
			select {
			case err := <-d.done:
				return status.Code(err)
			default:
				d.close()
				return codes.OK
			}
		}
		for range reopenings {
			if code := try("service0-0"); code != codes.OK {
				t.Fatalf("%s within what a pod may do at once", code)
			}
		}
		if code := try("service0-0"); code != codes.ResourceExhausted {
			t.Errorf("%s, want ResourceExhausted", code)
		}
		if code := try("service1-1"); code != codes.OK {
			t.Errorf("another pod: %s", code)
		}
		time.Sleep(time.Minute / time.Duration(m.cfg.Limits.StreamsPerMinute))
		if code := try("service0-0"); code != codes.OK {
			t.Errorf("after a while: %s", code)
		}
	})
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hostile := party{identity: identity.Identity{Namespace: "x", ServiceAccount: "hostile"}, source: netip.MustParseAddr("10.0.0.6")}
		turns := newTurns(16)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		took := func(of party) bool {
			done := make(chan error, 1)
			go func() { done <- turns.take(ctx, of) }()
			synctest.Wait()
			select {
			case err := <-done:
				return err == nil
			default:
				return false
			}
		}
		got := 0
		for range 200 {
			if took(hostile) {
				got++
			}
		}
		if got != 2 {
			t.Fatalf("one party has %d of 16 turns, want 2", got)
		}
		honest := 0
		for i := range 20 {
			if took(party{source: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})}) {
				honest++
			}
		}
		if honest != 14 {
			t.Fatalf("the others have %d turns beside the 200 that wait, want the other 14", honest)
		}
		turns.give(party{source: netip.AddrFrom4([4]byte{10, 0, 1, 0})})
		synctest.Wait()
		if turns.held[party{source: netip.AddrFrom4([4]byte{10, 0, 1, 14})}] != 1 {
			t.Error("a turn that was given back went not to who had none")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(turns.waiting) != 0 || turns.free != 0 {
			t.Errorf("%d wait after the deadline, %d turns are free", len(turns.waiting), turns.free)
		}
	})
}

// Of 200 streams of one hostile pod that answer nothing as many are let in as there are turns; a victim is
// served at once all the same.
func TestFirstConfigurationsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.FirstSyncs = 8 })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		hostile := make([]*memoryDelta, 200)
		for i := range hostile {
			hostile[i] = m.openWith(t.Context(), "service0-0", time.Now().Add(24*time.Hour), from("10.2.0.0"))
			go hostile[i].ask(clusters, nil) // and never an answer
		}
		synctest.Wait()
		victim := m.openWith(t.Context(), "service1-1", time.Now().Add(24*time.Hour), from("10.2.0.1"))
		victim.ask(clusters, nil)
		victim.takeNow(t)
		victim.close()
		for _, d := range hostile {
			d.stop()
			t.Log(<-d.done)
		}
	})
}

// What a subscription is said to take is what it takes.
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
			session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpoints.url(), ResourceNamesSubscribe: names()}, nothing, instant)
			taken := heap() - before
			n, bytes := session.remembers()
			if n != c.count || bytes < taken*7/10 || bytes > taken*2 {
				t.Errorf("%d names are said to take %d bytes, and take %d", n, bytes, taken)
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

// Too many names are refused before anything is done with them, and however they come.
func TestNamesAreBounded(t *testing.T) {
	many := func(n int) []string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("%04x", i)
		}
		return names
	}
	for name, ask := range map[string]func(*memoryDelta){
		"at once":             func(d *memoryDelta) { d.ask(endpoints, nil, many(1001)...) },
		"one after the other": func(d *memoryDelta) { d.ask(endpoints, nil, many(1000)...); d.ask(routes, nil, "one more") },
		"as what it holds": func(d *memoryDelta) {
			holds := map[string]string{}
			for _, name := range many(1001) {
				holds[name] = "1"
			}
			d.ask(clusters, holds)
		},
		"later": func(d *memoryDelta) { d.ask(clusters, nil); d.ask(endpoints, nil, many(1001)...) },
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
						t.Error("the metric names nobody")
					}
					return
				}
			}
		})
	}
}

// A long node id is refused, and only its beginning is logged and sent back.
func TestNodeIDs(t *testing.T) {
	long := strings.Repeat("n", 63) + "/" + strings.Repeat("p", 253)
	for _, c := range []struct {
		name, id string
		want     codes.Code
	}{
		{"6 MiB", strings.Repeat("x", 6<<20), codes.InvalidArgument},
		{"of a pod, but too long", long + "x", codes.InvalidArgument},
		{"the longest", long, codes.Unavailable},
		{"with an end of line and an escape", "a\n\x1b[31mb", codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&log) })
				m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
				d := m.open(t.Context(), "service0-0")
				req := &discoveryv3.DeltaDiscoveryRequest{Node: nodeOf("service0-0"), TypeUrl: clusters.url()}
				req.Node.Id = c.id
				d.send(req)
				err := <-d.done
				if status.Code(err) != c.want || len(err.Error()) > 1000 {
					t.Errorf("%.500v, want %s", err, c.want)
				}
				if log.Len() > 1500 || strings.ContainsAny(strings.TrimSuffix(log.String(), "\n"), "\n\x1b") {
					t.Errorf("%d bytes were logged: %.300q", log.Len(), log.String())
				}
				d.stop()
			})
		})
	}
	t.Run("later on", func(t *testing.T) {
		m := newInMemory(t)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.open(t.Context(), "service0-0")
		d.ask(clusters, nil)
		d.take(t)
		d.send(&discoveryv3.DeltaDiscoveryRequest{Node: nodeOf(strings.Repeat("x", 1<<20)), TypeUrl: clusters.url()})
		if err := <-d.done; status.Code(err) != codes.PermissionDenied || len(err.Error()) > 1000 {
			t.Errorf("%.500v, want PermissionDenied in short", err)
		}
		d.stop()
	})
}

// A storm of refusals is some lines and a number; another proxy's refusal is heard all the same.
func TestRefusalsAreLoggedInMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&log) })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		storm := func(d *memoryDelta, times int) {
			for range times {
				d.ask(endpoints, nil, "shop/service0|80")
				resp := decodeDelta(t, <-d.responses)
				d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: strings.Repeat("no", 5000)}})
			}
			synctest.Wait()
		}
		hostile, honest := m.open(t.Context(), "service0-0"), m.open(t.Context(), "service1-1")
		storm(hostile, 100)
		storm(honest, 1)
		if n := strings.Count(log.String(), "proxy rejected"); n != m.cfg.Limits.LogLines+1 {
			t.Errorf("%d lines, want %d and one", n, m.cfg.Limits.LogLines)
		}
		if n := testutil.ToFloat64(m.metrics.nacks[endpoints]); n != 101 {
			t.Errorf("%v counted, want all", n)
		}
		time.Sleep(window)
		synctest.Wait()
		if want := fmt.Sprintf("about=%q lines=%d", "pod shop/service0-0", 100-m.cfg.Limits.LogLines); !strings.Contains(log.String(), want) {
			t.Errorf("nobody says %s", want)
		}
		if log.Len() > 20_000 {
			t.Errorf("%d bytes of log", log.Len())
		}
		hostile.close()
		honest.close()
	})
}

// Requests that answer nothing are slowed down; answers are not.
func TestRequestsAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.Limits.RequestsPerSecond = 1 })
		builder := envoy.NewBuilder(nil)
		m.Publish(built(t, builder, regular(2, 2, 0)))
		d, honest := m.open(t.Context(), "service0-0"), m.open(t.Context(), "service1-1")
		honest.ask(endpoints, nil, "shop/service0|80")
		honest.take(t)
		began := time.Now()
		go func() {
			for range 100 {
				d.ask(endpoints, nil, "shop/service0|80")
			}
		}()
		for i := range 100 {
			m.Publish(built(t, builder, regular(2, 2, byte(i+1))))
			honest.takeNow(t)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("answers of an honest proxy took %s", took)
		}
		for range 100 - bigTalk - 1 {
			select {
			case <-d.responses:
			default:
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := m.limited("requests-per-pod-per-second", "pod shop/service0-0"); n < 70 {
			t.Errorf("%v requests waited, want 100 less what is allowed at once", n)
		}
		d.close()
		honest.close()
	})
}

// known is how many have log lines of their own at the moment.
func (n *notes) known() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.speakers)
}

// lines are what was logged so far, also while more is.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Len is how many bytes they are.
func (l *lines) Len() int { return len(l.String()) }

// However many offenders there are, metrics and memory name some of them.
func TestOffendersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&log) })
		for i := range 5000 {
			m.notes.offence("names", fmt.Sprintf("pod shop/hostile-%d", i), "too many names")
		}
		if n := testutil.CollectAndCount(m.metrics.limited); n != offenders {
			t.Errorf("%d series, want %d", n, offenders)
		}
		if n := m.notes.known(); n != speakers+1 {
			t.Errorf("%d accounts of lines, want %d and the others'", n, speakers)
		}
		if n := strings.Count(log.String(), "\n"); n > speakers+m.cfg.Limits.LogLines {
			t.Errorf("%d lines", n)
		}
		time.Sleep(window)
		synctest.Wait()
		if n := m.notes.known(); n != 0 || !strings.Contains(log.String(), "about=others") {
			t.Errorf("%d accounts are left after a minute", n)
		}
	})
}

// Accounts of pods that are gone are forgotten.
func TestAccountsAreForgotten(t *testing.T) {
	a := newAccounts(Limits{}.withDefaults())
	now := time.Now()
	for i := range 100_000 {
		pod := mesh.PodName{Namespace: "shop", Name: fmt.Sprintf("pod-%d", i)}
		if !a.of(pod, now).opened.AllowN(now, 1) {
			t.Fatal("a new pod may open no stream")
		}
		now = now.Add(100 * time.Millisecond)
	}
	if len(a.pods) > 3000 {
		t.Errorf("%d accounts are left", len(a.pods))
	}
}
