package cluster_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/tests/reach"
)

// podProxy answers for pods in place of an API server: by name the body of /metrics, "hang" for
// none at all, and an error for those that it does not know.
type podProxy map[string]string

func (p podProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	for name, body := range p {
		if !strings.HasSuffix(r.URL.Path, "/pods/http:"+name+":9091/proxy/metrics") {
			continue
		}
		if body == "hang" {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return answer(r, http.StatusOK, "text/plain", body), nil
	}
	return answer(r, http.StatusServiceUnavailable, "text/plain", "error trying to reach service: connection refused\nmore"), nil
}

func answer(r *http.Request, code int, kind, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func pod(name string, phase corev1.PodPhase) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "osm-system", Labels: map[string]string{"app": "osm-controller"}},
		Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: phase}}
}

const full = `# TYPE osm_root_info gauge
osm_root_info{fingerprint="aaaa"} 1
osm_trusted_root_info{fingerprint="aaaa"} 1
osm_trusted_root_info{fingerprint="bbbb"} 1
osm_trusted_root_info{fingerprint="cccc"} 0
osm_ca_expiry_timestamp_seconds 1.7985e+09
# TYPE osm_proxy_connect_count gauge
osm_proxy_connect_count 7
# TYPE osm_snapshot_stale_seconds gauge
osm_snapshot_stale_seconds 12.5
# TYPE osm_headless_budget_seconds gauge
osm_headless_budget_seconds 60
osm_headless_first_expiry_timestamp_seconds{pod="shop/late"} 1.7984000015e+09
osm_headless_first_expiry_timestamp_seconds{pod="shop/soon"} 1.7983e+09
# TYPE osm_snapshot_build_seconds histogram
osm_snapshot_build_seconds_bucket{le="+Inf"} 3
osm_snapshot_build_seconds_sum 1
osm_snapshot_build_seconds_count 3
# TYPE osm_xds_pushes_total counter
osm_xds_pushes_total{type="cds"} 3
`

// All are asked at once: one that hangs costs its time and nobody else's answer.
func TestAskReplicas(t *testing.T) {
	pods := []corev1.Pod{pod("hangs-1", corev1.PodRunning), pod("full", corev1.PodRunning), pod("refuses", corev1.PodRunning),
		pod("pending", corev1.PodPending), pod("garbage", corev1.PodRunning), pod("empty", corev1.PodRunning), pod("hangs-2", corev1.PodRunning)}
	proxy := podProxy{"hangs-1": "hang", "hangs-2": "hang", "full": full, "garbage": "<html>", "empty": ""}
	want := []string{"no answer within 3s", "", "connection refused", "is not running: phase Pending", "read metrics", "", "no answer within 3s"}
	synctest.Test(t, func(t *testing.T) {
		client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: proxy, QPS: 100, Burst: 100})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		replicas := cluster.AskReplicas(t.Context(), cluster.ByProxy(client), pods, 3*time.Second, start)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %s, want the 3s that the hanging ones cost together", took)
		}
		for i, replica := range replicas {
			if replica.Pod != pods[i].Name || replica.App != "osm-controller" || replica.Node != "n1" {
				t.Errorf("%d: %+v", i, replica)
			}
			if text := fmt.Sprint(replica.Err); (want[i] == "") != (replica.Err == nil) || !strings.Contains(text, want[i]) && want[i] != "" || strings.Contains(text, "\n") {
				t.Errorf("%s: error %q, want %q", replica.Pod, text, want[i])
			}
		}
		full, empty := replicas[1], replicas[5]
		if full.Root != "aaaa" || len(full.Trusted) != 2 || !full.Trusted["bbbb"] || full.Proxies != 7 || full.Stale != 12500*time.Millisecond || full.RootExpiry.Unix() != 1798500000 {
			t.Errorf("got %+v", full)
		}
		if full.First.Pod != "shop/soon" || full.First.At.Unix() != 1798300000 {
			t.Errorf("first expiry %+v, want that of shop/soon", full.First)
		}
		if empty.Root != "" || empty.Proxies != -1 || empty.Stale != -1 || !empty.RootExpiry.IsZero() || !empty.First.At.IsZero() {
			t.Errorf("from nothing came %+v", empty)
		}
	})
}

