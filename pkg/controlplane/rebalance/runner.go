package rebalance

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// interval is the time between two looks at the load.
const interval = time.Second

// Server is the part of an xDS server that is needed; *xds.Server implements it.
type Server interface {
	// Connected is the number of proxies.
	Connected() int
	// Shed sends one proxy to another replica. It returns false if there is none that may be moved.
	Shed() bool
	// TurnAway sends proxies that reconnect with a configuration to other replicas, for a while.
	TurnAway(lasting time.Duration)
}

// Config configures a Runner. All fields but Continuous are required.
type Config struct {
	Server Server
	// Peers returns the other ready replicas, and whether this one is ready too.
	Peers func(context.Context) (peers []Peer, ready bool)
	// Continuous makes the Runner look at the load all the time; else only while there is an order.
	Continuous bool
	// PerSecond is the maximum number of proxies to move each second.
	PerSecond int
	Metrics   prometheus.Registerer
	Log       *slog.Logger
}

// Runner sends away the proxies of one replica that are more than its fair share.
type Runner struct {
	cfg    Config
	order  order
	active bool
	why    string // as logged last
	fair   prometheus.Gauge
	sheds  prometheus.Counter
}

// New returns a Runner and registers its metrics.
func New(cfg Config) (*Runner, error) {
	r := &Runner{
		cfg: cfg,
		fair: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "osm_rebalance_fair_share", Help: "Proxies for each ready replica; 0 while the number of some replica's proxies is unknown, and while nothing is rebalanced. Compare with osm_proxy_connect_count.",
		}),
		sheds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "osm_rebalance_sheds_total", Help: "Proxies whose streams were ended so that they connect to another replica.",
		}),
	}
	for _, c := range []prometheus.Collector{r.fair, r.sheds} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Run looks at the load every second, as long as that is wanted, until ctx ends, and returns nil then.
func (r *Runner) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if ordered := r.order.running(now); ordered || r.cfg.Continuous {
				r.round(ctx, ordered)
			}
		}
	}
}

// round looks at the load once, and moves as many proxies as a second allows.
func (r *Runner) round(ctx context.Context, ordered bool) {
	peers, ready := r.cfg.Peers(ctx)
	d := Decide(View{Ready: ready, Proxies: r.cfg.Server.Connected(), Peers: peers}, r.active || ordered)
	r.fair.Set(d.Fair)
	r.note(d)
	if d.Full {
		// What was known is forgotten soon: a peer that has just failed must not keep its proxies away from here.
		r.cfg.Server.TurnAway(2 * interval)
	}
	r.active = d.Surplus > 0
	moved := r.shed(ctx, min(d.Surplus, r.cfg.PerSecond))
	if ordered && r.order.follow(d, moved) && !r.cfg.Continuous {
		r.active = false
		r.fair.Set(0)
		r.cfg.Log.Info("the order to rebalance has ended", "proxies", r.cfg.Server.Connected(), "reason", r.order.get().Why)
	}
}

// shed moves proxies one after another, as far apart as the rate demands, and returns how many.
func (r *Runner) shed(ctx context.Context, surplus int) (moved int) {
	if surplus <= 0 {
		return 0
	}
	pace := time.NewTicker(interval / time.Duration(r.cfg.PerSecond))
	defer pace.Stop()
	for moved < surplus {
		select {
		case <-ctx.Done():
			return moved
		case <-pace.C:
		}
		if !r.cfg.Server.Shed() {
			return moved
		}
		r.sheds.Inc()
		moved++
	}
	return moved
}

// note logs the beginning and the end of a rebalancing, and why there is none.
func (r *Runner) note(d Decision) {
	switch {
	case d.Why != r.why && d.Why != "":
		r.cfg.Log.Info("no proxy is moved", "reason", d.Why, "error", d.Err)
	case d.Surplus > 0 && !r.active:
		r.cfg.Log.Info("sending proxies to other replicas", "surplus", d.Surplus, "fair", d.Fair)
	case d.Surplus == 0 && r.active:
		r.cfg.Log.Info("the proxies are balanced", "proxies", r.cfg.Server.Connected(), "fair", d.Fair)
	}
	r.why = d.Why
}
