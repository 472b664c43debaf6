package charts_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// nest puts a value at the end of a dotted path.
func nest(path string, value any) values {
	keys := strings.Split(path, ".")
	for i := len(keys) - 1; i > 0; i-- {
		value = values{keys[i]: value}
	}
	return values{keys[0]: value}
}

// merge adds b's keys to a, deeply; b wins.
func merge(a, b values) values {
	for key, value := range b {
		inner, both := value.(values)
		if outer, ok := a[key].(values); ok && both {
			value = merge(outer, inner)
		}
		a[key] = value
	}
	return a
}

// The four parameters of the autoscaler, at and around the ends of their ranges, for both components.
func TestAutoScaleRanges(t *testing.T) {
	parameters := []struct {
		name, allowed string
		ok            map[any]bool
	}{
		{"minReplicas", "an integer from 1 to 10", map[any]bool{1: true, 10: true}},
		{"maxReplicas", "an integer from 1 to 10", map[any]bool{1: true, 10: true}},
		{"cpu.targetAverageUtilization", "an integer from 0 to 100", map[any]bool{0: true, 1: true, 10: true, 11: true, 100: true}},
		{"memory.targetAverageUtilization", "an integer from 0 to 100", map[any]bool{0: true, 1: true, 10: true, 11: true, 100: true}},
	}
	for _, component := range components() {
		for _, parameter := range parameters {
			for _, value := range []any{-1, 0, 1, 10, 11, 100, 101, "x", 1.5} {
				key := fmt.Sprintf("osm.%s.autoScale.%s", component.key, parameter.name)
				t.Run(fmt.Sprintf("%s=%v", key, value), func(t *testing.T) {
					given := set(t, fmt.Sprintf("osm.%[1]s.autoScale.enable=true,osm.%[1]s.autoScale.maxReplicas=10", component.key))
					rel, err := render(t, merge(given, nest(key, value)))
					if !parameter.ok[value] {
						wantRefusal(t, err, key, parameter.allowed)
						return
					}
					if err != nil {
						t.Fatalf("%s=%v was refused: %v", key, value, err)
					}
					scaler := must[*autoscalingv2.HorizontalPodAutoscaler](t, decode(t, manifest(rel)), component.app+"-hpa")
					want := value.(int)
					if want == 0 {
						want = leftOut
					}
					if got := rendered(scaler, parameter.name); got != want {
						t.Errorf("%s=%v was rendered as %d, want %d", key, value, got, want)
					}
				})
			}
		}
	}
}

// leftOut stands for a metric that the autoscaler does not have.
const leftOut = -1

// rendered reads a parameter back from the autoscaler.
func rendered(scaler *autoscalingv2.HorizontalPodAutoscaler, parameter string) int {
	switch parameter {
	case "minReplicas":
		return int(*scaler.Spec.MinReplicas)
	case "maxReplicas":
		return int(scaler.Spec.MaxReplicas)
	}
	for _, metric := range scaler.Spec.Metrics {
		if strings.HasPrefix(parameter, string(metric.Resource.Name)+".") {
			return int(*metric.Resource.Target.AverageUtilization)
		}
	}
	return leftOut
}

// By default a spike of pushes neither multiplies the replicas nor removes them again minutes later.
func TestAutoscalerIsSlowByDefault(t *testing.T) {
	all := objects(t, fromFile(t, "testdata/ha.values.yaml"))
	for _, component := range components() {
		behavior := must[*autoscalingv2.HorizontalPodAutoscaler](t, all, component.app+"-hpa").Spec.Behavior
		if window := behavior.ScaleDown.StabilizationWindowSeconds; window == nil || *window < 600 {
			t.Errorf("%s: scale-down window is %v, want at least 600 s", component.app, window)
		}
		for limit, rules := range map[int32]*autoscalingv2.HPAScalingRules{1: behavior.ScaleDown, 2: behavior.ScaleUp} {
			want := []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: limit, PeriodSeconds: 60}}
			if !slices.Equal(rules.Policies, want) {
				t.Errorf("%s: policies %v, want %v", component.app, rules.Policies, want)
			}
		}
	}
}

// wantRefusal checks that an error names the key, in Helm's pointer form or dotted, and every given text.
func wantRefusal(t *testing.T, err error, key string, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s was accepted", key)
	}
	if !strings.Contains(err.Error(), key) && !strings.Contains(err.Error(), "/"+strings.ReplaceAll(key, ".", "/")+"'") {
		t.Errorf("error does not name %s: %v", key, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not say %q: %v", text, err)
		}
	}
}

