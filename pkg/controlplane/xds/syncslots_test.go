package xds

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hostile := party{identity: identity.Identity{Namespace: "x", ServiceAccount: "hostile"}, source: netip.MustParseAddr("10.0.0.6")}
		turns := newSyncSlots(16)
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
			t.Fatalf("one party has %d of 16 slots, want 2", got)
		}
		honest := 0
		for i := range 20 {
			if took(party{source: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})}) {
				honest++
			}
		}
		if honest != 14 {
			t.Fatalf("the others have %d slots beside the 200 that wait, want the other 14", honest)
		}
		turns.put(party{source: netip.AddrFrom4([4]byte{10, 0, 1, 0})})
		synctest.Wait()
		if turns.held[party{source: netip.AddrFrom4([4]byte{10, 0, 1, 14})}] != 1 {
			t.Error("a returned slot did not go to the party that had none")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(turns.waiting) != 0 || turns.free != 0 {
			t.Errorf("%d wait after the deadline, %d slots are free", len(turns.waiting), turns.free)
		}
	})
}

// Of 200 streams of one hostile pod that answer nothing, as many are accepted as its share of slots; another proxy is
// still served at once.
func TestFirstConfigurationsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.FirstSyncs = 8 })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		hostile := make([]*memoryDelta, 200)
		for i := range hostile {
			hostile[i] = m.openWith(t.Context(), "service0-0", time.Now().Add(24*time.Hour), from("10.2.0.0"))
			go hostile[i].ask(envoy.Clusters, nil) // and never an answer
		}
		synctest.Wait()
		victim := m.openWith(t.Context(), "service1-1", time.Now().Add(24*time.Hour), from("10.2.0.1"))
		victim.ask(envoy.Clusters, nil)
		victim.takeNow(t)
		victim.close()
		for _, d := range hostile {
			d.stop()
			t.Log(<-d.done)
		}
	})
}

// As many proxies get their first configuration at once as the limit says, for each CPU; the others wait. Fails if
// everybody is let in.
func TestFirstConfigurationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.FirstSyncs, cfg.Limits.FirstSyncsPerCPU = 0, 2 })
		most := 2 * runtime.GOMAXPROCS(0)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(3*most, 3*most, 1)))
		proxies := make([]*memoryDelta, 3*most)
		for i := range proxies {
			proxies[i] = m.open(t.Context(), fmt.Sprintf("service%d-%d", i, i))
			go proxies[i].ask(envoy.Clusters, nil) // and no answer, so that the slot stays taken
		}
		synctest.Wait()
		if n := m.Connected(); n != most {
			t.Errorf("%d of %d proxies are configured at once, want %d", n, len(proxies), most)
		}
		for _, d := range proxies {
			d.close()
		}
	})
}
