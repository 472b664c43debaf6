package injector

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/osm-edge/osm/pkg/api"
)

func amounts(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func sameAmounts(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		if other, ok := b[name]; !ok || value.Cmp(other) != 0 {
			return false
		}
	}
	return true
}

// TestDefaultsOfALimitRangeStay: of an earlier injection's containers only that counts which the injector does not set,
// and fits what it sets.
func TestDefaultsOfALimitRangeStay(t *testing.T) {
	type resources = corev1.ResourceRequirements
	tests := map[string]struct{ own, earlier, want resources }{
		"a missing limit":             {resources{Requests: amounts("cpu", "10m")}, resources{Limits: amounts("cpu", "10m")}, resources{Requests: amounts("cpu", "10m"), Limits: amounts("cpu", "10m")}},
		"a limit under the request":   {resources{Requests: amounts("cpu", "10m")}, resources{Limits: amounts("cpu", "9m")}, resources{Requests: amounts("cpu", "10m")}},
		"another limit":               {resources{Limits: amounts("memory", "1Gi")}, resources{Limits: amounts("memory", "2Gi")}, resources{Limits: amounts("memory", "1Gi")}},
		"a missing request":           {resources{Limits: amounts("cpu", "10m")}, resources{Requests: amounts("cpu", "10m")}, resources{Requests: amounts("cpu", "10m"), Limits: amounts("cpu", "10m")}},
		"a request above the limit":   {resources{Limits: amounts("cpu", "10m")}, resources{Requests: amounts("cpu", "11m")}, resources{Limits: amounts("cpu", "10m")}},
		"a request above a new limit": {resources{}, resources{Requests: amounts("cpu", "11m"), Limits: amounts("cpu", "10m")}, resources{Limits: amounts("cpu", "10m")}},
		"another request":             {resources{Requests: amounts("memory", "32Mi")}, resources{Requests: amounts("memory", "16Mi")}, resources{Requests: amounts("memory", "32Mi")}},
		"ephemeral storage":           {resources{}, resources{Limits: amounts("ephemeral-storage", "1Gi"), Requests: amounts("ephemeral-storage", "1Gi")}, resources{Limits: amounts("ephemeral-storage", "1Gi"), Requests: amounts("ephemeral-storage", "1Gi")}},
		"a device":                    {resources{}, resources{Limits: amounts("example.com/gpu", "1"), Requests: amounts("example.com/gpu", "1")}, resources{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: api.ContainerEnvoy, Resources: tt.earlier}}}}
			c := corev1.Container{Name: api.ContainerEnvoy, Resources: tt.own}
			own := tt.own.DeepCopy()
			defaultedOf(pod).addTo(&c)
			if !sameAmounts(c.Resources.Limits, tt.want.Limits) || !sameAmounts(c.Resources.Requests, tt.want.Requests) {
				t.Errorf("got %v, want %v", c.Resources, tt.want)
			}
			if !sameAmounts(tt.own.Limits, own.Limits) || !sameAmounts(tt.own.Requests, own.Requests) {
				t.Errorf("the settings changed to %v", tt.own)
			}
		})
	}
}

// TestPullPolicyOfAnEarlierInjection: only Always stays, which a plugin of the API server sets and then demands.
func TestPullPolicyOfAnEarlierInjection(t *testing.T) {
	for earlier, want := range map[corev1.PullPolicy]corev1.PullPolicy{corev1.PullAlways: corev1.PullAlways, corev1.PullNever: corev1.PullIfNotPresent, "": corev1.PullIfNotPresent} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: api.ContainerEnvoy, ImagePullPolicy: earlier}, {Name: "app", ImagePullPolicy: corev1.PullAlways}}}}
		c := corev1.Container{Name: api.ContainerEnvoy, ImagePullPolicy: corev1.PullIfNotPresent}
		defaultedOf(pod).addTo(&c)
		if c.ImagePullPolicy != want {
			t.Errorf("after %q: %s, want %s", earlier, c.ImagePullPolicy, want)
		}
	}
}

func TestGuaranteed(t *testing.T) {
	container := func(requests, limits corev1.ResourceList) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
	}
	full := amounts("cpu", "1", "memory", "1Gi")
	for name, tt := range map[string]struct {
		containers []corev1.Container
		want       bool
	}{
		"none":                    {nil, false},
		"limits alone":            {[]corev1.Container{container(nil, full)}, true},
		"requests equal limits":   {[]corev1.Container{container(full, full)}, true},
		"requests under limits":   {[]corev1.Container{container(amounts("cpu", "500m"), full)}, false},
		"no limit of memory":      {[]corev1.Container{container(nil, amounts("cpu", "1"))}, false},
		"no limit of cpu":         {[]corev1.Container{container(nil, amounts("memory", "1Gi"))}, false},
		"a limit of 0":            {[]corev1.Container{container(nil, amounts("cpu", "0", "memory", "1Gi"))}, false},
		"one of two":              {[]corev1.Container{container(nil, full), container(nil, nil)}, false},
		"requests without limits": {[]corev1.Container{container(full, nil)}, false},
	} {
		if got := guaranteed(tt.containers); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}

// TestChosenResources: limits alone, or requests alone, are a choice, for both containers.
func TestChosenResources(t *testing.T) {
	for name, chosen := range map[string]corev1.ResourceRequirements{
		"limits":   {Limits: amounts("cpu", "1")},
		"requests": {Requests: amounts("cpu", "1")},
	} {
		s := testSettings()
		s.Mesh.Sidecar.Resources = chosen
		for _, got := range []corev1.ResourceRequirements{s.sidecarResources(), s.initResources()} {
			if !sameAmounts(got.Limits, chosen.Limits) || !sameAmounts(got.Requests, chosen.Requests) {
				t.Errorf("%s: %v, want %v", name, got, chosen)
			}
		}
	}
	s := testSettings()
	for _, got := range []corev1.ResourceRequirements{s.sidecarResources(), s.initResources()} {
		if got.Limits.Memory().IsZero() {
			t.Error("without a choice there is no memory limit, which a quota may require")
		}
	}
}
