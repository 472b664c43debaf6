package cluster

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// Metrics of the control plane's replicas.
const (
	metricRoot        = "osm_root_info"         // label fingerprint: the CA that it signs with
	metricTrusted     = "osm_trusted_root_info" // label fingerprint: a CA that it trusts
	metricRootExpiry  = "osm_ca_expiry_timestamp_seconds"
	metricProxies     = "osm_proxy_connect_count"
	metricFirstExpiry = "osm_headless_first_expiry_timestamp_seconds" // label pod: namespace/name
	metricStale       = "osm_snapshot_stale_seconds"
	metricBudget      = "osm_headless_budget_seconds" // of replicas without the one above
	labelFingerprint  = "fingerprint"
	labelPod          = "pod"
)

// Replica is one pod of the control plane, with the state that it reports.
type Replica struct {
	App       string // api.AppController or api.AppInjector
	Namespace string
	Pod       string
	Node      string

	// Err is why it could not be asked. If set, the fields below are empty.
	Err error
	// Root is the fingerprint of the CA that it signs with, or "" if it reports none or several.
	Root string
	// Trusted are the fingerprints of the CAs that it trusts, Root among them.
	Trusted map[string]bool
	// RootExpiry is when Root expires, or zero if it does not report that.
	RootExpiry time.Time
	// Proxies is how many are connected to it, or -1 if it does not report that. Injectors have none.
	Proxies int
	// Stale is how long a controller has heard nothing from the API server: 0 if it hears from it, or -1 if it does not
	// report that.
	Stale time.Duration
	// First is when the first certificate of its proxies expires.
	First Expiry
}

// Expiry is when a certificate expires, and whose it is.
type Expiry struct {
	At  time.Time // zero if there is no certificate
	Pod string    // as "namespace/name"; "" if unknown
}

// AskReplicas asks pods of the control plane concurrently, for at most the given time. The results are
// in the order of the pods.
func AskReplicas(ctx context.Context, ask Asker, pods []corev1.Pod, within time.Duration, now time.Time) []Replica {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %s", within))
	defer cancel()
	replicas := make([]Replica, len(pods))
	var asked sync.WaitGroup
	for i := range pods {
		asked.Go(func() { replicas[i] = askReplica(ctx, ask, &pods[i], now) })
	}
	asked.Wait()
	return replicas
}

func askReplica(ctx context.Context, ask Asker, pod *corev1.Pod, now time.Time) Replica {
	replica := Replica{App: pod.Labels[api.LabelApp], Namespace: pod.Namespace, Pod: pod.Name, Node: pod.Spec.NodeName}
	if pod.Status.Phase != corev1.PodRunning {
		replica.Err = fmt.Errorf("pod %s/%s is not running: phase %s", pod.Namespace, pod.Name, pod.Status.Phase)
		return replica
	}
	body, err := ask(ctx, pod, api.PortHTTP, "/metrics")
	if ctx.Err() != nil {
		err = fmt.Errorf("ask pod %s/%s for /metrics: %w", pod.Namespace, pod.Name, context.Cause(ctx))
	}
	if err != nil {
		replica.Err = err
		return replica
	}
	metrics, err := ParseMetrics(body)
	if err != nil {
		replica.Err = fmt.Errorf("ask pod %s/%s for /metrics: %w", pod.Namespace, pod.Name, err)
		return replica
	}
	replica.describe(metrics, now)
	return replica
}

func (r *Replica) describe(metrics Metrics, now time.Time) {
	r.Trusted = metrics.With(metricTrusted, labelFingerprint)
	if roots := metrics.With(metricRoot, labelFingerprint); len(roots) == 1 {
		for root := range roots {
			r.Root = root
			r.Trusted[root] = true
		}
	}
	if expiry, ok := metrics.Number(metricRootExpiry); ok && expiry > 0 {
		r.RootExpiry = unix(expiry)
	}
	r.Proxies = -1
	if count, ok := metrics.Number(metricProxies); ok {
		r.Proxies = int(count)
	}
	r.Stale = -1
	if seconds, ok := metrics.Number(metricStale); ok && seconds >= 0 && seconds < math.MaxInt32 {
		r.Stale = time.Duration(seconds * float64(time.Second))
	}
	r.First = firstExpiry(metrics, now)
}

// firstExpiry is the earliest expiry that a replica reports. A replica older than this osm reports only
// how much time is left, not whose certificate expires.
func firstExpiry(metrics Metrics, now time.Time) Expiry {
	var first Expiry
	for _, sample := range metrics[metricFirstExpiry] {
		if at := unix(sample.Value); sample.Value > 0 && (first.At.IsZero() || at.Before(first.At)) {
			first = Expiry{at, sample.Labels[labelPod]}
		}
	}
	if left, ok := metrics.Number(metricBudget); first.At.IsZero() && ok && !math.IsInf(left, 0) && !math.IsNaN(left) {
		first.At = now.Add(time.Duration(left * float64(time.Second)))
	}
	return first
}

func unix(seconds float64) time.Time {
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))).UTC()
}

// ShortRoot is the part of a root's fingerprint that is shown to people.
func ShortRoot(fingerprint string) string { return fingerprint[:min(8, len(fingerprint))] }
