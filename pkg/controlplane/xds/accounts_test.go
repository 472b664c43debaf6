package xds

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// home is the address of the first pod of a regular mesh.
const home = "10.2.0.0"

func from(address string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1000))
}

// A pod's new stream displaces its oldest one, unless that comes from the pod's own address and the new one does not.
func TestStreamsPerPod(t *testing.T) {
	cases := []struct {
		name  string
		from  []string // the addresses of its streams, in order
		ended string   // which of them have ended, by position
	}{
		{"a proxy that reconnects before its dead stream is noticed", []string{home, home}, ""},
		{"the oldest makes room", []string{home, home, home, home}, "01"},
		{"behind their node's address all are treated alike", []string{"10.9.0.1", "10.9.0.1", "10.9.0.1"}, "0"},
		{"one from elsewhere is displaced first", []string{home, "10.9.0.1", home}, "1"},
		{"own ones are not displaced by one from elsewhere", []string{home, home, "10.9.0.1"}, "2"},
		{"even if that comes last", []string{"10.9.0.1", "10.9.0.1", home, home, "10.9.0.1"}, "014"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newInMemory(t)
				m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
				other := m.open(t.Context(), "service1-1")
				other.ask(envoy.Clusters, nil)
				other.take(t)
				var streams []*memoryDelta
				for _, address := range c.from {
					d := m.openWith(t.Context(), "service0-0", time.Now().Add(24*time.Hour), from(address))
					d.ask(envoy.Clusters, nil)
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
				other.quiet(t) // still connected
				other.close()
				if m.Connected() != 0 {
					t.Errorf("%d streams left", m.Connected())
				}
			})
		})
	}
}

// A pod that opens streams all the time is refused; after a while it is accepted again.
func TestStreamsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		try := func(pod string) codes.Code {
			d := m.open(t.Context(), pod)
			d.ask(envoy.Clusters, nil)
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
		for range streamBurst {
			if code := try("service0-0"); code != codes.OK {
				t.Fatalf("%s within the burst", code)
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

// Requests that answer nothing are slowed down; answers are not.
func TestRequestsAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.Limits.RequestsPerSecond = 1 })
		builder := envoy.NewBuilder(nil)
		m.Publish(built(t, builder, regular(2, 2, 0)))
		d, honest := m.open(t.Context(), "service0-0"), m.open(t.Context(), "service1-1")
		honest.ask(envoy.Endpoints, nil, "shop/service0|80")
		honest.take(t)
		began := time.Now()
		go func() {
			for range 100 {
				d.ask(envoy.Endpoints, nil, "shop/service0|80")
			}
		}()
		for i := range 100 {
			m.Publish(built(t, builder, regular(2, 2, byte(i+1))))
			honest.takeNow(t)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("answers of an honest proxy took %s", took)
		}
		for range 100 - requestBurstSeconds - 1 {
			select {
			case <-d.responses:
			default:
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := m.limited("requests-per-pod-per-second", "pod shop/service0-0"); n < 70 {
			t.Errorf("%v requests waited, want 100 less the burst", n)
		}
		d.close()
		honest.close()
	})
}

// Accounts of deleted pods are forgotten.
func TestAccountsAreForgotten(t *testing.T) {
	a := newAccounts(Limits{}.withDefaults())
	now := time.Now()
	for i := range 100_000 {
		pod := mesh.PodName{Namespace: "shop", Name: fmt.Sprintf("pod-%d", i)}
		if !a.pods.of(pod, now).opens.AllowN(now, 1) {
			t.Fatal("a new pod may open no stream")
		}
		now = now.Add(100 * time.Millisecond)
	}
	if len(a.pods.entries) > 3000 {
		t.Errorf("%d accounts are left", len(a.pods.entries))
	}
}