// A controller that is older than this osm tells its budget only, +Inf when it has no proxies.
func TestBudgetOfAnOlderReplica(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"3600.5": 3600500 * time.Millisecond, "+Inf": 0, "NaN": 0} {
		client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: podProxy{"old": "osm_headless_budget_seconds " + text + "\nosm_root_info{fingerprint=\"a\"} 1\nosm_root_info{fingerprint=\"b\"} 1\n"}})
		if err != nil {
			t.Fatal(err)
		}
		old := cluster.AskReplicas(t.Context(), cluster.ByProxy(client), []corev1.Pod{pod("old", corev1.PodRunning)}, time.Minute, now)[0]
		if old.Err != nil || old.Root != "" {
			t.Errorf("%s: %+v; want no root, since there are two", text, old)
		}
		if known := !old.First.At.IsZero(); known != (want > 0) || known && old.First.At.Sub(now) != want {
			t.Errorf("%s: first expiry %v, want %s from now", text, old.First.At, want)
		}
	}
}

// What the control plane's own metrics handler writes for the headers that a client of the API
// server sends can be read.
func TestAskRealHandler(t *testing.T) {
	registry := prometheus.NewRegistry()
	first := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "osm_headless_first_expiry_timestamp_seconds"}, []string{"pod"})
	registry.MustRegister(first, prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", NativeHistogramBucketFactor: 1.1}))
	first.WithLabelValues("shop/till-0").Set(1798300000.25)
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		return recorder.Result(), nil
	})
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	replica := cluster.AskReplicas(t.Context(), cluster.ByProxy(client), []corev1.Pod{pod("a", corev1.PodRunning)}, time.Minute, time.Now())[0]
	if replica.Err != nil || replica.First.Pod != "shop/till-0" || replica.First.At.UnixMilli() != 1798300000250 {
		t.Errorf("got %+v", replica)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestParseMetrics(t *testing.T) {
	metrics, err := cluster.ParseMetrics([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := metrics.Number("osm_proxy_connect_count"); !ok || n != 7 {
		t.Errorf("gauge: %v, %t", n, ok)
	}
	if n, ok := metrics.Number("osm_xds_pushes_total"); !ok || n != 3 {
		t.Errorf("counter: %v, %t", n, ok)
	}
	for _, name := range []string{"osm_snapshot_build_seconds", "osm_trusted_root_info", "none"} {
		if n, ok := metrics.Number(name); ok {
			t.Errorf("%s is %v; want no number", name, n)
		}
	}
	for _, broken := range []string{"osm_x{", "osm_x one\n", "# TYPE osm_x gauge\n# TYPE osm_x gauge\n"} {
		if _, err := cluster.ParseMetrics([]byte(broken)); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}

// Whatever a pod answers, reading it ends, and the samples carry what was asked for.
func FuzzParseMetrics(f *testing.F) {
	for _, seed := range []string{full, "", "a 1\n", "a{b=\"c\"} NaN\n", "# TYPE a summary\na{quantile=\"0.5\"} 1\na_sum 1\na_count 1\n", "\xff\xfe", "{\"a\",b=\"c\"} 1\n"} {
		f.Add([]byte(seed))
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		metrics, err := cluster.ParseMetrics(text)
		outcomes.Error(err)
		if err != nil && metrics != nil {
			t.Error("metrics beside an error")
		}
		for name, samples := range metrics {
			if len(samples) == 0 || slices.ContainsFunc(samples, func(s cluster.Sample) bool { return s.Labels == nil }) {
				t.Errorf("%q: %+v", name, samples)
			}
		}
	})
}
