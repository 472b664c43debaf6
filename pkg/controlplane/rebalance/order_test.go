package rebalance_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
)

// fakeServer has proxies, of which some may be moved, and counts what happens to it.
type fakeServer struct{ proxies, movable, sheds, turns int }

func (s *fakeServer) Connected() int         { return s.proxies }
func (s *fakeServer) TurnAway(time.Duration) { s.turns++ }
func (s *fakeServer) Shed() bool {
	if s.movable == 0 {
		return false
	}
	s.proxies, s.movable, s.sheds = s.proxies-1, s.movable-1, s.sheds+1
	return true
}

// A replica that is not told to do anything does nothing, and asks nobody. An order ends by itself, and says why if the
// replica keeps more than its share.
func TestOrder(t *testing.T) {
	peer := rebalance.Peer{Name: "peer"}
	for _, c := range []struct {
		name    string
		none    bool // no order
		movable int
		peers   []rebalance.Peer
		unready bool
		takes   time.Duration
		moved   int
		why     string
	}{
		{name: "no order", none: true, movable: 100, peers: []rebalance.Peer{peer}},
		{name: "surplus", movable: 100, peers: []rebalance.Peer{peer}, takes: 7 * time.Second, moved: 50},
		{name: "at its share", movable: 100, peers: []rebalance.Peer{{Name: "peer", Proxies: 100}}, takes: 2 * time.Second},
		{name: "up to the share, not to a tenth above it", movable: 100, peers: []rebalance.Peer{{Name: "peer", Proxies: 90}}, takes: 4 * time.Second, moved: 5},
		{name: "some cannot be moved", movable: 12, peers: []rebalance.Peer{peer}, takes: 5 * time.Second, moved: 12, why: "none of its proxies may be moved now"},
		{name: "alone", movable: 100, takes: 7 * time.Second, why: "no other replica is ready"},
		{name: "not an endpoint", unready: true, movable: 100, peers: []rebalance.Peer{peer}, takes: 7 * time.Second, why: "not a ready endpoint"},
		{name: "a peer does not answer", movable: 100, peers: []rebalance.Peer{{Name: "silent", Err: errors.New("no answer")}}, takes: 7 * time.Second, why: "the number of proxies of silent is unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, asked := &fakeServer{proxies: 100, movable: c.movable}, 0
				r, err := rebalance.New(rebalance.Config{
					Server: server, PerSecond: 10, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
					Peers: func(context.Context) ([]rebalance.Peer, bool) {
						asked++
						peers := slices.Clone(c.peers)
						for i := range peers {
							peers[i].Proxies += server.sheds
						}
						return peers, !c.unready
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				go func() { _ = r.Run(ctx) }()
				if !c.none {
					r.Order()
					if !r.Status().Running {
						t.Error("the order does not run")
					}
				}
				time.Sleep(c.takes)
				synctest.Wait()
				before := asked
				time.Sleep(time.Hour)
				synctest.Wait()
				if status := r.Status(); status.Running || status.Moved != c.moved || server.sheds != c.moved || !strings.Contains(status.Why, c.why) || (status.Why == "") != (c.why == "") {
					t.Errorf("%+v after %d moves; want %d and %q", status, server.sheds, c.moved, c.why)
				}
				if asked != before {
					t.Errorf("the peers were asked %d times after the order should have ended", asked-before)
				}
				if turns := server.turns; c.none && turns+asked != 0 {
					t.Errorf("without an order proxies are turned away %d times, and the peers asked %d times", turns, asked)
				}
				stop()
				synctest.Wait()
			})
		})
	}
}

// An order that proxies keep running against ends before any of them can be moved twice.
func TestOrderEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{proxies: 1 << 30, movable: 1 << 30}
		r, err := rebalance.New(rebalance.Config{
			Server: server, PerSecond: 1, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
			Peers: func(context.Context) ([]rebalance.Peer, bool) { return []rebalance.Peer{{Name: "peer"}}, true },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() { _ = r.Run(ctx) }()
		r.Order()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if status := r.Status(); status.Running || status.Why == "" || server.sheds == 0 {
			t.Errorf("%+v after ten minutes, in which %d proxies were moved", status, server.sheds)
		}
		stop()
		synctest.Wait()
	})
}
