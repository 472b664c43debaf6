package injector

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/api/membership"
	"github.com/osm-edge/osm/tests/reach"
)

const absent = "(absent)"

func TestDecision(t *testing.T) {
	tests := map[string]struct {
		pod, namespace string
		change         func(*corev1.Pod, *Namespace)
		want           bool
		wantErr        string
	}{
		"neither says anything":     {pod: absent, namespace: absent},
		"namespace enabled":         {pod: absent, namespace: "enabled", want: true},
		"namespace yes":             {pod: absent, namespace: "yes", want: true},
		"namespace true":            {pod: absent, namespace: " True ", want: true},
		"namespace disabled":        {pod: absent, namespace: "disabled"},
		"pod wins: off":             {pod: "no", namespace: "enabled"},
		"pod wins: on":              {pod: "yes", namespace: "disabled", want: true},
		"pod wins over a bad value": {pod: "yes", namespace: "maybe", want: true},
		"pod's value is bad":        {pod: "maybe", namespace: "enabled", wantErr: `annotation openservicemesh.io/sidecar-injection of the pod is "maybe": want enabled`},
		"pod's value is empty":      {pod: "", namespace: "enabled", wantErr: "of the pod"},
		"namespace's value is bad":  {pod: absent, namespace: "on", wantErr: "of the namespace shop"},
		"host network":              {pod: "yes", namespace: "enabled", change: func(p *corev1.Pod, _ *Namespace) { p.Spec.HostNetwork = true }},
		"Windows by OS":             {pod: absent, namespace: "enabled", change: func(p *corev1.Pod, _ *Namespace) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }},
		"Windows by node": {pod: absent, namespace: "enabled", change: func(p *corev1.Pod, _ *Namespace) {
			p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
		}},
		"Linux by OS":                {pod: absent, namespace: "enabled", want: true, change: func(p *corev1.Pod, _ *Namespace) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }},
		"kube-system":                {pod: "yes", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Name = "kube-system" }},
		"kube-public":                {pod: "yes", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Name = "kube-public" }},
		"the mesh's own namespace":   {pod: "yes", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Name = "osm-system" }},
		"another mesh's namespace":   {pod: "yes", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Labels[api.LabelMonitoredBy] = "other" }},
		"no mesh's namespace":        {pod: "yes", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Labels = nil }},
		"ignored namespace":          {pod: "yes", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Labels[api.LabelIgnore] = "true" }},
		"a bad value where it is no": {pod: "maybe", namespace: "enabled", change: func(_ *corev1.Pod, n *Namespace) { n.Name = "kube-system" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
			ns := Namespace{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}, Annotations: map[string]string{}}
			if tt.pod != absent {
				pod.Annotations = map[string]string{api.AnnotationInjection: tt.pod}
			}
			if tt.namespace != absent {
				ns.Annotations[api.AnnotationInjection] = tt.namespace
			}
			if tt.change != nil {
				tt.change(pod, &ns)
			}
			got, err := Patch(Request{Pod: pod, Namespace: ns, UID: "1"}, testSettings())
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v, want an error with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (got.Outcome == Injected) != tt.want || (len(got.Operations) > 0) != tt.want {
				t.Errorf("got %s (%s), %d operations; want injected: %v", got.Outcome, got.Reason, len(got.Operations), tt.want)
			}
			if asked := tt.pod != "no" && membership.CannotInject(pod) != ""; asked != (len(got.Warnings) > 0) {
				t.Errorf("warnings: %v", got.Warnings)
			}
		})
	}
}

