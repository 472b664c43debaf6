package serve

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
)

// ProcessConfig configures a Process.
type ProcessConfig struct {
	// HTTPAddress is where /livez, /readyz, /metrics and /version are served.
	HTTPAddress string
	Version     Version
	// Health and Metrics are what is served; nil means new ones. Tests pass their own to inspect them.
	Health  *Health
	Metrics *prometheus.Registry
	Log     *slog.Logger
}

// Process is the frame of a control-plane process: health, metrics, the HTTP server that serves them, and
// the order of start and stop. The controller and the injector each run inside one.
type Process struct {
	Health   *Health
	Metrics  *prometheus.Registry
	Refusals *Refusals // of connections to the process's HTTP servers

	cfg ProcessConfig
}

// NewProcess returns a Process with the metrics of the Go runtime.
func NewProcess(cfg ProcessConfig) (*Process, error) {
	p := &Process{Health: cfg.Health, Metrics: cfg.Metrics, cfg: cfg}
	if p.Health == nil {
		p.Health = NewHealth(nil)
	}
	if p.Metrics == nil {
		p.Metrics = prometheus.NewRegistry()
	}
	p.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	p.Refusals, err = NewRefusals(p.Metrics, cfg.Log)
	return p, err
}

// Run serves health and metrics while body runs, and returns when everything in the group has ended. It
// returns nil after an orderly stop.
//
// body gets two contexts. starting ends with ctx, which tells the process to stop, or when something in
// the group fails. serving outlives ctx, so that a drain can be watched, and ends when body has returned.
func (p *Process) Run(ctx context.Context, body func(starting, serving context.Context, group *errgroup.Group) error) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return p.serveHTTP(serving) })

	starting, started := context.WithCancel(ctx)
	defer started()
	context.AfterFunc(serving, started)
	err := body(starting, serving, group)
	stop()
	if failed := group.Wait(); failed != nil && !errors.Is(failed, context.Canceled) {
		return failed
	}
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Canceled)) {
		return nil // it was asked to stop while it started
	}
	return err
}

func (p *Process) serveHTTP(ctx context.Context) error {
	handler := Handler(p.Health, p.Metrics, p.cfg.Version)
	return HTTPServer{Addr: p.cfg.HTTPAddress, Handler: handler, Refused: p.Refusals.Of("http"), Log: p.cfg.Log}.Run(ctx)
}
