package injector

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// optOut ends refusals that concern only pods with a sidecar.
const optOut = ", or set the pod's annotation " + api.AnnotationInjection + " to disabled"

// checkReserved refuses a pod that uses what is reserved for the sidecar. Ambiguity would be a way around the
// mesh: a second envoy that counts as the first, a mount of the volume with the proxy's key, a process whose
// traffic passes as the proxy's.
func checkReserved(pod *corev1.Pod) error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, v := range pod.Spec.Volumes {
		if v.Name == volumeCertificate {
			add("volume name %s is reserved for the sidecar: choose another", v.Name)
		}
	}
	for _, c := range everyContainer(pod) {
		if isSidecarName(c.Name) {
			add("container name %s is reserved for the sidecar: choose another"+optOut, c.Name)
		}
		if mounts(c, volumeCertificate) {
			add("container %s mounts volume %s, which holds the sidecar's key: remove the mount", c.Name, volumeCertificate)
		}
		if uid := userOf(pod, c); uid != nil && *uid == api.ProxyUID {
			add("container %s runs as user %d, which is the sidecar's, so its traffic would bypass the mesh: choose another user"+optOut, c.Name, api.ProxyUID)
		}
		for _, port := range c.Ports {
			if port.Protocol != corev1.ProtocolUDP && slices.Contains(reservedPorts(), port.ContainerPort) {
				add("container %s uses port %d, which is reserved for the sidecar: choose another", c.Name, port.ContainerPort)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &refusal{reasonReserved, err}
	}
	return nil
}

// checkClaims refuses what no pod in the mesh's namespaces may claim, with or without a sidecar: a sidecar
// that the injector did not add, and a proxy's key.
func checkClaims(pod *corev1.Pod, injected bool) error {
	var errs []error
	if _, claimed := pod.Labels[api.LabelProxyUUID]; claimed && !injected {
		errs = append(errs, fmt.Errorf("label %s is the injector's, and this pod gets no sidecar: remove the label", api.LabelProxyUUID))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == volumeCertificate && injected {
			continue // an earlier injection's, which is replaced, or refused as a reserved name
		}
		for _, name := range secretsOf(v) {
			if isProxySecret(name) {
				errs = append(errs, fmt.Errorf("volume %s holds Secret %s, the key of a sidecar: remove the volume", v.Name, name))
			}
		}
	}
	for _, c := range everyContainer(pod) {
		for _, name := range environmentSecrets(c) {
			if isProxySecret(name) {
				errs = append(errs, fmt.Errorf("container %s has Secret %s, the key of a sidecar, in its environment: remove it", c.Name, name))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &refusal{reasonReserved, err}
	}
	return nil
}

// reservedPorts are those that Envoy needs: one of the two would fail to start, and the reason
// would be hard to find.
func reservedPorts() []int32 {
	return []int32{
		api.PortEnvoyAdmin, api.PortEnvoyOutbound, api.PortEnvoyInbound, api.PortEnvoyMetrics,
		api.PortLivenessProbe, api.PortReadinessProbe, api.PortStartupProbe, api.PortLifecycleHooks, api.PortEnvoyReadyProbe,
	}
}

func everyContainer(pod *corev1.Pod) []corev1.Container {
	return slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
}

func isSidecarName(name string) bool { return name == api.ContainerEnvoy || name == api.ContainerInit }

func isProxySecret(name string) bool { return strings.HasPrefix(name, api.ProxySecretName("")) }

func mounts(c corev1.Container, volume string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) ||
		slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == volume })
}

// userOf is the user that a container runs as if the pod says it; the image's own is not known here.
func userOf(pod *corev1.Pod, c corev1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.RunAsUser
	}
	return nil
}

// secretsOf names the Secrets whose content a volume shows.
func secretsOf(v corev1.Volume) []string {
	var names []string
	if v.Secret != nil {
		names = append(names, v.Secret.SecretName)
	}
	if v.Projected != nil {
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				names = append(names, source.Secret.Name)
			}
		}
	}
	return names
}

func environmentSecrets(c corev1.Container) []string {
	var names []string
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			names = append(names, e.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			names = append(names, e.SecretRef.Name)
		}
	}
	return names
}
