package injector

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
)

const (
	annotationScrape = "prometheus.io/scrape"
	annotationPort   = "prometheus.io/port"
	annotationPath   = "prometheus.io/path"
)

// Request is one pod that is about to be created.
type Request struct {
	Pod       *corev1.Pod
	Namespace Namespace
	// UID is the admission request's; it becomes the pod's proxy UUID.
	UID types.UID
	// Secret is random text of the review. It is part of the paths of the pod's lifecycle hooks, and nothing that is
	// published may depend on it, as labels do on UID.
	Secret string
}

// Operation is one step of a JSON patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Outcome is what Patch decided about a pod.
type Outcome string

// The outcomes of Patch.
const (
	Injected Outcome = "injected" // the operations make it a pod of the mesh
	Skipped  Outcome = "skipped"  // it is not to be injected
)

// Result is the change to one pod: none, unless it is injected.
type Result struct {
	Outcome Outcome
	// Reason says why, for logs.
	Reason     string
	Operations []Operation
	// Warnings are for whoever creates the pod.
	Warnings []string
}

// Patch decides whether a pod is injected and how. It changes only what it must, so that fields of newer
// Kubernetes versions survive. An error means that the pod must not be created as it is; it names the
// annotation, container or setting at fault.
func Patch(r Request, s Settings) (Result, error) {
	d, err := decide(r.Pod, r.Namespace, s)
	if err != nil {
		return Result{}, err
	}
	if !d.foreign {
		if err := errors.Join(checkClaims(r.Pod, d.inject), s.Limits.checkContainers(r.Pod)); err != nil {
			return Result{}, err
		}
	}
	if !d.inject {
		result := Result{Outcome: Skipped, Reason: d.reason}
		if d.asked {
			result.Warnings = []string{"osm: no sidecar although " + d.asker + " asks for one: " + d.reason}
		}
		return result, nil
	}
	before, undo, earlier := undone(r.Pod, s)
	r.Pod = before
	operations, warnings, err := inject(r, s, earlier)
	if err != nil {
		return Result{}, err
	}
	return Result{Outcome: Injected, Reason: d.reason, Operations: append(undo, operations...), Warnings: warnings}, nil
}

// undone returns the pod as it was before an earlier injection, the operations that make it so, and what others
// added to the sidecar since.
func undone(pod *corev1.Pod, s Settings) (before *corev1.Pod, undo []Operation, earlier defaulted) {
	if hasSidecar(pod) {
		earlier = defaultedOf(pod)
		pod, undo = withoutSidecar(pod)
	}
	before, restored := withOriginals(pod, s.Limits)
	return before, append(undo, restored...), earlier
}

func inject(r Request, s Settings, earlier defaulted) ([]Operation, []string, error) {
	if err := checkReserved(r.Pod); err != nil {
		return nil, nil, err
	}
	rules, err := redirection(r.Pod.Annotations, s.Mesh.Traffic)
	if err != nil {
		return nil, nil, err
	}
	found, err := probes(r.Pod, rules.ExcludeInboundPorts)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Limits.checkProbes(found); err != nil {
		return nil, nil, err
	}
	for i := range found {
		found[i].secret = r.Secret
	}
	first, sidecar, err := containers(r, s, rules, found)
	if err != nil {
		return nil, nil, err
	}
	earlier.addTo(&first)
	earlier.addTo(&sidecar)
	annotations, warned, err := annotationOperations(r, found)
	if err != nil {
		return nil, nil, err
	}
	operations := slices.Concat(
		labelOperations(r),
		annotations,
		pullSecretOperations(r.Pod, s),
		addToList(len(r.Pod.Spec.Volumes), "volumes", certificateVolume(serviceAccount(r.Pod))),
		// Probes first: they refer to containers by index, which the new containers shift.
		probeOperations(found),
		containerOperations(r.Pod, s, first, sidecar),
	)
	return operations, append(warned, warnings(r.Pod, s, []corev1.Container{first, sidecar})...), nil
}

// containers are the two that injection adds.
func containers(r Request, s Settings, rules redirect.Rules, found []probe) (first, sidecar corev1.Container, err error) {
	config := newProxyBootstrap(s, found)
	if config.resolvers, err = s.resolvers(r.Pod); err != nil {
		return first, sidecar, err
	}
	bootstrap, err := config.text()
	if err != nil {
		return first, sidecar, err
	}
	first, sidecar = initContainer(s, rules), sidecarContainer(s, serviceAccount(r.Pod), r.Namespace.Name, bootstrap)
	return first, sidecar, errors.Join(checkArguments(first), checkArguments(sidecar))
}

func serviceAccount(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName == "" {
		return defaultAccount
	}
	return pod.Spec.ServiceAccountName
}

