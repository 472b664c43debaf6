package injector

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// sidecarResources are the operator's choice as a whole, or small requests and a limit. Without requests an
// autoscaler with a utilisation target could not compute it for the pod; without a limit a sidecar under attack
// could take the node's memory.
func (s Settings) sidecarResources() corev1.ResourceRequirements {
	if chosen, ok := s.chosenResources(); ok {
		return chosen
	}
	memory := s.SidecarMemory
	if memory.IsZero() {
		memory = resource.MustParse(DefaultSidecarMemory)
	}
	return smallResources(memory)
}

// initResources are the same as the sidecar's if the operator chose those: a quota, a LimitRange and the QoS
// class Guaranteed ask the same of every container. They add nothing to what the pod takes, because osm-init
// has finished when the sidecar starts.
func (s Settings) initResources() corev1.ResourceRequirements {
	if chosen, ok := s.chosenResources(); ok {
		return chosen
	}
	return smallResources(resource.MustParse(initMemory))
}

func (s Settings) chosenResources() (chosen corev1.ResourceRequirements, ok bool) {
	chosen = s.Mesh.Sidecar.Resources
	return chosen, len(chosen.Requests) > 0 || len(chosen.Limits) > 0
}

// sidecarMemory is the sidecar's limit in bytes; zero is none.
func (s Settings) sidecarMemory() int64 {
	limits := s.sidecarResources().Limits
	return limits.Memory().Value()
}

// smallResources has small requests. Both of our containers have a memory limit, which a quota on
// limits.memory requires.
func smallResources(memory resource.Quantity) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: memory},
	}
}

// defaulted are the resources that a namespace's LimitRange gave to the containers of an earlier injection: a
// second one must not take them away, because the API server gives them only once. Whoever creates a pod may
// write them, too. So only those count that the injector does not set, and only such as fit what it sets.
//
// The same goes for the pull policy Always, which the admission plugin AlwaysPullImages sets and then demands.
type defaulted map[string]corev1.Container

func defaultedOf(pod *corev1.Pod) defaulted {
	found := defaulted{}
	for _, c := range everyContainer(pod) {
		if isSidecarName(c.Name) {
			found[c.Name] = c
		}
	}
	return found
}

// addTo completes the resources of a container, and its pull policy.
func (d defaulted) addTo(c *corev1.Container) {
	if d[c.Name].ImagePullPolicy == corev1.PullAlways {
		c.ImagePullPolicy = corev1.PullAlways
	}
	earlier := d[c.Name].Resources
	own := c.Resources.DeepCopy()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		request, requested := own.Requests[name]
		limit, limited := own.Limits[name]
		if value, ok := earlier.Limits[name]; ok && !limited && (!requested || request.Cmp(value) <= 0) {
			limit, limited = value, true
			put(&own.Limits, name, value)
		}
		if value, ok := earlier.Requests[name]; ok && !requested && (!limited || value.Cmp(limit) <= 0) {
			put(&own.Requests, name, value)
		}
	}
	c.Resources = *own
}

func put(list *corev1.ResourceList, name corev1.ResourceName, value resource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = value
}

// guaranteed reports whether containers alone would give a pod the QoS class Guaranteed.
func guaranteed(containers []corev1.Container) bool {
	for _, c := range containers {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := c.Resources.Limits[name]
			request, requested := c.Resources.Requests[name]
			if !limited || limit.IsZero() || requested && request.Cmp(limit) != 0 {
				return false
			}
		}
	}
	return len(containers) > 0
}
