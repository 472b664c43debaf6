package injector

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestResult is the label value of an admission request's end: an Outcome or one of these.
type requestResult string

const (
	resultSkipped   = requestResult(Skipped)
	resultRefused   = requestResult("refused")
	resultError     = requestResult("error")
	resultMalformed = requestResult("malformed")
)

// metrics are what a webhook counts.
type metrics struct {
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	duration prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "osm_admission_requests_total", Help: "Admission requests for pods by result.",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "osm_admission_refused_total", Help: "Reviews and pods refused by reason and, where it is a namespace of the mesh, the pod's namespace.",
		}, []string{"reason", "namespace"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "osm_admission_in_flight_bytes", Help: "Memory set aside for reviews at the moment, by use: network (bodies and answers) or work (estimate).",
		}, []string{"use"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "osm_admission_duration_seconds", Help: "Time to answer an admission request.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.refused, m.inFlight, m.duration} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register injector metrics: %w", err)
		}
	}
	for _, r := range []requestResult{requestResult(Injected), resultSkipped, resultRefused, resultError, resultMalformed} {
		m.requests.WithLabelValues(string(r))
	}
	for _, r := range refusalReasons() {
		m.refused.WithLabelValues(string(r), "")
	}
	return m, nil
}

func (m *metrics) refuse(reason refusalReason, namespace string) {
	m.refused.WithLabelValues(string(reason), namespace).Inc()
}

func (m *metrics) observe(result requestResult, took time.Duration) {
	m.requests.WithLabelValues(string(result)).Inc()
	m.duration.Observe(took.Seconds())
}
