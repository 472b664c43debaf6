package injector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/tests/catest"
)

// podReview is the review of a pod's creation, given its spec.
func podReview(spec string) []byte {
	return []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE","namespace":"shop",` +
		`"resource":{"version":"v1","resource":"pods"},"object":{"spec":` + spec + `}}}`)
}

// list is n items, the index in place of every %d.
func list(n int, item string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = strings.ReplaceAll(item, "%d", fmt.Sprint(i))
	}
	return "[" + strings.Join(items, ",") + "]"
}

const (
	probing = `{"name":"c%d","livenessProbe":{"httpGet":{"path":"/l","port":80}},"readinessProbe":{"tcpSocket":{"port":81}},"startupProbe":{"grpc":{"port":82}}}`
	oneApp  = `{"name":"app","image":"a"}`
)

// hostileSpecs become as large as they can for their bytes, each in its way.
func hostileSpecs(n int) map[string]string {
	return map[string]string{
		"containers": `{"containers":` + list(n, `{}`) + `}`,
		"probes":     `{"containers":` + list(n, probing) + `}`,
		"volumes":    `{"containers":[` + oneApp + `],"volumes":` + list(n, `{}`) + `}`,
		"ports":      `{"containers":[{"name":"app","ports":` + list(n, `{}`) + `}]}`,
		"env":        `{"containers":[{"name":"app","env":` + list(n, `{}`) + `}]}`,
		"mounts":     `{"containers":[{"name":"app","volumeMounts":` + list(n, `{}`) + `}]}`,
		"args":       `{"containers":[{"name":"app","args":` + list(n, `""`) + `}]}`,
		"headers":    `{"containers":[{"name":"app","livenessProbe":{"httpGet":{"port":80,"httpHeaders":` + list(n, `{}`) + `}}}]}`,
		"numbers":    `{"containers":[{"name":"app"}],"securityContext":{"supplementalGroups":` + list(n, `1`) + `}}`,
		"selector":   `{"containers":[{"name":"app"}],"nodeSelector":{"a":""` + strings.TrimSuffix(strings.ReplaceAll(list(n, `"k%d":""`), "[", ","), "]") + `}}`,
		"path":       `{"containers":[{"name":"app","livenessProbe":{"httpGet":{"port":80,"path":"/` + strings.Repeat("x", 8*n) + `"}}}]}`,
		"unknown":    `{"containers":[{"name":"app"}],"future":` + list(n, `{"a":[]}`) + `}`,
	}
}

// allocated is what f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestCostCoversTheMemory answers reviews without a budget and holds what that allocated against
// what the budget would have set aside.
func TestCostCoversTheMemory(t *testing.T) {
	w := testWebhook(t, enabledNamespace)
	w.limits.ReviewBytes = math.MaxInt64
	w.work = newBudget(math.MaxInt64, math.MaxInt64, nil)
	w.network = newBudget(math.MaxInt64, math.MaxInt64, nil)
	post(w, http.MethodPost, review(nil)) // what is made once
	for _, n := range []int{1, 40, 3000, 30000} {
		for name, spec := range hostileSpecs(n) {
			body := podReview(spec)
			shape, err := measure(body)
			if err != nil {
				t.Fatal(err)
			}
			set := shape.cost(len(body)) + int64(min(3*n, defaultProbes))*costPerProbe*boolean(name == "probes") + costPerProbe
			took := allocated(func() { post(w, http.MethodPost, body) })
			if took > set*detectorsShare {
				t.Errorf("%d %s, %d bytes: %d bytes were set aside and %d allocated, %d per byte", n, name, len(body), set, took, took/int64(len(body)))
			}
			if n == 30000 {
				t.Logf("%-10s %8d bytes: %4d allocated per byte, set aside %4d", name, len(body), took/int64(len(body)), set/int64(len(body)))
			}
		}
	}
}

