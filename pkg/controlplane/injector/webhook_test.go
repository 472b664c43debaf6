package injector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/reach"
)

// namespaceFunc is a namespaceReader.
type namespaceFunc func(name string) (Namespace, error)

func (f namespaceFunc) Known(string) (Namespace, bool) { return Namespace{}, false }

func (f namespaceFunc) Namespace(_ context.Context, name string) (Namespace, error) { return f(name) }

func enabledNamespace(name string) (Namespace, error) {
	return Namespace{Name: name, Labels: map[string]string{api.LabelMonitoredBy: "osm"}, Annotations: map[string]string{api.AnnotationInjection: "enabled"}}, nil
}

func testWebhook(t testing.TB, namespaces namespaceFunc) *webhook {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	w := newWebhook(namespaces, testSettings, m, slog.New(slog.DiscardHandler), time.Now)
	w.secret = func() string { return "ALWAYSTHESAME" }
	return w
}

// TestHookPathsAreSecret: each review has a secret of its own, and it is not what labels publish.
func TestHookPathsAreSecret(t *testing.T) {
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	w := newWebhook(namespaceFunc(enabledNamespace), testSettings, m, slog.New(slog.DiscardHandler), time.Now)
	const pod = `{"spec":{"containers":[{"name":"app","lifecycle":{"preStop":{"httpGet":{"path":"/leave","port":8080}}}}]}}`
	seen := map[string]bool{}
	for range 3 {
		injected, ok := admit(t, w, pod)
		if !ok {
			t.Fatal("not injected")
		}
		path := injected.Spec.Containers[0].Lifecycle.PreStop.HTTPGet.Path
		secret := path[strings.LastIndex(path, "/")+1:]
		if len(secret) < 26 || seen[secret] || strings.Contains(secret, injected.Labels[api.LabelProxyUUID]) {
			t.Errorf("path %s: want a secret of its own at the end", path)
		}
		seen[secret] = true
	}
}

// review returns the body of a review; change edits its request.
func review(change func(request map[string]any)) []byte {
	request := map[string]any{
		"uid": "abc", "operation": "CREATE", "namespace": "shop",
		"resource": map[string]any{"version": "v1", "resource": "pods"},
		"object":   map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "app"}}}},
	}
	if change != nil {
		change(request)
	}
	body, _ := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
	return body
}

func post(w *webhook, method string, body []byte) *httptest.ResponseRecorder {
	out := httptest.NewRecorder()
	newHandler(w).ServeHTTP(out, httptest.NewRequest(method, WebhookPath, bytes.NewReader(body)))
	return out
}

func TestWebhook(t *testing.T) {
	pod := func(change map[string]any) func(map[string]any) {
		return func(r map[string]any) { r["object"] = change }
	}
	tests := map[string]struct {
		change     func(map[string]any)
		namespaces namespaceFunc
		allowed    bool
		patched    bool
		message    string
		result     requestResult
	}{
		"injects":               {allowed: true, patched: true, result: requestResult(Injected)},
		"a dry run is the same": {change: func(r map[string]any) { r["dryRun"] = true }, allowed: true, patched: true, result: requestResult(Injected)},
		"updates pass":          {change: func(r map[string]any) { r["operation"] = "UPDATE" }, allowed: true, result: resultSkipped},
		"subresources pass":     {change: func(r map[string]any) { r["subResource"] = "status" }, allowed: true, result: resultSkipped},
		"other kinds pass":      {change: func(r map[string]any) { r["resource"] = map[string]any{"resource": "jobs"} }, allowed: true, result: resultSkipped},
		"refuses a bad annotation": {change: pod(map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationInjection: "maybe"}}}),
			message: api.AnnotationInjection, result: resultRefused},
		"pod is no pod": {change: func(r map[string]any) { r["object"] = map[string]any{"spec": 7} }, message: "decode pod", result: resultError},
		"no object":     {change: func(r map[string]any) { delete(r, "object") }, message: "decode pod", result: resultError},
		"no namespace": {namespaces: func(string) (Namespace, error) { return Namespace{}, errors.New("away") },
			message: "read namespace shop: away", result: resultError},
		"panic": {namespaces: func(string) (Namespace, error) { panic("boom") }, message: "internal error", result: resultError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.namespaces == nil {
				tt.namespaces = enabledNamespace
			}
			w := testWebhook(t, tt.namespaces)
			out := post(w, http.MethodPost, review(tt.change))
			got := &admissionv1.AdmissionReview{}
			if err := json.Unmarshal(out.Body.Bytes(), got); err != nil || out.Code != http.StatusOK || got.Response == nil {
				t.Fatalf("status %d, %v: %s", out.Code, err, out.Body)
			}
			r := got.Response
			if r.UID != "abc" || got.Request != nil || got.Kind != "AdmissionReview" || got.APIVersion != "admission.k8s.io/v1" {
				t.Errorf("review: %+v", got)
			}
			if r.Allowed != tt.allowed || (len(r.Patch) > 0) != tt.patched || (r.PatchType != nil) != tt.patched {
				t.Errorf("allowed %v, patch %s", r.Allowed, r.Patch)
			}
			if !tt.allowed && (r.Result == nil || !strings.Contains(r.Result.Message, tt.message) || r.Result.Code == 0) {
				t.Errorf("result %+v, want message %q", r.Result, tt.message)
			}
			if n := testutil.ToFloat64(w.metrics.requests.WithLabelValues(string(tt.result))); n != 1 {
				t.Errorf("counted %v times as %s", n, tt.result)
			}
		})
	}
}