func labelOperations(r Request) []Operation {
	return addToMap(r.Pod.Labels, "labels", [][2]string{{api.LabelProxyUUID, string(r.UID)}})
}

// annotationOperations sets the annotations of an injected pod.
func annotationOperations(r Request, found []probe) ([]Operation, []string, error) {
	entries, warnings := metricsAnnotations(r)
	text, err := originalsOf(found)
	if err != nil {
		return nil, nil, err
	}
	if text != "" {
		entries = append(entries, [2]string{api.AnnotationOriginalHandlers, text})
	}
	operations := addToMap(r.Pod.Annotations, "annotations", entries)
	if _, set := r.Pod.Annotations[api.AnnotationOriginalHandlers]; set && text == "" {
		operations = append(operations, Operation{Op: "remove", Path: "/metadata/annotations/" + pointer(api.AnnotationOriginalHandlers)})
	}
	return operations, warnings, nil
}

// metricsAnnotations make the proxy scrapable where the namespace wants that. Other annotations that the pod has
// already say where to find the application's own metrics, and stay.
func metricsAnnotations(r Request) (entries [][2]string, warnings []string) {
	if r.Namespace.Annotations[api.AnnotationMetrics] != metricsEnabled {
		return nil, nil
	}
	entries = [][2]string{
		{annotationPath, metricsPath}, {annotationPort, fmt.Sprint(api.PortEnvoyMetrics)}, {annotationScrape, "true"},
	}
	earlier := func(e [2]string) bool { return r.Pod.Annotations[e[0]] != e[1] }
	if !slices.ContainsFunc(entries, earlier) {
		return nil, nil
	}
	for _, key := range []string{annotationScrape, annotationPort, annotationPath} {
		if _, set := r.Pod.Annotations[key]; set {
			return nil, []string{"osm: the pod has annotation " + key + " of its own: its proxy's metrics are not announced"}
		}
	}
	return entries, nil
}

// pullSecretOperations adds what the mesh's images need to the pod's own pull secrets.
func pullSecretOperations(pod *corev1.Pod, s Settings) []Operation {
	var operations []Operation
	has := map[string]bool{}
	for _, secret := range pod.Spec.ImagePullSecrets {
		has[secret.Name] = true
	}
	length := len(pod.Spec.ImagePullSecrets)
	for _, name := range s.PullSecrets {
		if !has[name] {
			operations = append(operations, addToList(length, "imagePullSecrets", corev1.LocalObjectReference{Name: name})...)
			has[name] = true
			length++
		}
	}
	return operations
}

// addToMap sets entries of a map in the metadata, which may not exist yet.
func addToMap(existing map[string]string, field string, entries [][2]string) []Operation {
	if len(entries) == 0 {
		return nil
	}
	path := "/metadata/" + field
	if len(existing) == 0 {
		all := map[string]string{}
		for _, e := range entries {
			all[e[0]] = e[1]
		}
		return []Operation{{Op: "add", Path: path, Value: all}}
	}
	var operations []Operation
	for _, e := range entries {
		operations = append(operations, Operation{Op: "add", Path: path + "/" + pointer(e[0]), Value: e[1]})
	}
	return operations
}

// pointer escapes a key for a JSON pointer (RFC 6901).
func pointer(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

func addToList(length int, field string, value any) []Operation {
	if length == 0 {
		return []Operation{{Op: "add", Path: "/spec/" + field, Value: []any{value}}}
	}
	return []Operation{{Op: "add", Path: "/spec/" + field + "/-", Value: value}}
}

// containerOperations puts both containers before the user's init containers, so that these are in the mesh
// too. An Envoy that is not a native sidecar starts after all of them; in that case the traffic is redirected
// last, because init containers could reach nothing otherwise.
func containerOperations(pod *corev1.Pod, s Settings, first, sidecar corev1.Container) []Operation {
	inits := len(pod.Spec.InitContainers)
	if s.PlainContainer {
		return append(addToList(inits, "initContainers", first), Operation{Op: "add", Path: "/spec/containers/0", Value: sidecar})
	}
	if inits == 0 {
		return []Operation{{Op: "add", Path: "/spec/initContainers", Value: []any{first, sidecar}}}
	}
	return []Operation{
		{Op: "add", Path: "/spec/initContainers/0", Value: first},
		{Op: "add", Path: "/spec/initContainers/1", Value: sidecar},
	}
}

// probeOperations replaces the handler of each probe and leaves its timings alone.
func probeOperations(found []probe) []Operation {
	var operations []Operation
	for _, p := range found {
		path := fmt.Sprintf("/spec/%s/%d/%s/", p.list, p.index, p.kind.field)
		operations = append(operations,
			Operation{Op: "remove", Path: path + p.originalField()},
			Operation{Op: "add", Path: path + "httpGet", Value: p.handler()})
	}
	return operations
}
