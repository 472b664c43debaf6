package injector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// WebhookPath is where the API server sends pods.
const WebhookPath = "/mutate-pod-creation"

// maxReview bounds a request's body. etcd holds objects of 1.5 MiB and a review of a creation holds
// one, in JSON, which is longer than what is stored.
const maxReview = 8 << 20

// namespaceReader finds a pod's namespace.
type namespaceReader interface {
	Namespace(ctx context.Context, name string) (Namespace, error)
}

// webhook answers admission reviews. It writes nothing anywhere, so a dry run is like any other.
type webhook struct {
	namespaces namespaceReader
	settings   func() Settings
	metrics    *metrics
	log        *slog.Logger
	now        func() time.Time
}

// ServeHTTP answers one review. What cannot be read is answered by an HTTP error, everything else
// by a review.
func (w *webhook) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	start := w.now()
	review, status, err := readReview(out, in)
	if err != nil {
		w.metrics.observe(resultMalformed, w.now().Sub(start))
		w.log.Warn("unreadable admission review", "error", err)
		http.Error(out, err.Error(), status)
		return
	}
	response, result := w.answer(in.Context(), review.Request)
	w.metrics.observe(result, w.now().Sub(start))
	review.Request, review.Response = nil, response
	out.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(out).Encode(review); err != nil {
		w.log.Warn("admission review not answered", "uid", response.UID, "error", err)
	}
}

// readReview returns the review, or the HTTP status of its refusal.
func readReview(out http.ResponseWriter, in *http.Request) (*admissionv1.AdmissionReview, int, error) {
	if in.Method != http.MethodPost {
		out.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, fmt.Errorf("method %s: want POST", in.Method)
	}
	body, err := io.ReadAll(http.MaxBytesReader(out, in.Body, maxReview))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("admission review is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("read admission review: %w", err)
	}
	review, err := decodeReview(body)
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	return review, http.StatusOK, nil
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

// answer never fails: an error becomes a refusal, and so does a panic, which would else take
// every other request down with it and leave the pod's creator without a reason.
func (w *webhook) answer(ctx context.Context, request *admissionv1.AdmissionRequest) (response *admissionv1.AdmissionResponse, result requestResult) {
	defer func() {
		if cause := recover(); cause != nil {
			w.log.Error("panic in injection", "cause", cause, "namespace", request.Namespace, "stack", string(debug.Stack()))
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
	namespace, err := w.namespaces.Namespace(ctx, request.Namespace)
	if err != nil {
		w.log.Error("namespace of a pod not found", "namespace", request.Namespace, "error", err)
		return refuse(request, http.StatusInternalServerError, metav1.StatusReasonInternalError, fmt.Errorf("read namespace %s: %w", request.Namespace, err)), resultError
	}
	return w.patch(Request{Pod: pod, Namespace: namespace, UID: request.UID}, request)
}

func (w *webhook) patch(r Request, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, requestResult) {
	log := w.log.With("namespace", request.Namespace, "pod", podName(r.Pod), "uid", request.UID)
	patched, err := Patch(r, w.settings())
	if err != nil {
		log.Warn("pod refused", "error", err)
		return refuse(request, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err), resultRefused
	}
	log.Debug("pod seen", "outcome", patched.Outcome, "reason", patched.Reason)
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

func refuse(request *admissionv1.AdmissionRequest, code int32, reason metav1.StatusReason, err error) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{UID: request.UID, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: "osm: sidecar injection: " + err.Error(),
	}}
}

// podName is for logs; a pod of a controller has no name yet, only the start of one.
func podName(pod *corev1.Pod) string {
	if pod.Name != "" {
		return pod.Name
	}
	return pod.GenerateName + "*"
}
