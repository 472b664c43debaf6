package injector

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// WebhookPath is where the API server sends pods.
const WebhookPath = "/mutate-pod-creation"

// namespaceReader finds a pod's namespace.
type namespaceReader interface {
	// Known returns a namespace of the mesh from the cache.
	Known(name string) (Namespace, bool)
	// Namespace asks the API server if the cache does not hold it.
	Namespace(ctx context.Context, name string) (Namespace, error)
}

// webhook answers admission reviews. It writes nothing, so a dry run needs no special case.
type webhook struct {
	namespaces namespaceReader
	settings   func() Settings
	limits     Limits
	network    *budget // bytes of bodies and answers
	work       *budget // estimated bytes of everything in between
	lookups    *budget // namespaces to ask the API server for
	metrics    *metrics
	log        *slog.Logger
	seldom     *rate.Limiter // of log lines that anybody can cause
	now        func() time.Time
	secret     func() string // random text for each review
}

func newWebhook(namespaces namespaceReader, settings func() Settings, m *metrics, log *slog.Logger, now func() time.Time) *webhook {
	limits := settings().Limits.WithDefaults()
	half := limits.ReviewMemory / halves
	return &webhook{
		namespaces: namespaces, settings: settings, limits: limits, metrics: m, log: log, now: now, secret: rand.Text,
		network: newBudget(half, half/sourceParts, m.inFlight.WithLabelValues("network")),
		work:    newBudget(half, half, m.inFlight.WithLabelValues("work")),
		lookups: newBudget(lookups, lookupsPerSource, nil),
		seldom:  rate.NewLimiter(linesPerSecond, linesAtOnce),
	}
}

const (
	linesPerSecond = 10
	linesAtOnce    = 100
)

// ServeHTTP answers one review. The response to a malformed request is an HTTP error, to everything else a
// review.
func (w *webhook) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	start := w.now()
	a := &arrival{webhook: w, source: sourceOf(in)}
	defer a.end()
	answer, result, err := a.serve(in)
	w.metrics.observe(result, w.now().Sub(start))
	if err != nil {
		w.decline(out, a.source, err)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	if _, err := out.Write(answer); err != nil {
		w.complain("could not send an admission review", "source", a.source.String(), "error", err)
	}
}

// decline answers with an HTTP error. The API server applies its failure policy to all of them, but retries
// by itself if there is a Retry-After.
func (w *webhook) decline(out http.ResponseWriter, source netip.Addr, err error) {
	reason := reasonOf(err)
	w.metrics.refuse(reason, "")
	w.complain("admission review refused", "reason", reason, "source", source.String(), "error", clip(err.Error(), maxMessage))
	// Whatever is left of the body is not worth reading.
	out.Header().Set("Connection", "close")
	status := http.StatusBadRequest
	switch reason {
	case reasonSize, reasonMemory:
		status = http.StatusRequestEntityTooLarge
	case reasonSlow:
		status = http.StatusRequestTimeout
	case reasonBusy:
		status = http.StatusTooManyRequests
		out.Header().Set("Retry-After", retryAfter)
	default:
	}
	if errors.Is(err, errMethod) {
		status = http.StatusMethodNotAllowed
		out.Header().Set("Allow", http.MethodPost)
	}
	http.Error(out, clip(err.Error(), maxMessage), status)
}

// complain logs, at a limited rate, what any client can cause.
func (w *webhook) complain(message string, args ...any) {
	if w.seldom.Allow() {
		w.log.Warn(message, args...)
	}
}

