package charts_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// pods returns the pod templates of every workload and of the hook, by name.
func pods(all []runtime.Object) map[string]corev1.PodTemplateSpec {
	templates := map[string]corev1.PodTemplateSpec{}
	for _, deployment := range every[*appsv1.Deployment](all) {
		templates[deployment.Name] = deployment.Spec.Template
	}
	for _, job := range every[*batchv1.Job](all) {
		templates[job.Name] = job.Spec.Template
	}
	return templates
}

// forEachPod runs a check on all pods, with the default values and with every value changed.
func forEachPod(t *testing.T, check func(t *testing.T, pod corev1.PodTemplateSpec)) {
	for _, file := range []string{"default", "everything"} {
		templates := pods(objects(t, fromFile(t, "testdata/"+file+".values.yaml")))
		for _, name := range []string{"osm-controller", "osm-injector", "osm-bootstrap"} {
			t.Run(file+"/"+name, func(t *testing.T) {
				pod, ok := templates[name]
				if !ok {
					t.Fatalf("no pod template for %s", name)
				}
				check(t, pod)
			})
		}
		if len(templates) != 3 {
			t.Errorf("%s: %d pod templates, want 3", file, len(templates))
		}
	}
}

// TestPodsPassRestricted uses the code of the API server's Pod Security admission.
func TestPodsPassRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	forEachPod(t, func(t *testing.T, pod corev1.PodTemplateSpec) {
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
		if !result.Allowed {
			t.Errorf("not restricted: %s", result.ForbiddenDetail())
		}
	})
}

// Beyond the standard: no writable file system, an explicit user, a token only where it is requested, requests for the HPA.
func TestPodsAreHardened(t *testing.T) {
	forEachPod(t, func(t *testing.T, pod corev1.PodTemplateSpec) {
		container := pod.Spec.Containers[0]
		if read := container.SecurityContext.ReadOnlyRootFilesystem; read == nil || !*read {
			t.Error("root file system is writable")
		}
		if user := pod.Spec.SecurityContext.RunAsUser; user == nil || *user != 65532 {
			t.Errorf("user is %v, want 65532", user)
		}
		if token := pod.Spec.AutomountServiceAccountToken; token == nil || !*token {
			t.Error("the token that the process needs is not mounted")
		}
		if container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero() {
			t.Errorf("requests are %v", container.Resources.Requests)
		}
		if container.Resources.Limits.Memory().IsZero() {
			t.Errorf("limits are %v", container.Resources.Limits)
		}
	})
}

func TestLongRunningPodsHaveProbesAndIdentity(t *testing.T) {
	for name, pod := range pods(objects(t, values{})) {
		if name == "osm-bootstrap" {
			continue
		}
		container := pod.Spec.Containers[0]
		for probe, want := range map[*corev1.Probe]string{container.StartupProbe: "/readyz", container.ReadinessProbe: "/readyz", container.LivenessProbe: "/livez"} {
			if probe == nil || probe.HTTPGet.Path != want || probe.HTTPGet.Port.StrVal != "http" {
				t.Errorf("%s: probe %+v, want GET %s on port http", name, probe, want)
			}
		}
		for variable, path := range map[string]string{"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"} {
			if source := downward(container, variable); source == nil || source.FieldRef.FieldPath != path {
				t.Errorf("%s: %s is %v, want the field %s", name, variable, source, path)
			}
		}
		if source := downward(container, "GOMEMLIMIT"); source == nil || source.ResourceFieldRef.Resource != "limits.memory" {
			t.Errorf("%s: GOMEMLIMIT is %v, want limits.memory", name, source)
		}
	}
}

// The drain period, which the process gets as a flag, has to fit in the time that the kubelet grants, whatever it
// is set to.
func TestGracePeriodHoldsTheDrain(t *testing.T) {
	for _, seconds := range []int{5, 20, 61, 300} {
		drains := map[string]int64{}
		for name, pod := range pods(objects(t, nest("osm.osmController.drainSeconds", seconds))) {
			for _, arg := range pod.Spec.Containers[0].Args {
				var drain int64
				if _, err := fmt.Sscanf(arg, "--drain-period=%ds", &drain); err != nil {
					continue
				}
				drains[name] = drain
				if grace := *pod.Spec.TerminationGracePeriodSeconds; grace < drain+10 {
					t.Errorf("%s: %d s of grace for %d s of draining", name, grace, drain)
				}
			}
		}
		if len(drains) != 2 || drains["osm-controller"] != int64(seconds) {
			t.Errorf("the components drain for %v; want both to drain, the controller for %d s", drains, seconds)
		}
	}
}

