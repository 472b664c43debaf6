package controller

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/coalesce"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// rebuildLimit is how long one rebuild may take before the liveness probe fails.
const rebuildLimit = 2 * time.Minute

// pipeline runs the pure part: objects -> snapshot -> configuration, and publishes the result to xDS.
type pipeline struct {
	p         *process
	state     *ingest.State
	builder   *envoy.Builder
	current   *mesh.Snapshot                // the snapshot of the published configuration
	seen      atomic.Pointer[mesh.Snapshot] // the same, for other goroutines
	profile   leafcache.Profile             // of service certificates, from the last MeshConfig
	problems  *problems
	heartbeat *serve.Heartbeat
	built     prometheus.Histogram
	resources *prometheus.CounterVec
	failed    prometheus.Counter
	problemN  prometheus.Gauge
	published prometheus.Gauge
}

func newPipeline(p *process) *pipeline {
	l := &pipeline{
		p:        p,
		state:    ingest.NewState(p.cfg.MeshName, p.cfg.TrustDomain),
		problems: &problems{log: p.cfg.Log},
		built: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "osm_snapshot_build_seconds", Help: "Time to build the configuration of the mesh from its objects.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		resources: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "osm_resources_built_total", Help: "Resources that were built and encoded, by type (cds, eds, lds, rds): what changes cost, whatever the number of proxies.",
		}, []string{"type"}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "osm_snapshot_build_failures_total", Help: "Configurations that could not be built; the last good one was kept."}),
		problemN: prometheus.NewGauge(prometheus.GaugeOpts{Name: "osm_problems", Help: "Objects of users that have no or only partial effect; the log names them."}),
	}
	l.published = prometheus.NewGauge(prometheus.GaugeOpts{Name: "osm_snapshot_timestamp_seconds", Help: "When the configuration in force was built."})
	stale := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "osm_snapshot_stale_seconds", Help: "How long the API server has not been heard from; 0 when it answers."},
		func() float64 {
			if since, _, ok := p.unheard(); ok {
				return time.Since(since).Seconds()
			}
			return 0
		})
	p.registry.MustRegister(l.built, l.failed, l.problemN, l.published, l.resources, stale)
	l.state.SetLimits(p.cfg.Sidecars)
	p.registry.MustRegister(newPlaintext(l.seen.Load))
	l.builder = l.newBuilder()
	l.heartbeat = p.health.Heartbeat("configuration", rebuildLimit)
	return l
}

func (l *pipeline) newBuilder() *envoy.Builder {
	return envoy.NewBuilder(func(k envoy.Kind) { l.resources.WithLabelValues(k.String()).Inc() })
}

// beat triggers the loop while nothing changes, so that its heartbeat continues.
func (l *pipeline) beat(ctx context.Context) error {
	ticker := time.NewTicker(rebuildLimit / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.p.trigger.Kick()
		case <-ctx.Done():
			return nil
		}
	}
}

// rebuild is the trigger's function. If the build fails, the last good configuration stays in force.
func (l *pipeline) rebuild(context.Context) {
	l.heartbeat.Beat()
	if !l.p.dirty.Swap(false) {
		return
	}
	if err := l.build(); err != nil {
		l.failed.Inc()
		l.p.cfg.Log.Error("cannot build the new configuration, keeping the last one", "error", err)
	}
}

func (l *pipeline) build() error {
	start := time.Now()
	l.p.watch.Update(l.state)
	snapshot, found := l.state.Snapshot()
	meshConfig := l.p.watch.MeshConfig()
	l.setProfile(profile(meshConfig))
	l.p.cfg.Level.Override(logLevel(meshConfig))
	l.report(found)
	if snapshot == l.current {
		return nil
	}
	config, err := l.builder.Build(snapshot)
	if err != nil {
		return err
	}
	l.current = snapshot
	l.seen.Store(snapshot)
	l.p.xds.Publish(config)
	if err := l.p.trigger.Resize(coalesce.FleetWindow(l.p.xds.Connected())); err != nil {
		return err
	}
	l.built.Observe(time.Since(start).Seconds())
	l.published.SetToCurrentTime()
	return nil
}

// setProfile reissues certificates that no longer match the profile, spread over some minutes: Leaves
// reissues those of this replica, and xDS those that proxies brought from other replicas.
func (l *pipeline) setProfile(p leafcache.Profile) {
	l.p.leaves.SetProfile(p)
	if l.current != nil && p != l.profile {
		l.p.xds.Reissue(leafcache.MaxReissueTime)
	}
	l.profile = p
}

// runningPods are the pods whose proxies should be connected to some replica: those with an address. A pod
// that is still starting will get the configuration in force when it connects.
func (l *pipeline) runningPods() []mesh.PodName {
	snapshot := l.seen.Load()
	if snapshot == nil {
		return nil
	}
	var pods []mesh.PodName
	for _, w := range snapshot.Workloads() {
		if len(w.Addresses) > 0 {
			pods = append(pods, w.Name)
		}
	}
	return pods
}

// report logs the problems of users' objects.
func (l *pipeline) report(found []ingest.Problem) {
	l.problemN.Set(float64(len(found)))
	texts := make([]string, len(found))
	for i, problem := range found {
		texts[i] = problem.String()
	}
	l.problems.report("objects", texts...)
}

// profile returns the MeshConfig's settings for service certificates.
func profile(config *v1alpha2.MeshConfig) leafcache.Profile {
	if config == nil {
		return leafcache.Profile{}
	}
	return leafcache.Profile{
		Validity: config.Spec.Certificate.ServiceCertValidityDuration.Duration,
		KeyBits:  config.Spec.Certificate.CertKeyBitSize,
	}
}

// logLevel returns the MeshConfig's log level of the control plane.
func logLevel(config *v1alpha2.MeshConfig) string {
	if config == nil {
		return ""
	}
	return config.Spec.Observability.OSMLogLevel
}

// problems logs each problem once, when it first appears.
type problems struct {
	log *slog.Logger

	mu    sync.Mutex
	known map[string][]string
}

func (p *problems) report(about string, texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[string][]string{}
	}
	for _, text := range texts {
		if !slices.Contains(p.known[about], text) {
			p.log.Warn("object is ignored or only partly applied", "problem", text)
		}
	}
	p.known[about] = texts
}
