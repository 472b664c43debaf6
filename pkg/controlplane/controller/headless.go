package controller

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// headless tells, at each scrape, how long the proxies connected here keep valid certificates
// without a control plane (HA-14), so that a renewal that hangs shows as a shrinking budget.
type headless struct {
	first          func() (at time.Time, pod mesh.PodName, ok bool)
	now            func() time.Time
	budget, expiry *prometheus.Desc
}

func newHeadless(first func() (time.Time, mesh.PodName, bool), now func() time.Time) headless {
	return headless{
		first: first, now: now,
		budget: prometheus.NewDesc("osm_headless_budget_seconds",
			"How long the proxies connected here keep valid certificates without a control plane; +Inf without proxies.", nil, nil),
		expiry: prometheus.NewDesc("osm_headless_first_expiry_timestamp_seconds",
			"When the first certificate of a proxy connected here expires, as Unix time, and which pod's that is; absent without proxies.", []string{"pod"}, nil),
	}
}

// Describe is part of prometheus.Collector.
func (h headless) Describe(descs chan<- *prometheus.Desc) { descs <- h.budget; descs <- h.expiry }

// Collect is part of prometheus.Collector.
func (h headless) Collect(metrics chan<- prometheus.Metric) {
	at, pod, ok := h.first()
	budget := math.Inf(1)
	if ok {
		budget = max(0, at.Sub(h.now().Round(0)).Seconds())
		metrics <- prometheus.MustNewConstMetric(h.expiry, prometheus.GaugeValue, float64(at.Unix()), pod.String())
	}
	metrics <- prometheus.MustNewConstMetric(h.budget, prometheus.GaugeValue, budget)
}
