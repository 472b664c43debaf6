package ca

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts certificates and Secrets and shows the roots. A nil *Metrics does nothing.
type Metrics struct {
	certs    *prometheus.CounterVec
	caExpiry prometheus.Gauge
	rootInfo *prometheus.GaugeVec
	trusted  *prometheus.GaugeVec
	secrets  *prometheus.CounterVec
	registry prometheus.Registerer
}

// NewMetrics registers the metrics of the package.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		certs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "osm_cert_issued_total", Help: "Certificates requested, by usage (service, proxy, serving) and result (ok, error).",
		}, []string{"usage", "result"}),
		caExpiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "osm_ca_expiry_timestamp_seconds", Help: "When the CA that signs certificates expires, as Unix time.",
		}),
		rootInfo: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "osm_root_info", Help: "Always 1; the label is the SHA-256 of the CA that this replica signs with, equal on all replicas.",
		}, []string{"fingerprint"}),
		trusted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "osm_trusted_root_info", Help: "Always 1; one series for each CA that this replica trusts, by the SHA-256 of the CA, equal on all replicas.",
		}, []string{"fingerprint"}),
		secrets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "osm_proxy_secret_operations_total", Help: "Work on proxies' client certificate Secrets, by operation (write, delete, probe) and result (ok, error).",
		}, []string{"operation", "result"}),
		registry: registry,
	}
	for _, c := range []prometheus.Collector{m.certs, m.caExpiry, m.rootInfo, m.trusted, m.secrets} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register certificate metrics: %w", err)
		}
	}
	return m, nil
}

// Measured wraps an external provider: it counts the leaves issued and shows the CA. An Issuer does so itself.
func Measured(authority Authority, metrics *Metrics) Authority {
	metrics.rootLoaded(authority.Trust())
	return measured{authority, metrics}
}

type measured struct {
	Authority
	metrics *Metrics
}

// Issue passes the request on and counts it.
func (m measured) Issue(ctx context.Context, req Request) (*Leaf, error) {
	leaf, err := m.Authority.Issue(ctx, req)
	m.metrics.issued(req.Usage, err)
	return leaf, err
}

func (m *Metrics) issued(usage Usage, err error) {
	if m != nil {
		m.certs.WithLabelValues(string(usage), result(err)).Inc()
	}
}

// ShowRoots shows the trust of a process that signs nothing: its root is the CA that signed its own
// certificate.
func (m *Metrics) ShowRoots(trust Trust) { m.rootLoaded(trust) }

func (m *Metrics) rootLoaded(trust Trust) {
	if m != nil {
		m.caExpiry.Set(float64(trust.NotAfter.Unix()))
		m.rootInfo.Reset()
		m.rootInfo.WithLabelValues(trust.Fingerprint).Set(1)
		m.trusted.Reset()
		for _, fingerprint := range trust.Fingerprints() {
			m.trusted.WithLabelValues(fingerprint).Set(1)
		}
	}
}

// CountSecret counts an operation on a proxy's Secret.
func (m *Metrics) CountSecret(operation string, err error) {
	if m != nil {
		m.secrets.WithLabelValues(operation, result(err)).Inc()
	}
}

// CountLeaves registers a gauge for the number of cached leaves, which a scrape reads.
func (m *Metrics) CountLeaves(count func() int) error {
	if m == nil {
		return nil
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "osm_leaf_certificates", Help: "Identities whose certificate this replica keeps current.",
	}, func() float64 { return float64(count()) })
	if err := m.registry.Register(gauge); err != nil {
		return fmt.Errorf("register certificate metrics: %w", err)
	}
	return nil
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