// TestRefusals are pods that must not be created as they are: each message names what to change.
func TestRefusals(t *testing.T) {
	annotated := func(key, value string) func(*corev1.Pod, *Settings) {
		return func(p *corev1.Pod, _ *Settings) { p.Annotations = map[string]string{key: value} }
	}
	probed := func(h corev1.ProbeHandler) func(*corev1.Pod, *Settings) {
		return func(p *corev1.Pod, _ *Settings) { p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: h} }
	}
	volume := func(source corev1.VolumeSource) func(*corev1.Pod, *Settings) {
		return func(p *corev1.Pod, _ *Settings) {
			p.Spec.Volumes = []corev1.Volume{{Name: "mine", VolumeSource: source}}
		}
	}
	mesh := func(traffic v1alpha2.TrafficSpec) func(*corev1.Pod, *Settings) {
		return func(_ *corev1.Pod, s *Settings) { s.Mesh.Traffic = traffic }
	}
	tests := map[string]struct {
		change func(*corev1.Pod, *Settings)
		want   []string
	}{
		"inbound port":         {annotated(api.AnnotationInboundPortExclusion, "80,http"), []string{api.AnnotationInboundPortExclusion, `"http"`, "1 to 65535"}},
		"port zero":            {annotated(api.AnnotationInboundPortExclusion, "0"), []string{`"0"`}},
		"outbound port":        {annotated(api.AnnotationOutboundPortExclusion, "65536"), []string{api.AnnotationOutboundPortExclusion, `"65536"`}},
		"excluded range":       {annotated(api.AnnotationOutboundIPRangeExclusion, "10.0.0.1"), []string{api.AnnotationOutboundIPRangeExclusion, `"10.0.0.1"`, "CIDR"}},
		"included range":       {annotated(api.AnnotationOutboundIPRangeInclusion, "10.0.0.0/33"), []string{api.AnnotationOutboundIPRangeInclusion}},
		"mapped range":         {annotated(api.AnnotationOutboundIPRangeInclusion, "::ffff:10.0.0.0/104"), []string{api.AnnotationOutboundIPRangeInclusion}},
		"mesh range":           {mesh(v1alpha2.TrafficSpec{OutboundIPRangeExclusionList: []string{"x"}}), []string{"MeshConfig", "outboundIPRangeExclusionList", `"x"`}},
		"mesh port":            {mesh(v1alpha2.TrafficSpec{InboundPortExclusionList: []int32{70000}}), []string{"MeshConfig", "70000"}},
		"mesh interface":       {mesh(v1alpha2.TrafficSpec{NetworkInterfaceExclusionList: []string{"a b"}}), []string{`"a b"`}},
		"container named init": {func(p *corev1.Pod, _ *Settings) { p.Spec.Containers[0].Name = api.ContainerInit }, []string{"osm-init", "reserved"}},
		"own envoy":            {func(p *corev1.Pod, _ *Settings) { p.Spec.Containers[0].Name = api.ContainerEnvoy }, []string{"envoy", "reserved"}},
		"own volume":           {func(p *corev1.Pod, _ *Settings) { p.Spec.Volumes = []corev1.Volume{{Name: volumeCertificate}} }, []string{"volume", "reserved"}},
		"reserved port": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 15001}}
		}, []string{"container app", "15001", "reserved"}},
		"mount of the key": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: volumeCertificate, MountPath: "/k"}}
		}, []string{"container app", "osm-proxy", "remove the mount"}},
		"mount of the key by an init container": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.InitContainers = []corev1.Container{{Name: "first", VolumeMounts: []corev1.VolumeMount{{Name: volumeCertificate, MountPath: "/k"}}}}
		}, []string{"container first", "osm-proxy"}},
		"the key as a device": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: volumeCertificate, DevicePath: "/dev/k"}}
		}, []string{"container app", "osm-proxy"}},
		"the sidecar's Secret": {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "osm-proxy-till"}}), []string{"volume mine", "osm-proxy-till", "remove"}},
		"the sidecar's Secret, projected": {volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "osm-proxy-till"}}},
		}}}), []string{"volume mine", "osm-proxy-till"}},
		"the sidecar's Secret as a variable": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "K", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "osm-proxy-till"}}}}}
		}, []string{"container app", "osm-proxy-till"}},
		"the sidecar's Secret as variables": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "osm-proxy-till"}}}}
		}, []string{"container app", "osm-proxy-till"}},
		"the sidecar's user": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr(int64(1500))}
		}, []string{"container app", "user 1500", "bypass"}},
		"the sidecar's user for the pod": {func(p *corev1.Pod, _ *Settings) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr(int64(1500))}
		}, []string{"container app", "user 1500"}},
		"own envoy with the key": {func(p *corev1.Pod, _ *Settings) {
			mount := corev1.VolumeMount{Name: volumeCertificate, MountPath: api.ProxyCertDir}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: api.ContainerEnvoy, VolumeMounts: []corev1.VolumeMount{mount}})
		}, []string{"container name envoy is reserved"}},
		"label without a sidecar": {func(p *corev1.Pod, _ *Settings) {
			p.Labels = map[string]string{api.LabelProxyUUID: "mine"}
			p.Annotations = map[string]string{api.AnnotationInjection: "disabled"}
		}, []string{"label osm-proxy-uuid", "remove the label"}},
		"label on the node's network": {func(p *corev1.Pod, _ *Settings) {
			p.Labels = map[string]string{api.LabelProxyUUID: "mine"}
			p.Spec.HostNetwork = true
		}, []string{"label osm-proxy-uuid"}},
		"the key without a sidecar": {func(p *corev1.Pod, _ *Settings) {
			p.Annotations = map[string]string{api.AnnotationInjection: "disabled"}
			p.Spec.Volumes = []corev1.Volume{{Name: volumeCertificate, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "osm-proxy-till"}}}}
		}, []string{"Secret osm-proxy-till"}},
		"a probe that asks the sidecar": {probed(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/osm-liveness-probe/app", Port: intstr.FromInt32(15901)}}),
			[]string{"livenessProbe of container app", "15901", "remove it"}},
		"a probe with a NUL": {probed(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 80, Service: ptr("a\x00")}}), []string{"livenessProbe of container app", "NUL"}},
		"unknown port name":  {probed(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("web")}}), []string{"livenessProbe of container app", `"web"`}},
		"port out of range":  {probed(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(0)}}), []string{"livenessProbe of container app", "1 to 65535"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod, settings := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}, testSettings()
			tt.change(pod, &settings)
			ns := Namespace{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}, Annotations: map[string]string{api.AnnotationInjection: "enabled"}}
			_, err := Patch(Request{Pod: pod, Namespace: ns, UID: "1"}, settings)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// TestOthersPodsAreNotJudged leaves alone what is in no namespace of the mesh.
