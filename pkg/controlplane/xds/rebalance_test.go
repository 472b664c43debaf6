package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
)

// scaled is a fleet of proxies and the replicas that serve them, in virtual time. A proxy connects to any of the
// replicas that are open, as through the Service.
type scaled struct {
	t       *testing.T
	random  *rand.Rand
	servers []*inMemory
	perSec  int

	mu    sync.Mutex
	open  int
	moved map[string]int // how often each proxy changed its replica
	at    map[string]int
}

func newScaled(t *testing.T, seed uint64, replicas, pods, perSecond int) *scaled {
	f := &scaled{t: t, random: rand.New(rand.NewPCG(seed, 1)), perSec: perSecond, open: 1, moved: map[string]int{}, at: map[string]int{}}
	config := built(t, envoy.NewBuilder(nil), regular(10, pods, 1))
	for range replicas {
		m := newInMemory(t, func(cfg *Config) { cfg.MovesPerSecond = perSecond })
		m.Publish(config)
		f.servers = append(f.servers, m)
	}
	return f
}

// rebalance starts a Runner for each replica. Now and then a peer does not answer.
func (f *scaled) rebalance(ctx context.Context, continuous bool) (runners []*rebalance.Runner) {
	for i, m := range f.servers {
		peers := func(context.Context) (peers []rebalance.Peer, ready bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for other := range f.open {
				p := rebalance.Peer{Name: fmt.Sprint(other), Proxies: f.servers[other].Connected()}
				if f.random.IntN(50) == 0 {
					p.Err = errors.New("no answer")
				}
				if other != i {
					peers = append(peers, p)
				}
			}
			return peers, i < f.open
		}
		r, err := rebalance.New(rebalance.Config{Server: m, Continuous: continuous, Peers: peers, PerSecond: f.perSec, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			f.t.Fatal(err)
		}
		runners = append(runners, r)
		go func() { _ = r.Run(ctx) }()
	}
	return runners
}

// choose returns a replica and how long the proxy waits before it connects.
func (f *scaled) choose() (replica int, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.IntN(f.open), time.Duration(f.random.Int64N(int64(time.Second)))
}

// proxy keeps a pod's proxy connected until ctx ends. It says what it holds when it reconnects.
func (f *scaled) proxy(ctx context.Context, pod string) {
	var held map[string]string
	for ctx.Err() == nil {
		replica, wait := f.choose()
		time.Sleep(wait)
		d := f.servers[replica].open(ctx, pod)
		go d.ask(envoy.Clusters, held)
		for err := error(nil); err == nil; {
			select {
			case resp := <-d.responses:
				held = map[string]string{"shop/service0|80": "any"}
				d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.TypeCluster, ResponseNonce: nonceOf(resp)})
			case err = <-d.done:
				if code := status.Code(err); code != codes.Unavailable && ctx.Err() == nil {
					f.t.Errorf("the stream of %s ended with %v, want Unavailable", pod, err)
				}
			}
		}
		d.stop()
	}
}

// look notes where the proxies are, and returns the largest number over the mean.
func (f *scaled) look() (ratio float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	most, total := 0, 0
	for i, m := range f.servers[:f.open] {
		pods := m.ConnectedPods()
		for _, pod := range pods {
			if was, known := f.at[pod.Name]; known && was != i {
				f.moved[pod.Name]++
			}
			f.at[pod.Name] = i
		}
		most, total = max(most, len(pods)), total+len(pods)
	}
	return float64(most) * float64(f.open) / float64(max(total, 1))
}

// scale runs a fleet that grows from one replica to all of them, and returns how long it takes until no
// replica has a tenth more than the mean. Rebalancing is continuous, or the first replica is told once, or it is off.
func scale(t *testing.T, seed uint64, continuous, ordered bool, replicas, pods int, watch time.Duration) (f *scaled, balanced time.Duration, ratio float64) {
	f = newScaled(t, seed, replicas, pods, 20)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range pods {
		running.Go(func() { f.proxy(ctx, fmt.Sprintf("service%d-%d", i%10, i)) })
	}
	runners := f.rebalance(ctx, continuous)
	time.Sleep(30 * time.Second)
	f.look()
	f.mu.Lock()
	f.open = replicas
	f.mu.Unlock()
	if ordered {
		runners[0].Order()
	}
	balanced = -1
	for passed := time.Duration(0); passed < watch; passed += 250 * time.Millisecond {
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		if ratio = f.look(); ratio > 1.1 {
			balanced = -1
		} else if balanced < 0 {
			balanced = passed
		}
	}
	stop()
	running.Wait()
	return f, balanced, ratio
}

