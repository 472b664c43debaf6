package controller

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// plaintextNamed is how many Services osm_plaintext_endpoints names; all others are counted together.
const plaintextNamed = 200

// plaintext collects the number of endpoints of the mesh's Services that clients reach in plain text,
// because they have no sidecar.
type plaintext struct {
	snapshot func() *mesh.Snapshot
	desc     *prometheus.Desc
}

func newPlaintext(snapshot func() *mesh.Snapshot) *plaintext {
	return &plaintext{snapshot, prometheus.NewDesc("osm_plaintext_endpoints",
		"Endpoints of meshed Services that clients reach in plain text, since they have no sidecar and egress is allowed; Services beyond the first 200 are one, without a name.",
		[]string{"namespace", "service"}, nil)}
}

// Describe implements prometheus.Collector.
func (p *plaintext) Describe(descs chan<- *prometheus.Desc) { descs <- p.desc }

// Collect implements prometheus.Collector.
func (p *plaintext) Collect(metrics chan<- prometheus.Metric) {
	snapshot := p.snapshot()
	if snapshot == nil {
		return
	}
	named, others := 0, 0
	decisions := policy.Decide(snapshot.Settings(), snapshot.Rules())
	for _, s := range snapshot.Services() {
		n := decisions.PlaintextEndpoints(s)
		switch {
		case n == 0:
		case named == plaintextNamed:
			others += n
		default:
			named++
			metrics <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, float64(n), s.Name.Namespace, s.Name.Name)
		}
	}
	if others > 0 {
		metrics <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, float64(others), "", "")
	}
}
