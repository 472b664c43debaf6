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
	duration prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "osm_admission_requests_total", Help: "Admission requests for pods by result.",
		}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "osm_admission_duration_seconds", Help: "Time to answer an admission request.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register injector metrics: %w", err)
		}
	}
	for _, r := range []requestResult{requestResult(Injected), resultSkipped, requestResult(Unchanged), resultRefused, resultError, resultMalformed} {
		m.requests.WithLabelValues(string(r))
	}
	return m, nil
}

func (m *metrics) observe(result requestResult, took time.Duration) {
	m.requests.WithLabelValues(string(result)).Inc()
	m.duration.Observe(took.Seconds())
}