// From 1 to 3 replicas with 1000 proxies: the load is even within a minute and stays so, and no proxy has moved
// twice, although proxies choose at random. Fails if a replica sheds what has just moved to it, or never stops.
func TestScaleOutBalances(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, balanced, ratio := scale(t, seed, true, false, 3, 1000, 75*time.Second)
				if balanced < 0 || balanced > time.Minute {
					t.Errorf("balanced after %v, want at most a minute; at the end the busiest replica has %.2f of the mean", balanced, ratio)
				}
				for pod, n := range f.moved {
					if n > 1 {
						t.Errorf("%s moved %d times", pod, n)
					}
				}
				t.Logf("balanced after %v, %d proxies moved, %.3f of the mean", balanced, len(f.moved), ratio)
			})
		})
	}
}

// Told once, a replica sends its surplus away and stops: the load is even within a minute, no proxy has moved twice, and
// nobody moves when it gets uneven again. Fails if an order never ends, or none is carried out.
func TestOrderBalancesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, balanced, ratio := scale(t, 3, false, true, 3, 600, 90*time.Second)
		if balanced < 0 || balanced > time.Minute {
			t.Errorf("balanced after %v, want at most a minute; at the end the busiest replica has %.2f of the mean", balanced, ratio)
		}
		for pod, n := range f.moved {
			if n > 1 {
				t.Errorf("%s moved %d times", pod, n)
			}
		}
	})
}

// Without rebalancing nobody moves, however uneven the load is.
func TestScaleOutMovesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if f, _, _ := scale(t, 1, false, false, 3, 300, 5*time.Minute); len(f.moved) > 0 || len(f.at) != 300 {
			t.Errorf("%d of %d proxies moved", len(f.moved), len(f.at))
		}
	})
}

// A replica turns a proxy away at most twice: once by ending its stream, once when it comes back. A proxy without
// a configuration is always served.
func TestProxyThatCameBackTwiceStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.MovesPerSecond = 10 })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		m.TurnAway(2 * time.Hour)
		come := func(held map[string]string) *memoryDelta {
			d := m.open(t.Context(), "service0-0")
			d.ask(envoy.Clusters, held)
			synctest.Wait()
			return d
		}
		d := come(nil)
		d.takeNow(t)
		if m.Movable() != 0 || m.Shed() {
			t.Error("a proxy was moved before it can have its first configuration")
		}
		time.Sleep(m.cfg.Patience)
		if m.Movable() != 1 || !m.Shed() {
			t.Fatal("the only proxy could not be moved")
		}
		if err := <-d.done; status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v, want Unavailable", err)
		}
		held := map[string]string{"shop/service0|80": "any"}
		if err := <-come(held).done; status.Code(err) != codes.Unavailable {
			t.Errorf("the proxy that came back was answered %v, want Unavailable", err)
		}
		last := come(held)
		last.takeNow(t)
		time.Sleep(restTime - time.Minute)
		if m.Movable() != 0 || m.Shed() {
			t.Error("a proxy that came back twice was moved")
		}
		last.close()
		restarted := come(nil)
		restarted.takeNow(t)
		time.Sleep(m.cfg.Patience)
		if m.Shed() {
			t.Error("a proxy that came back twice was moved when it came without a configuration")
		}
		// After a while all of that is forgotten: the proxy is moved, and turned away once more.
		time.Sleep(restTime)
		if !m.Shed() {
			t.Fatal("a proxy that came back twice long ago cannot be moved")
		}
		if err := <-restarted.done; status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v, want Unavailable", err)
		}
		if err := <-come(held).done; status.Code(err) != codes.Unavailable {
			t.Errorf("the proxy that came back in the next period was answered %v, want Unavailable", err)
		}
	})
}

// A proxy that came from another stream has just moved, whatever the reason: it stays for a while.
func TestProxyThatHasJustComeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.open(t.Context(), "service0-0")
		d.ask(envoy.Clusters, map[string]string{"shop/service0|80": "any"})
		d.takeNow(t)
		time.Sleep(restTime - time.Second)
		if m.Shed() {
			t.Error("a proxy was moved that had come a short while ago")
		}
		time.Sleep(time.Second)
		if !m.Shed() {
			t.Error("a proxy that came long ago cannot be moved")
		}
		d.close()
	})
}

// A proxy that is moved loses its connection, so that its next one goes through the Service again.
func TestServerClosesTheConnectionOfAMovedProxy(t *testing.T) {
	r := newLimitedRig(t, Limits{})
	conn := r.connect([]tls.Certificate{r.certificate("store")})
	moved := openOn(t, conn)
	ask(t, moved, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, moved)
	awaitMetric(t, "the proxy may be moved", r.server.Shed)
	if _, err := moved.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want Unavailable", err)
	}
	awaitMetric(t, "the connection is closed", func() bool { return r.server.gate.known("127.0.0.1") == 0 && left(conn) })
}