func TestOthersPodsAreNotJudged(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: api.ContainerEnvoy}},
		Volumes:    []corev1.Volume{{Name: "mine", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "osm-proxy-till"}}}},
	}}
	pod.Labels = map[string]string{api.LabelProxyUUID: "of another mesh"}
	ns := Namespace{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "other"}}
	if got, err := Patch(Request{Pod: pod, Namespace: ns, UID: "1"}, testSettings()); err != nil || got.Outcome != Skipped {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestOwnSidecarIsReplaced gives a pod whose sidecar looks like the injector's and is not. Whatever stood
// there is gone, and the pod is what the injector makes of the rest.
func TestOwnSidecarIsReplaced(t *testing.T) {
	ns := Namespace{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}, Annotations: map[string]string{api.AnnotationInjection: "enabled"}}
	honest := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "first"}}, Containers: []corev1.Container{{Name: "app"}},
		Volumes: []corev1.Volume{{Name: "data"}},
	}}
	forged := honest.DeepCopy()
	mount := []corev1.VolumeMount{{Name: volumeCertificate, MountPath: api.ProxyCertDir}}
	forged.Labels = map[string]string{api.LabelProxyUUID: "mine"}
	forged.Spec.InitContainers = []corev1.Container{{Name: api.ContainerInit, Image: "forged"}, {Name: "first"}}
	forged.Spec.Containers = []corev1.Container{{Name: api.ContainerEnvoy, Image: "forged", VolumeMounts: mount}, {Name: "app"}}
	forged.Spec.Volumes = []corev1.Volume{{Name: volumeCertificate, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "osm-proxy-another"}}}, {Name: "data"}}
	injected := func(pod *corev1.Pod) *corev1.Pod {
		result, err := Patch(Request{Pod: pod, Namespace: ns, UID: "1"}, testSettings())
		if err != nil || result.Outcome != Injected {
			t.Fatalf("%+v, %v", result, err)
		}
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		return applyOperations(t, text, result.Operations)
	}
	if diff := cmp.Diff(injected(honest), injected(forged), cmpopts.SortSlices(func(a, b corev1.Volume) bool { return a.Name < b.Name })); diff != "" {
		t.Errorf("(-honest +forged):\n%s", diff)
	}
}

func TestRequestPath(t *testing.T) {
	tests := map[string]string{
		"": "/", "/": "/", "healthz": "/healthz", "/a/b?x=1&y=": "/a/b?x=1&y=", "/a#top": "/a",
		"/a%2Fb": "/a%2Fb", "/sp ace": "/sp%20ace", "?q": "/?q", "//twice": "/", "/%zz": "/%25zz", "/a\nb": "/a%0Ab",
	}
	for path, want := range tests {
		if got := requestPath(path); got != want {
			t.Errorf("requestPath(%q) = %q, want %q", path, got, want)
		}
	}
}

func FuzzAnnotations(f *testing.F) {
	f.Add("80, 443", "10.0.0.0/8", "enabled")
	f.Add("0", "::/0,1.2.3.4/32", "")
	f.Add(",,", "10.0.0.1", "maybe")
	outcomes := reach.All(f, "rules", "no rules", "decided", "undecided")
	f.Fuzz(func(t *testing.T, ports, ranges, injection string) {
		annotations := map[string]string{
			api.AnnotationInboundPortExclusion: ports, api.AnnotationOutboundPortExclusion: ports,
			api.AnnotationOutboundIPRangeExclusion: ranges, api.AnnotationOutboundIPRangeInclusion: ranges,
		}
		rules, err := redirection(annotations, v1alpha2.TrafficSpec{})
		outcomes.Note(map[bool]string{true: "rules", false: "no rules"}[err == nil])
		if err == nil {
			if err := rules.Validate(); err != nil {
				t.Errorf("accepted annotations give invalid rules: %v", err)
			}
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{api.AnnotationInjection: injection}}}
		ns := Namespace{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}}
		d, err := decide(pod, ns, testSettings())
		outcomes.Note(map[bool]string{true: "decided", false: "undecided"}[err == nil])
		if err != nil && d.inject {
			t.Error("an error and an injection")
		}
	})
}
