package xds

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
)

// Metrics is what the server counts; labels are bounded, none names a proxy.
type Metrics struct {
	connected prometheus.Gauge
	pushes    *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	nacks     *prometheus.CounterVec
	refused   *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &Metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "osm_proxy_connect_count", Help: "Proxies connected to this replica."}),
		pushes:    counter("osm_xds_pushes_total", "Responses sent to proxies, by type (cds, eds, sds, lds, rds).", "type"),
		bytes:     counter("osm_xds_push_bytes_total", "Encoded size of the responses sent to proxies, by type.", "type"),
		nacks:     counter("osm_xds_nacks_total", "Responses that proxies rejected, by type.", "type"),
		refused:   counter("osm_xds_refused_streams_total", "Streams refused, by reason.", "reason"),
	}
	registry.MustRegister(m.connected, m.pushes, m.bytes, m.nacks, m.refused)
	return m
}

func (m *Metrics) pushed(resp response) {
	typ, ok := typeOf(resp.GetTypeUrl())
	if !ok {
		return
	}
	m.pushes.WithLabelValues(typ.name()).Inc()
	m.bytes.WithLabelValues(typ.name()).Add(float64(proto.Size(resp)))
}
