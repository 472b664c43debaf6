package rebalance_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
)

func TestDecide(t *testing.T) {
	peer := func(n int) rebalance.Peer { return rebalance.Peer{Name: "peer", Proxies: n} }
	unknown, draining := rebalance.Peer{Name: "silent", Err: errors.New("no answer")}, rebalance.Peer{Name: "old", Proxies: 900, Draining: true}
	for _, c := range []struct {
		name    string
		unready bool
		own     int
		peers   []rebalance.Peer
		active  bool
		surplus int
		full    bool
		why     string
		err     string
	}{
		{name: "alone", own: 1000, why: "no other replica is ready"},
		{name: "only draining peers", own: 1000, peers: []rebalance.Peer{draining}, why: "no other replica is ready"},
		{name: "not an endpoint", unready: true, own: 1000, peers: []rebalance.Peer{peer(0)}, why: "not a ready endpoint"},
		{name: "a peer does not answer", own: 1000, peers: []rebalance.Peer{peer(0), unknown}, active: true, why: "the number of proxies of silent is unknown", err: "no answer"},
		{name: "two new peers", own: 999, peers: []rebalance.Peer{peer(0), peer(0)}, surplus: 666, full: true},
		{name: "draining peers do not count", own: 600, peers: []rebalance.Peer{peer(400), draining}, surplus: 100, full: true},
		{name: "a little over its share", own: 340, peers: []rebalance.Peer{peer(330), peer(330)}},
		{name: "up to a tenth over", own: 366, peers: []rebalance.Peer{peer(317), peer(317)}, full: true},
		{name: "until the fair share once it has begun", own: 366, peers: []rebalance.Peer{peer(317), peer(317)}, active: true, surplus: 32, full: true},
		{name: "at its share", own: 333, peers: []rebalance.Peer{peer(333), peer(333)}, active: true},
		{name: "less than its share", own: 10, peers: []rebalance.Peer{peer(400)}, active: true},
		{name: "one proxy", own: 1, peers: []rebalance.Peer{peer(0), peer(0)}},
		{name: "one more than a peer", own: 2, peers: []rebalance.Peer{peer(1)}, active: true},
		{name: "none", peers: []rebalance.Peer{peer(0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := rebalance.Decide(rebalance.View{Ready: !c.unready, Proxies: c.own, Peers: c.peers}, c.active)
			if d.Surplus != c.surplus || d.Full != c.full || !strings.Contains(d.Why, c.why) || (d.Why == "") != (c.why == "") {
				t.Errorf("%+v, want a surplus of %d, full %v and %q", d, c.surplus, c.full, c.why)
			}
			if (d.Err == nil) != (c.err == "") || d.Err != nil && d.Err.Error() != c.err {
				t.Errorf("the error is %v, want %q", d.Err, c.err)
			}
		})
	}
}

// Whatever the counts are, no replica sends away more than it has over the fair share, and one that is within a
// tenth of it begins nothing.
func TestDecideNeverGoesBelowTheShare(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		v := rebalance.View{Ready: random.IntN(10) > 0, Proxies: random.IntN(2000)}
		known, total, replicas := true, v.Proxies, 1
		for range random.IntN(10) {
			p := rebalance.Peer{Proxies: random.IntN(2000), Draining: random.IntN(10) == 0}
			if random.IntN(20) == 0 {
				p.Err = errors.New("no answer")
			}
			if !p.Draining {
				known, total, replicas = known && p.Err == nil, total+p.Proxies, replicas+1
			}
			v.Peers = append(v.Peers, p)
		}
		active := random.IntN(2) == 0
		d := rebalance.Decide(v, active)
		fair := float64(total) / float64(replicas)
		switch {
		case (!known || !v.Ready || replicas == 1) && (d.Surplus != 0 || d.Full || d.Why == ""):
			t.Fatalf("%+v: %+v, want nothing to be moved", v, d)
		case d.Surplus < 0 || d.Surplus > 0 && float64(v.Proxies-d.Surplus) < fair:
			t.Fatalf("%+v: %+v goes below the fair share of %v", v, d, fair)
		case !active && d.Surplus > 0 && float64(v.Proxies) <= 1.1*fair:
			t.Fatalf("%+v: %+v begins within a tenth of the fair share of %v", v, d, fair)
		}
	}
}
