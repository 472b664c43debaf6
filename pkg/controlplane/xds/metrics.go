package xds

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// Metrics is what the server counts. Labels are bounded, and name a proxy only when it exceeds a limit.
type Metrics struct {
	connected   prometheus.Gauge
	pending     prometheus.Gauge
	rejected    prometheus.Gauge
	refused     *prometheus.CounterVec
	connections *prometheus.CounterVec
	limited     *prometheus.CounterVec
	// By type.
	pushes, bytes, nacks [envoy.NumKinds]prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registry.MustRegister(c)
		return c
	}
	m := &Metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "osm_proxy_connect_count", Help: "Proxies connected to this replica."}),
		pending:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "osm_xds_pending_connections", Help: "Connections without an accepted stream."}),
		rejected:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "osm_xds_rejected_resources", Help: "Resources that connected proxies currently reject, counted once for each proxy."}),
		refused:   counter("osm_xds_refused_streams_total", "Streams refused, by reason.", "reason"),

		connections: counter("osm_xds_refused_connections_total", "Connections closed by a limit, by limit.", "limit"),
		limited:     counter("osm_xds_limited_total", "Refusals to pods, identities and addresses that exceeded a limit; 100 of them are named.", "limit", "offender"),
	}
	registry.MustRegister(m.connected, m.pending, m.rejected)
	pushes := counter("osm_xds_pushes_total", "Responses sent to proxies, by type (cds, eds, sds, lds, rds).", "type")
	bytes := counter("osm_xds_push_bytes_total", "Encoded size of the responses sent to proxies, by type.", "type")
	nacks := counter("osm_xds_nacks_total", "Responses that proxies rejected, by type.", "type")
	for t := range envoy.NumKinds {
		m.pushes[t], m.bytes[t], m.nacks[t] = pushes.WithLabelValues(t.String()), bytes.WithLabelValues(t.String()), nacks.WithLabelValues(t.String())
	}
	return m
}

func (m *Metrics) pushed(resp *response) {
	m.pushes[resp.typ].Inc()
	m.bytes[resp.typ].Add(float64(resp.size))
}
