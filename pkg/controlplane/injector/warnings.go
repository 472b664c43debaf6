package injector

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// The API server cuts a warning after 256 characters, and drops warnings after 4096 in all.
const (
	maxWarning  = 256 - len("osm: ") - len("...")
	maxWarnings = 12
)

// warnings tell the creator of a pod what the sidecar leaves alone, or changes. The API server shows each text
// once, however often it asks.
func warnings(pod *corev1.Pod, s Settings, added []corev1.Container) []string {
	w := &warner{}
	for _, c := range everyContainer(pod) {
		w.ports(c)
		w.probes(c)
	}
	w.exclusions(pod)
	if s.PlainContainer {
		w.plain(pod)
	}
	if users := everyContainer(pod); guaranteed(users) && !guaranteed(added) {
		w.add("the pod's QoS class becomes Burstable: MeshConfig %s spec.sidecar.resources has no cpu and memory limits that equal the requests", api.MeshConfigName)
	}
	return w.texts
}

type warner struct{ texts []string }

func (w *warner) add(format string, args ...any) {
	if text := "osm: " + clip(fmt.Sprintf(format, args...), maxWarning); len(w.texts) < maxWarnings && !slices.Contains(w.texts, text) {
		w.texts = append(w.texts, text)
	}
}

// ports names those that only other protocols reach, and those that the node forwards to the sidecar, which
// accepts nobody from outside the mesh.
func (w *warner) ports(c corev1.Container) {
	name := clip(c.Name, maxName/4)
	for _, p := range c.Ports {
		switch {
		case p.Protocol != corev1.ProtocolTCP && p.Protocol != "":
			w.add("container %s: port %d/%s is not in the mesh, which carries TCP only", name, p.ContainerPort, clip(string(p.Protocol), 8))
		case p.HostPort != 0:
			w.add("container %s: clients of hostPort %d are refused unless they are in the mesh; exclude port %d with annotation %s to let them in", name, p.HostPort, p.ContainerPort, api.AnnotationInboundPortExclusion)
		}
	}
}

// probes names those that stay because they name a host, which may be the pod's own.
func (w *warner) probes(c corev1.Container) {
	for _, kind := range probeKinds() {
		handler := kind.of(&c)
		if handler == nil {
			continue
		}
		if h := handler.HTTPGet; h != nil && h.Host != "" || handler.TCPSocket != nil && handler.TCPSocket.Host != "" {
			w.add("container %s: %s names a host and is left as it is: it fails if the host is a pod of the mesh", clip(c.Name, maxName/4), strings.TrimPrefix(kind.field, "lifecycle/"))
		}
	}
}

// exclusions names the container ports that the pod's own annotation takes out of the mesh.
func (w *warner) exclusions(pod *corev1.Pod) {
	excluded := items(pod.Annotations[api.AnnotationInboundPortExclusion])
	for _, c := range everyContainer(pod) {
		for _, p := range c.Ports {
			if slices.Contains(excluded, fmt.Sprint(p.ContainerPort)) {
				w.add("container %s: port %d is excluded from the mesh by annotation: anybody may connect to it in plain text", clip(c.Name, maxName/4), p.ContainerPort)
			}
		}
	}
}

// plain is for clusters without native sidecars.
func (w *warner) plain(pod *corev1.Pod) {
	if len(pod.Spec.InitContainers) > 0 {
		w.add("init containers run outside the mesh: this cluster has no native sidecars")
	}
	for _, c := range everyContainer(pod) {
		if c.Lifecycle == nil {
			continue
		}
		for _, hook := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if hook != nil && hook.HTTPGet != nil {
				w.add("container %s: httpGet hooks may fail, because this cluster has no native sidecars: the sidecar starts and stops together with the container", clip(c.Name, maxName/4))
			}
		}
	}
}