// Rules between values: refused with the key, what is allowed, and a fix that works.
func TestRulesBetweenValues(t *testing.T) {
	cases := []struct{ name, set, key, allowed, fix string }{
		{"floor above ceiling", "autoScale.minReplicas=7", "autoScale.minReplicas", "from 1 to 10", "autoScale.maxReplicas=7"},
		{"floor above ceiling, autoscaler off", "autoScale.enable=false,%autoScale.minReplicas=4,%autoScale.maxReplicas=3", "autoScale.minReplicas", "from 1 to 10", "autoScale.maxReplicas=4"},
		{"both targets zero", "autoScale.cpu.targetAverageUtilization=0,%autoScale.memory.targetAverageUtilization=0", "autoScale.memory.targetAverageUtilization", "from 0 to 100", "autoScale.cpu.targetAverageUtilization=80"},
		{"budget, explicit minimum 1", "enablePodDisruptionBudget=true,%autoScale.enable=true,%autoScale.minReplicas=1", "autoScale.minReplicas", "from 2 to 10", "autoScale.minReplicas=2"},
		{"budget, explicit count 1", "enablePodDisruptionBudget=true,%replicaCount=1", "replicaCount", "from 2 to 10", "replicaCount=2"},
		{"budget, ceiling 1", "enablePodDisruptionBudget=true,%autoScale.enable=true,%autoScale.maxReplicas=1", "autoScale.maxReplicas", "from 2 to 10", "autoScale.maxReplicas=2"},
	}
	for _, component := range components() {
		prefix := "osm." + component.key + "."
		for _, test := range cases {
			t.Run(component.key+"/"+test.name, func(t *testing.T) {
				given := prefix + strings.ReplaceAll(test.set, "%", prefix)
				_, err := render(t, set(t, given))
				wantRefusal(t, err, prefix+test.key, test.allowed, "--set "+prefix+test.fix)
				if _, err := render(t, set(t, given+","+prefix+test.fix)); err != nil {
					t.Errorf("after the fix %s it is still refused: %v", prefix+test.fix, err)
				}
			})
		}
	}
}

