package controller

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/coalesce"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// rebuildLimit is how long one rebuild may take before liveness calls the loop dead.
const rebuildLimit = 2 * time.Minute

// pipeline runs the pure part: objects -> snapshot -> configuration, published to xDS.
type pipeline struct {
	p         *process
	state     *ingest.State
	builder   *envoy.Builder
	current   *mesh.Snapshot                // what the published configuration was built from
	seen      atomic.Pointer[mesh.Snapshot] // the same, for others than the loop
	profile   leafcache.Profile             // of service certificates, as the MeshConfig had it last
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
	stale := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "osm_snapshot_stale_seconds", Help: "How long the API server has not been heard of; 0 when all is well."}, func() float64 {
		if since, _, failing := p.watch.Failing(); failing {
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

// beat keeps the loop turning, and liveness informed of it, while nothing changes.
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

// rebuild is the trigger's function. What cannot be built leaves the last good configuration in force.
func (l *pipeline) rebuild(context.Context) {
	l.heartbeat.Beat()
	if !l.p.dirty.Swap(false) {
		return
	}
	if err := l.build(); err != nil {
		l.failed.Inc()
		l.p.cfg.Log.Error("the mesh's new configuration cannot be built, the last one stays in force", "error", err)
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

// setProfile has certificates reissued that are not as they should be, spread over some minutes:
// those of this replica by Leaves, those that proxies brought from others by xDS.
func (l *pipeline) setProfile(p leafcache.Profile) {
	l.p.leaves.SetProfile(p)
	if l.current != nil && p != l.profile {
		l.p.xds.Reissue(leafcache.MaxReissueTime)
	}
	l.profile = p
}

// runningPods are the pods whose proxies are to be connected somewhere: those that have an address.
// One that is only about to start will be given what is in force then.
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

// report tells people what is wrong with their objects.
func (l *pipeline) report(found []ingest.Problem) {
	l.problemN.Set(float64(len(found)))
	texts := make([]string, len(found))
	for i, problem := range found {
		texts[i] = problem.String()
	}
	l.problems.report("objects", texts...)
}

// profile is what the mesh's configuration says about service certificates.
func profile(config *v1alpha2.MeshConfig) leafcache.Profile {
	if config == nil {
		return leafcache.Profile{}
	}
	return leafcache.Profile{
		Validity: config.Spec.Certificate.ServiceCertValidityDuration.Duration,
		KeyBits:  config.Spec.Certificate.CertKeyBitSize,
	}
}

// logLevel is what the mesh's configuration says about the control plane's logs.
func logLevel(config *v1alpha2.MeshConfig) string {
	if config == nil {
		return ""
	}
	return config.Spec.Observability.OSMLogLevel
}

// problems logs each problem once, when it appears, however often it is found.
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