func boolean(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// TestHostileReviewsStayInMemory sends, at the same time, what took an injector of 2b3ec01 past a
// gigabyte, and more, and watches the heap under the chart's memory limit.
func TestHostileReviewsStayInMemory(t *testing.T) {
	const limit = 256 << 20
	old := debug.SetMemoryLimit(limit / 10 * 9)
	defer debug.SetMemoryLimit(old)
	w := testWebhook(t, enabledNamespace)
	runtime.GC()
	done, highest := make(chan struct{}), make(chan uint64, 1)
	go func() { highest <- peak(done) }()
	var senders sync.WaitGroup
	for source := range 8 {
		for _, n := range []int{40, 3000, 30000} {
			for _, spec := range hostileSpecs(n) {
				senders.Go(func() {
					request := httptest.NewRequest(http.MethodPost, WebhookPath, bytes.NewReader(podReview(spec)))
					request.RemoteAddr = fmt.Sprintf("10.0.0.%d:1", source)
					newHandler(w).ServeHTTP(httptest.NewRecorder(), request)
				})
			}
		}
	}
	senders.Wait()
	close(done)
	if got := <-highest; got > limit {
		t.Errorf("the heap had %d MiB, want at most %d", got>>20, limit>>20)
	} else {
		t.Logf("the heap had %d MiB at most", got>>20)
	}
	if out := post(w, http.MethodPost, review(nil)); out.Code != http.StatusOK {
		t.Errorf("afterwards: %d %s", out.Code, out.Body)
	}
}

// TestLimitIsOfTheUsersContainers injects the largest pod that is allowed twice.
func TestLimitIsOfTheUsersContainers(t *testing.T) {
	w := testWebhook(t, enabledNamespace)
	for n, want := range map[int]bool{defaultContainers: true, defaultContainers + 1: false} {
		once, ok := admit(t, w, `{"spec":{"containers":`+list(n, `{"name":"c%d","image":"a"}`)+`}}`)
		if ok != want {
			t.Fatalf("%d containers: injected %t, want %t", n, ok, want)
		}
		if !ok {
			continue
		}
		if _, ok := admit(t, w, string(marshal(t, once))); !ok {
			t.Errorf("%d containers are not injected again", n)
		}
		once.Spec.Containers = append(once.Spec.Containers, corev1.Container{Name: "more"})
		if _, ok := admit(t, w, string(marshal(t, once))); ok {
			t.Errorf("%d containers are injected again", n+1)
		}
	}
}

// peak watches the heap until done.
func peak(done <-chan struct{}) (highest uint64) {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		highest = max(highest, m.HeapAlloc)
		select {
		case <-done:
			return highest
		case <-ticker.C:
		}
	}
}

// TestLimitsOfReviews asks for the status and the reason of each refusal.
func TestLimitsOfReviews(t *testing.T) {
	tests := map[string]struct {
		body   []byte
		length int64 // when it is not the body's
		status int
		reason refusalReason
	}{
		"too long":             {body: bytes.Repeat([]byte(" "), defaultReviewBytes+1), status: http.StatusRequestEntityTooLarge, reason: reasonSize},
		"as long as it says":   {body: []byte("{}"), length: -1, status: http.StatusBadRequest, reason: reasonMalformed},
		"would be too large":   {body: podReview(hostileSpecs(30000)["containers"]), status: http.StatusRequestEntityTooLarge, reason: reasonMemory},
		"too deep":             {body: podReview(strings.Repeat(`{"a":`, maxDepth+1)), status: http.StatusBadRequest, reason: reasonMalformed},
		"too many containers":  {body: podReview(hostileSpecs(defaultContainers + 1)["containers"]), status: http.StatusOK, reason: reasonContainers},
		"too many probes":      {body: podReview(`{"containers":` + list(defaultProbes/3+1, probing) + `}`), status: http.StatusOK, reason: reasonProbes},
		"too long a path":      {body: podReview(hostileSpecs(maxArgument/8 + 1)["path"]), status: http.StatusOK, reason: reasonArguments},
		"too long a bootstrap": {body: podReview(`{"containers":` + list(50, probing) + `}`), status: http.StatusOK, reason: reasonArguments},
		"too long a list": {body: review(func(r map[string]any) {
			ports := strings.Trim(list(30000, "%d"), "[]")[len("0,"):]
			r["object"] = map[string]any{"metadata": map[string]any{"annotations": map[string]any{"openservicemesh.io/inbound-port-exclusion-list": ports}}}
		}), status: http.StatusOK, reason: reasonArguments},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := testWebhook(t, enabledNamespace)
			w.namespaces = knownNamespace{}
			request := httptest.NewRequest(http.MethodPost, WebhookPath, bytes.NewReader(tt.body))
			if tt.length != 0 {
				request.ContentLength = tt.length
			}
			out := httptest.NewRecorder()
			newHandler(w).ServeHTTP(out, request)
			if out.Code != tt.status {
				t.Errorf("status %d, want %d: %s", out.Code, tt.status, out.Body)
			}
			namespace := ""
			if tt.status == http.StatusOK {
				namespace = "shop"
				got := &admissionv1.AdmissionReview{}
				if err := json.Unmarshal(out.Body.Bytes(), got); err != nil || got.Response.Allowed {
					t.Errorf("allowed, or %v", err)
				}
			}
			if n := testutil.ToFloat64(w.metrics.refused.WithLabelValues(string(tt.reason), namespace)); n != 1 {
				t.Errorf("counted %v times as %s of %q: %s", n, tt.reason, namespace, out.Body)
			}
			if n := testutil.ToFloat64(w.metrics.inFlight.WithLabelValues("work")) + testutil.ToFloat64(w.metrics.inFlight.WithLabelValues("network")); n != 0 {
				t.Errorf("%v bytes are still set aside", n)
			}
		})
	}
}