// Pods spread where possible and never stay pending for it; an update can finish even if spreading is required.
func TestPlacement(t *testing.T) {
	for _, component := range components() {
		deployment := must[*appsv1.Deployment](t, objects(t, values{}), component.app)
		own := labels.Set(deployment.Spec.Template.Labels)
		affinity := deployment.Spec.Template.Spec.Affinity
		if len(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) != 0 {
			t.Errorf("%s: anti-affinity is required", component.app)
		}
		preferred := affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
		if len(preferred) != 1 || preferred[0].PodAffinityTerm.TopologyKey != corev1.LabelHostname || !selects(t, preferred[0].PodAffinityTerm.LabelSelector, own) {
			t.Errorf("%s: preferred anti-affinity %v does not keep its own pods on different hosts", component.app, preferred)
		}
		var spread []string
		for _, constraint := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
			if constraint.WhenUnsatisfiable == corev1.ScheduleAnyway && selects(t, constraint.LabelSelector, own) &&
				slices.Equal(constraint.MatchLabelKeys, []string{appsv1.DefaultDeploymentUniqueLabelKey}) {
				spread = append(spread, constraint.TopologyKey)
			}
		}
		if !slices.Equal(spread, []string{corev1.LabelTopologyZone, corev1.LabelHostname}) {
			t.Errorf("%s: spreads over %v, want zone and host", component.app, spread)
		}
		if got := deployment.Spec.Strategy.RollingUpdate; got.MaxUnavailable.IntValue() != 0 || got.MaxSurge.IntValue() != 1 {
			t.Errorf("%s: rolling update %v, want maxUnavailable 0 and maxSurge 1", component.app, got)
		}
		required := set(t, fmt.Sprintf("osm.%s.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes.io/hostname", component.key))
		tight := must[*appsv1.Deployment](t, objects(t, required), component.app)
		if got := tight.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(); got != 1 {
			t.Errorf("%s: with required anti-affinity maxUnavailable is %d, want 1", component.app, got)
		}
		if tight.Spec.Template.Spec.Affinity.NodeAffinity == nil {
			t.Errorf("%s: setting podAntiAffinity lost the default nodeAffinity", component.app)
		}
	}
}

func selects(t *testing.T, selector *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatalf("reading selector %v: %v", selector, err)
	}
	return parsed.Matches(set)
}

func TestServicesReachTheirPods(t *testing.T) {
	all := objects(t, values{})
	for name, want := range map[string]map[string]int32{
		"osm-controller": {"xds": 15128, "http": 9091},
		"osm-injector":   {"webhook": 9090, "http": 9091},
	} {
		service, pod := must[*corev1.Service](t, all, name), pods(all)[name]
		if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s: selector %v does not match %v", name, service.Spec.Selector, pod.Labels)
		}
		open := map[string]int32{}
		for _, port := range pod.Spec.Containers[0].Ports {
			open[port.Name] = port.ContainerPort
		}
		for _, port := range service.Spec.Ports {
			if port.Port != want[port.Name] || open[port.TargetPort.StrVal] != want[port.Name] {
				t.Errorf("%s: port %s is %d and leads to %d, want %d", name, port.Name, port.Port, open[port.TargetPort.StrVal], want[port.Name])
			}
		}
		if len(service.Spec.Ports) != len(want) {
			t.Errorf("%s: %d ports, want %d", name, len(service.Spec.Ports), len(want))
		}
	}
}

// images returns the images of every container, and those that the injector puts into pods.
func images(all []runtime.Object) []string {
	var found []string
	for _, pod := range pods(all) {
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			found = append(found, container.Image)
			for _, arg := range container.Args {
				if name, image, ok := strings.Cut(arg, "="); ok && strings.HasSuffix(name, "-image") {
					found = append(found, image)
				}
			}
		}
	}
	return found
}

func TestOneRegistryForAllImages(t *testing.T) {
	given := fromFile(t, "testdata/mirror.values.yaml")
	found := images(objects(t, given))
	if len(found) != 5 {
		t.Errorf("found %d images, want 3 containers, sidecar and init: %v", len(found), found)
	}
	for _, image := range found {
		if !strings.HasPrefix(image, "registry.internal:5000/mesh/") {
			t.Errorf("%s does not come from the registry", image)
		}
	}
	text := renderText(t, given)
	for _, other := range []string{"registry.example/", "envoyproxy/"} {
		if strings.Contains(text, other) {
			t.Errorf("the default registry %s is still in the manifest", other)
		}
	}
}

// The digest decides what is pulled, even if a tag is set.
func TestTagAndDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for _, test := range []struct{ set, want string }{
		{"osm.image.registry=r", "r/osm-controlplane:" + load(t).AppVersion()},
		{"osm.image.registry=r/", "r/osm-controlplane:" + load(t).AppVersion()},
		{"osm.image.registry=r,osm.image.tag=v7", "r/osm-controlplane:v7"},
		{"osm.image.registry=r,osm.image.digest.osmControlPlane=" + digest, "r/osm-controlplane@" + digest},
		{"osm.image.registry=r,osm.image.tag=v7,osm.image.digest.osmControlPlane=" + digest, "r/osm-controlplane:v7@" + digest},
	} {
		sidecar := ""
		for _, image := range images(objects(t, set(t, test.set))) {
			if strings.HasPrefix(image, "envoyproxy/") {
				sidecar = image
			} else if image != test.want {
				t.Errorf("%s: image %s, want %s", test.set, image, test.want)
			}
		}
		if sidecar == "" {
			t.Errorf("%s: the injector is not told the sidecar's image", test.set)
		}
	}
}