func TestReservedPodLabelsAreRefused(t *testing.T) {
	for _, component := range components() {
		for _, label := range []string{"app", `app\.kubernetes\.io/name`, `app\.kubernetes\.io/instance`, `app\.kubernetes\.io/version`} {
			_, err := render(t, set(t, fmt.Sprintf("osm.%s.podLabels.%s=mine", component.key, label)))
			wantRefusal(t, err, "osm."+component.key+".podLabels", strings.ReplaceAll(label, `\`, ""))
		}
	}
}

func TestOneValueRules(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, test := range []struct{ set, key, says string }{
		{"osm.meshName=" + long, "osm.meshName", "1 to 53 characters"},
		{"osm.meshName=Upper", "osm.meshName", "a DNS label"},
		{"osm.meshName=dotted\\.name", "osm.meshName", "a DNS label"},
		{"osm.meshName=-dash", "osm.meshName", "a DNS label"},
		{"osm.meshName=", "osm.meshName", "a DNS label"},
		{"osm.meshName=null", "osm", "meshName"},
		{"osm.certificateProvider.kind=certmanager", "osm.certificateProvider.kind", "'tresor', 'vault', 'cert-manager'"},
		{"osm.osmController.replicaCount=11", "osm.osmController.replicaCount", "from 1 to 10"},
		{"osm.injector.replicaCount=0", "osm.injector.replicaCount", "from 1 to 10"},
		{"osm.injector.webhookTimeoutSeconds=11", "osm.injector.webhookTimeoutSeconds", "from 1 to 10"},
		{"osm.injector.webhookFailurePolicy=fail", "osm.injector.webhookFailurePolicy", "'Fail', 'Ignore'"},
		{"osm.image.pullPolicy=Sometimes", "osm.image.pullPolicy", "'IfNotPresent'"},
		{"osm.image.tag=a:b", "osm.image.tag", "an image tag"},
		{"osm.image.digest.osmControlPlane=sha256:12", "osm.image.digest.osmControlPlane", "64 hexadecimal digits"},
		{"osm.outboundPortExclusionList={0}", "osm.outboundPortExclusionList.0", "from 1 to 65535"},
		{"osm.inboundPortExclusionList={65536}", "osm.inboundPortExclusionList.0", "from 1 to 65535"},
		{"osm.outboundIPRangeExclusionList={10.0.0.0}", "osm.outboundIPRangeExclusionList.0", "CIDR"},
		{"osm.outboundIPRangeInclusionList={10.0.0.0/33}", "osm.outboundIPRangeInclusionList.0", "CIDR"},
		{"osm.networkInterfaceExclusionList={a/b}", "osm.networkInterfaceExclusionList.0", "interface name"},
		{"osm.certificateProvider.certKeyBitSize=1024", "osm.certificateProvider.certKeyBitSize", "2048"},
		{"osm.certificateProvider.serviceCertValidityDuration=1day", "osm.certificateProvider.serviceCertValidityDuration", "a Go duration"},
		{"osm.osmController.resource.requests.cpu=0", "osm.osmController.resource.requests.cpu", "a quantity"},
		{"osm.injector.resource.requests.memory=0Mi", "osm.injector.resource.requests.memory", "a quantity"},
		{"osm.injector.resource.requests.cpu=null", "osm.injector.resource.requests", "'cpu'"},
	} {
		t.Run(test.set, func(t *testing.T) {
			_, err := render(t, set(t, test.set))
			wantRefusal(t, err, test.key, test.says)
		})
	}
}

// Running without a CPU limit is common advice and must stay possible.
func TestLimitOfCPUCanBeTakenAway(t *testing.T) {
	for _, component := range components() {
		all := objects(t, set(t, fmt.Sprintf("osm.%s.resource.limits.cpu=null", component.key)))
		limits := must[*appsv1.Deployment](t, all, component.app).Spec.Template.Spec.Containers[0].Resources.Limits
		if _, ok := limits[corev1.ResourceCPU]; ok || limits.Memory().IsZero() {
			t.Errorf("%s has limits %v, want memory only", component.app, limits)
		}
	}
}

// For any replicas, autoscaler and budget, either a drain can always evict a pod, or the values are refused.
// The number that is in effect takes every value; the one that is not takes unset and 1, which would be refused in effect.
func TestBudgetNeverBlocksADrain(t *testing.T) {
	both := components()
	for i, component := range both {
		t.Run(component.key, func(t *testing.T) {
			t.Parallel()
			for effective := range 11 { // 0 stands for unset
				for _, ignored := range []int{0, 1} {
					checkScale(t, both[1-i], scale{component, effective, ignored, false, false})
					checkScale(t, both[1-i], scale{component, effective, ignored, false, true})
					checkScale(t, both[1-i], scale{component, effective, ignored, true, false})
					checkScale(t, both[1-i], scale{component, effective, ignored, true, true})
				}
			}
		})
	}
}

// scale is one way to set a component's replicas: the number in effect is minReplicas when scaled and replicaCount
// when not, the other one is ignored; 0 stands for unset.
type scale struct {
	component
	effective, ignored int
	scaled, budget     bool
}

// key is the value in effect; given sets it and all the others.
func (s scale) key() string {
	if s.scaled {
		return "osm." + s.component.key + ".autoScale.minReplicas"
	}
	return "osm." + s.component.key + ".replicaCount"
}

func (s scale) given() values {
	replicas, minimum := s.effective, s.ignored
	if s.scaled {
		replicas, minimum = minimum, replicas
	}
	return nest("osm."+s.component.key, values{
		"replicaCount":              orNull(replicas),
		"enablePodDisruptionBudget": s.budget,
		"autoScale":                 values{"enable": s.scaled, "minReplicas": orNull(minimum), "maxReplicas": 10},
	})
}

func checkScale(t *testing.T, other component, s scale) {
	t.Helper()
	rel, err := render(t, s.given())
	if s.budget && s.effective == 1 {
		wantRefusal(t, err, s.key(), "--set "+s.key()+"=2")
		return
	}
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	all := decode(t, manifest(rel))
	checkFloor(t, all, s, wantFloor(s.effective, s.budget))
	checkFloor(t, all, scale{component: other}, 1)
}

func orNull(number int) any {
	if number == 0 {
		return nil
	}
	return number
}

func wantFloor(explicit int, budget bool) int {
	switch {
	case explicit != 0:
		return explicit
	case budget:
		return 2
	default:
		return 1
	}
}

// checkFloor compares the minimum replicas that Kubernetes keeps with the values and with the budget.
func checkFloor(t *testing.T, all []runtime.Object, s scale, want int) {
	t.Helper()
	component, scaled, budget := s.component, s.scaled, s.budget
	replicas := must[*appsv1.Deployment](t, all, component.app).Spec.Replicas
	scaler, hasScaler := find[*autoscalingv2.HorizontalPodAutoscaler](all, component.app+"-hpa")
	if hasScaler != scaled || (replicas == nil) != scaled {
		t.Fatalf("%s: autoscaler %t, spec.replicas %v; want autoscaler %t and replicas without it only", component.app, hasScaler, replicas, scaled)
	}
	floor := replicas
	if scaled {
		floor = scaler.Spec.MinReplicas
	}
	if floor == nil || int(*floor) != want {
		t.Fatalf("%s: floor is %v, want %d", component.app, floor, want)
	}
	disruption, hasBudget := find[*policyv1.PodDisruptionBudget](all, component.app+"-pdb")
	if hasBudget != budget {
		t.Fatalf("%s: budget rendered %t, want %t", component.app, hasBudget, budget)
	}
	if budget && int(*floor)-disruption.Spec.MinAvailable.IntValue() < 1 {
		t.Fatalf("%s: floor %d with minAvailable %v allows no disruption", component.app, *floor, disruption.Spec.MinAvailable)
	}
}

// Without limits a container has none, and the downward API must not pass the node's memory as the Go runtime's limit.
func TestAllLimitsCanBeTakenAway(t *testing.T) {
	for _, component := range components() {
		for _, gone := range []string{"limits=null", "limits.memory=null"} {
			all := objects(t, set(t, fmt.Sprintf("osm.%s.resource.%s", component.key, gone)))
			container := must[*appsv1.Deployment](t, all, component.app).Spec.Template.Spec.Containers[0]
			if limits := container.Resources.Limits; !limits.Memory().IsZero() || (gone == "limits=null" && len(limits) > 0) {
				t.Errorf("%s, %s: limits %v", component.app, gone, limits)
			}
			if downward(container, "GOMEMLIMIT") != nil {
				t.Errorf("%s, %s: GOMEMLIMIT is set", component.app, gone)
			}
		}
	}
}

func TestRequestsAboveLimits(t *testing.T) {
	for _, test := range []struct {
		set     string
		refused bool
	}{
		{"requests.memory=2Gi", true},
		{"requests.memory=1Gi", false},
		{"requests.memory=1025Mi", true},
		{"requests.memory=2G,limits.memory=2Gi", false},
		{"requests.cpu=2", true},
		{"requests.cpu=1.5", false},
		{"requests.cpu=1501m", true},
		{"requests.memory=2Gi,limits=null", false},
		{"requests.memory=2Gi,limits.memory=null", false},
	} {
		var keys []string
		for part := range strings.SplitSeq(test.set, ",") {
			keys = append(keys, "osm.osmController.resource."+part)
		}
		_, err := render(t, set(t, strings.Join(keys, ",")))
		if test.refused {
			wantRefusal(t, err, "osm.osmController.resource.requests.", "cannot request more than its limit")
		} else if err != nil {
			t.Errorf("%s: %v", test.set, err)
		}
	}
}

func TestRegistryIsRequired(t *testing.T) {
	_, err := render(t, set(t, "osm.image.registry="))
	wantRefusal(t, err, "osm.image.registry", "--set osm.image.registry=registry.example/team")
	for registry, allowed := range map[string]bool{
		"registry.example": true, "registry.example:5000/a/b": true, "localhost:5000": true, "team": true, "registry.example/": true,
		"https://registry.example": false, "registry.example:5000:1": false, "registry.example//a": false, "registry.example/a:v1": false, "a@b": false,
	} {
		if _, err := render(t, values{"osm": values{"image": values{"registry": registry}}}); (err == nil) != allowed {
			t.Errorf("registry %q: %v, want allowed: %t", registry, err, allowed)
		}
	}
}

// YAML reads some names as numbers, booleans or null; labels must be strings.
func TestNamesThatYAMLMisreads(t *testing.T) {
	for _, name := range []string{"123", "true", "null", "1e3", "0x1f", "no", "1-1", "0b1"} {
		given := values{"osm": values{"meshName": name, "caBundleSecretName": name,
			"osmController": values{"priorityClassName": name}, "injector": values{"priorityClassName": name}}}
		deployment := must[*appsv1.Deployment](t, objects(t, given), "osm-controller")
		for _, label := range []string{deployment.Labels["meshName"], deployment.Labels["app.kubernetes.io/instance"], deployment.Spec.Template.Labels["app.kubernetes.io/instance"]} {
			if label != name {
				t.Errorf("mesh %q has a label %q", name, label)
			}
		}
	}
	_, err := render(t, values{"osm": values{"meshName": strings.Repeat("a", 54)}})
	wantRefusal(t, err, "osm", "53")
}