// knownNamespace is a cache that holds every namespace.
type knownNamespace struct{}

func (knownNamespace) Known(name string) (Namespace, bool) {
	ns, err := enabledNamespace(name)
	return ns, err == nil
}
func (knownNamespace) Namespace(_ context.Context, name string) (Namespace, error) {
	return enabledNamespace(name)
}

// TestUnknownNamespacesAreNoLabels keeps a stranger from making labels by naming namespaces.
func TestUnknownNamespacesAreNoLabels(t *testing.T) {
	w := testWebhook(t, enabledNamespace)
	for i := range 50 {
		post(w, http.MethodPost, bytes.Replace(podReview(hostileSpecs(defaultContainers + 1)["containers"]), []byte(`"shop"`), fmt.Appendf(nil, `"made-up-%d"`, i), 1))
	}
	if n := testutil.CollectAndCount(w.metrics.refused); n != len(refusalReasons()) {
		t.Errorf("%d series, want %d", n, len(refusalReasons()))
	}
	if n := testutil.ToFloat64(w.metrics.refused.WithLabelValues(string(reasonContainers), "")); n != 50 {
		t.Errorf("%v refusals", n)
	}
}

// TestSlowBodiesEnd is a whole injector to which one address sends thirty large reviews without ending
// them. The API server's are answered meanwhile, and the others' connections end within the time that a
// review may take.
func TestSlowBodiesEnd(t *testing.T) {
	cfg := testConfig(t)
	cfg.Settings.Limits.Read = 2 * time.Second
	authority := catest.New(t)
	p, end := running(t, cfg, meshConfigClient(), fake.NewClientset(servingSecret(t, authority)))
	ask(t, cfg.Address, authority.Trust())

	start := time.Now()
	ended := make(chan error, 30)
	for range cap(ended) {
		conn := slowReview(t, cfg.Address)
		go func() {
			_ = conn.SetReadDeadline(start.Add(30 * time.Second))
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
	}
	for range 5 {
		if response := ask(t, cfg.Address, authority.Trust()); !response.Allowed || len(response.Patch) == 0 {
			t.Errorf("an honest review: %+v", response)
		}
	}
	if took := time.Since(start); took > cfg.Settings.Limits.Read {
		t.Logf("this machine is too slow to say that honest reviews were answered meanwhile: %v", took)
	}
	for range cap(ended) {
		if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a slow review is still open after 30 s")
		}
	}
	if n := testutil.ToFloat64(p.metrics.refused.WithLabelValues(string(reasonSlow), "")); n == 0 {
		t.Error("no slow review was counted")
	}
	end()
}

// slowReview sends the beginning of a review of the largest size, as 127.0.0.2.
func slowReview(t *testing.T, address string) net.Conn {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", WebhookPath, defaultReviewBytes, strings.Repeat(" ", 1000)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestNamesAreClipped sends names as long as a review.
func TestNamesAreClipped(t *testing.T) {
	long := strings.Repeat("ü", 100000)
	w := testWebhook(t, enabledNamespace)
	out := post(w, http.MethodPost, podReview(`{"containers":[{"name":"`+long+`","livenessProbe":{"httpGet":{"port":"`+long+`"}}}]}`))
	if out.Body.Len() > 2*maxMessage {
		t.Errorf("an answer of %d bytes", out.Body.Len())
	}
	if clip("üü", 3) != "ü..." || clip("ab", 2) != "ab" {
		t.Errorf("clip: %q %q", clip("üü", 3), clip("ab", 2))
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
	err := Limits{ReviewBytes: -1, Containers: -1, Probes: -1, Read: -1, Connections: -1, PerSource: -1}.Validate()
	for _, want := range []string{"--max-review-size", "--max-containers", "--max-probes", "--review-timeout", "--max-connections", "--max-connections-per-source"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s in it", err, want)
		}
	}
	if err := (Limits{ReviewBytes: 64 << 20}).Validate(); err == nil || !strings.Contains(err.Error(), "--max-review-memory") {
		t.Errorf("a review that never fits: %v", err)
	}
}