func TestWebhookRefusesWhatIsNoReview(t *testing.T) {
	tests := map[string]struct {
		method string
		body   []byte
		status int
	}{
		"GET":             {http.MethodGet, nil, http.StatusMethodNotAllowed},
		"empty":           {http.MethodPost, nil, http.StatusBadRequest},
		"not JSON":        {http.MethodPost, []byte("{"), http.StatusBadRequest},
		"another kind":    {http.MethodPost, []byte(`{"apiVersion":"v1","kind":"Pod"}`), http.StatusBadRequest},
		"another version": {http.MethodPost, bytes.Replace(review(nil), []byte("k8s.io/v1"), []byte("k8s.io/v1beta1"), 1), http.StatusBadRequest},
		"no request":      {http.MethodPost, []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), http.StatusBadRequest},
		"no uid":          {http.MethodPost, review(func(r map[string]any) { delete(r, "uid") }), http.StatusBadRequest},
		"too large":       {http.MethodPost, bytes.Repeat([]byte(" "), defaultReviewBytes+1), http.StatusRequestEntityTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := testWebhook(t, enabledNamespace)
			if out := post(w, tt.method, tt.body); out.Code != tt.status {
				t.Errorf("status %d, want %d: %s", out.Code, tt.status, out.Body)
			}
			if n := testutil.ToFloat64(w.metrics.requests.WithLabelValues(string(resultMalformed))); n != 1 {
				t.Errorf("counted %v times as malformed", n)
			}
		})
	}
}

// FuzzReview sends anything and expects an HTTP error or a review, never both, and no panic.
func FuzzReview(f *testing.F) {
	f.Add(review(nil))
	f.Add(review(func(r map[string]any) { r["object"] = nil }))
	f.Add(review(func(r map[string]any) { r["operation"] = "UPDATE" }))
	f.Add([]byte("{"))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":{"spec":{"containers":[null]}}}}`))
	w := testWebhook(f, enabledNamespace)
	outcomes := reach.All(f, "no review", "denied", "passed", "injected")
	f.Fuzz(func(t *testing.T, body []byte) {
		out := post(w, http.MethodPost, body)
		text, _ := io.ReadAll(out.Body)
		got := &admissionv1.AdmissionReview{}
		err := json.Unmarshal(text, got)
		if answered := err == nil && got.Response != nil; answered != (out.Code == http.StatusOK) {
			t.Errorf("status %d with %s", out.Code, text)
		}
		if out.Code == http.StatusOK && got.Response.Result != nil && got.Response.Result.Code == http.StatusInternalServerError {
			t.Errorf("panic on %s", body)
		}
		switch {
		case out.Code != http.StatusOK:
			outcomes.Note("no review")
		case !got.Response.Allowed:
			outcomes.Note("denied")
		case len(got.Response.Patch) == 0:
			outcomes.Note("passed")
		default:
			outcomes.Note("injected")
		}
	})
}
