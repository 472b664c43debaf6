package injector

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// originals are the handlers that were moved to the sidecar, by container and field, without their headers, which
// the moved handlers keep. The annotation of that name remembers them for the next injection of the same pod: the
// API server asks again after another webhook changed the pod, and copies of pods are created.
//
// Whoever creates a pod may write the annotation. That gains nothing: what it says is treated as if it stood in
// the container, where its author could have written it.
type originals map[string]map[string]corev1.ProbeHandler

// maxAnnotations is what the API server allows all annotations of an object to take.
const maxAnnotations = 256 << 10

// readOriginals returns nil for a text that the injector did not write.
func readOriginals(text string, l Limits) originals {
	if text == "" || len(text) > maxAnnotations {
		return nil
	}
	// Each probe is two objects, each container one.
	l = l.WithDefaults()
	if s, err := measure([]byte(text)); err != nil || s.objects > int64(3*l.Probes+l.Containers) {
		return nil
	}
	var o originals
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil
	}
	return o
}

// original returns the handler in whose place a moved one stands; ok is false if it is not known, or is one that
// is never moved.
func (o originals) original(k probeKind, c *corev1.Container) (handler corev1.ProbeHandler, ok bool) {
	moved := k.of(c)
	if moved == nil || !isMoved(k, moved) {
		return corev1.ProbeHandler{}, false
	}
	handler, ok = o[c.Name][k.field]
	handler.Exec = nil
	set := 0
	if handler.HTTPGet != nil {
		get := *handler.HTTPGet
		get.HTTPHeaders = moved.HTTPGet.HTTPHeaders
		handler.HTTPGet = &get
		set++
	}
	if handler.TCPSocket != nil {
		set++
	}
	if handler.GRPC != nil {
		set++
	}
	return handler, ok && set == 1 && (!k.hook || handler.HTTPGet != nil)
}

// isMoved reports whether a handler asks the sidecar at the port and under the path of its kind.
func isMoved(k probeKind, handler *corev1.Probe) bool {
	get := handler.HTTPGet
	return get != nil && get.Host == "" && get.Port.IntValue() == int(k.port) && strings.HasPrefix(get.Path, k.pathPrefix())
}

// withOriginals puts back the handlers that an earlier injection moved. It returns the pod as it was before, and
// the operations that make it so.
func withOriginals(pod *corev1.Pod, l Limits) (*corev1.Pod, []Operation) {
	known := readOriginals(pod.Annotations[api.AnnotationOriginalHandlers], l)
	if known == nil {
		return pod, nil
	}
	before := *pod
	var operations []Operation
	before.Spec.InitContainers = known.restore(&operations, "initContainers", pod.Spec.InitContainers)
	before.Spec.Containers = known.restore(&operations, "containers", pod.Spec.Containers)
	return &before, operations
}

func (o originals) restore(operations *[]Operation, list string, containers []corev1.Container) []corev1.Container {
	restored := make([]corev1.Container, len(containers))
	for i := range containers {
		restored[i] = containers[i]
		for _, kind := range probeKinds() {
			handler, ok := o.original(kind, &containers[i])
			if !ok {
				continue
			}
			kind.set(&restored[i], handler)
			path := fmt.Sprintf("/spec/%s/%d/%s/", list, i, kind.field)
			field, value := handlerField(handler)
			*operations = append(*operations,
				Operation{Op: "remove", Path: path + "httpGet"}, Operation{Op: "add", Path: path + field, Value: value})
		}
	}
	return restored
}

// set replaces the handler of a kind in a copy of what the container refers to.
func (k probeKind) set(c *corev1.Container, handler corev1.ProbeHandler) {
	if k.hook {
		c.Lifecycle = c.Lifecycle.DeepCopy()
		hook := &corev1.LifecycleHandler{HTTPGet: handler.HTTPGet}
		if k.field == fieldPreStop {
			c.Lifecycle.PreStop = hook
		} else {
			c.Lifecycle.PostStart = hook
		}
		return
	}
	moved := *k.of(c)
	moved.ProbeHandler = handler
	switch k.field {
	case fieldLiveness:
		c.LivenessProbe = &moved
	case fieldReadiness:
		c.ReadinessProbe = &moved
	default:
		c.StartupProbe = &moved
	}
}

// handlerField is the JSON field of the handler that is set, and its value.
func handlerField(handler corev1.ProbeHandler) (field string, value any) {
	switch {
	case handler.TCPSocket != nil:
		return "tcpSocket", handler.TCPSocket
	case handler.GRPC != nil:
		return "grpc", handler.GRPC
	default:
		return "httpGet", handler.HTTPGet
	}
}

// originalsOf is the annotation's text for what is about to be moved, "" for nothing.
func originalsOf(found []probe) (string, error) {
	if len(found) == 0 {
		return "", nil
	}
	o := originals{}
	for _, p := range found {
		if o[p.container] == nil {
			o[p.container] = map[string]corev1.ProbeHandler{}
		}
		o[p.container][p.kind.field] = p.original
	}
	text, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encode the probes: %w", err)
	}
	if len(text) > maxAnnotations {
		return "", refused(reasonArguments, "the pod's probes have %d bytes, and the annotations of a pod at most %d: use fewer or shorter ones", len(text), maxAnnotations)
	}
	return string(text), nil
}