func decodeReview(body []byte) (*admissionv1.AdmissionReview, error) {
	review := &admissionv1.AdmissionReview{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(body, review); err != nil {
		return nil, fmt.Errorf("decode admission review: %w", err)
	}
	want := admissionv1.SchemeGroupVersion.WithKind("AdmissionReview")
	if review.GroupVersionKind() != want {
		return nil, fmt.Errorf("decode admission review: got %s, want %s", review.GroupVersionKind(), want)
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, errors.New("decode admission review: it has no request, or one without uid")
	}
	return review, nil
}

// respond never fails: an error becomes a refusal, and so does a panic, which would otherwise end all other
// requests and give the pod's creator no reason.
func (w *webhook) respond(ctx context.Context, source netip.Addr, request *admissionv1.AdmissionRequest) (response *admissionv1.AdmissionResponse, result requestResult) {
	defer func() {
		if cause := recover(); cause != nil {
			w.log.Error("panic in injection", "cause", cause, "namespace", clip(request.Namespace, maxName), "stack", string(debug.Stack()))
			response = refuse(request, http.StatusInternalServerError, metav1.StatusReasonInternalError, errors.New("internal error of the injector, see its log"))
			result = resultError
		}
	}()
	if request.Resource.Resource != "pods" || request.SubResource != "" || request.Operation != admissionv1.Create {
		return &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}, resultSkipped
	}
	pod := &corev1.Pod{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(request.Object.Raw, pod); err != nil {
		return refuse(request, http.StatusBadRequest, metav1.StatusReasonBadRequest, fmt.Errorf("decode pod: %w", err)), resultError
	}
	namespace, err := w.namespace(ctx, source, request.Namespace)
	if err != nil {
		w.complain("namespace of a pod not found", "namespace", clip(request.Namespace, maxName), "source", source.String(), "error", clip(err.Error(), maxMessage))
		return refuse(request, http.StatusInternalServerError, metav1.StatusReasonInternalError, fmt.Errorf("read namespace %s: %w", clip(request.Namespace, maxName), err)), resultError
	}
	giveBack, ok := w.takeProbes(source, pod)
	if !ok {
		w.metrics.refuse(reasonBusy, w.offender(namespace))
		return refuse(request, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, errBusy), resultRefused
	}
	defer giveBack()
	return w.patch(Request{Pod: pod, Namespace: namespace, UID: request.UID, Secret: w.secret()}, request)
}

// takeProbes reserves the cost of the pod's probes. It does not wait: a review that holds a part of the work's
// half must not wait for more of it. A pod with too many probes is refused before anything is built.
func (w *webhook) takeProbes(source netip.Addr, pod *corev1.Pod) (giveBack func(), ok bool) {
	cost := min(probeCost(pod), int64(w.limits.Probes)*costPerProbe)
	if _, ok := w.work.tryTake(source, cost); !ok {
		return nil, false
	}
	return func() { w.work.give(source, cost) }, true
}

// namespace returns the pod's namespace. If the cache does not hold it, a slot for a request to the API
// server is needed.
func (w *webhook) namespace(ctx context.Context, source netip.Addr, name string) (Namespace, error) {
	if known, ok := w.namespaces.Known(name); ok {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	giveBack, err := w.lookups.take(ctx, source, 1)
	if err != nil {
		return Namespace{}, err
	}
	defer giveBack()
	return w.namespaces.Namespace(ctx, name)
}

func (w *webhook) patch(r Request, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, requestResult) {
	patched, err := Patch(r, w.settings())
	if err != nil {
		reason := reasonOf(err)
		w.metrics.refuse(reason, w.offender(r.Namespace))
		w.complain("pod refused", "namespace", clip(request.Namespace, maxName), "pod", podName(r.Pod), "uid", clip(string(request.UID), maxName), "reason", reason, "error", clip(err.Error(), maxMessage))
		return refuse(request, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err), resultRefused
	}
	w.log.Debug("pod seen", "namespace", clip(request.Namespace, maxName), "pod", podName(r.Pod), "outcome", patched.Outcome, "reason", patched.Reason)
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true, Warnings: patched.Warnings}
	if len(patched.Operations) == 0 {
		return response, requestResult(patched.Outcome)
	}
	patch, err := json.Marshal(patched.Operations)
	if err != nil {
		return refuse(request, http.StatusInternalServerError, metav1.StatusReasonInternalError, fmt.Errorf("encode patch: %w", err)), resultError
	}
	kind := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = patch, &kind
	return response, requestResult(patched.Outcome)
}

// offender is the label value for a refused pod's namespace. A review can name any namespace, so only those
// in the cache are used.
func (w *webhook) offender(ns Namespace) string {
	if _, ok := w.namespaces.Known(ns.Name); !ok {
		return ""
	}
	return ns.Name
}

func refuse(request *admissionv1.AdmissionRequest, code int32, reason metav1.StatusReason, err error) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{UID: request.UID, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: "osm: sidecar injection: " + clip(err.Error(), maxMessage),
	}}
}

// podName is for logs. A pod of a controller has no name yet, only the prefix of one.
func podName(pod *corev1.Pod) string {
	if pod.Name != "" {
		return clip(pod.Name, maxName)
	}
	return clip(pod.GenerateName, maxName) + "*"
}
