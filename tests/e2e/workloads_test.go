//go:build e2e

package e2e

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// container is the name of the agent's container in every pod.
const container = "agent"

// labelMine marks every namespace that the story creates, so that none is left behind.
const labelMine = "osm-e2e"

// namespace creates a namespace and deletes it at the end.
func (s *story) namespace(t *testing.T, name string) string {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelMine: "true"}}}
	must(s.kube.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}))(t)
	return name
}

// app is a set of agents that share a ServiceAccount of the same name.
type app struct {
	namespace, name string
	// avoid is a node that its pods must not run on; "" means none.
	avoid string
}

func (a app) labels() map[string]string { return map[string]string{"app": a.name} }
func (a app) selector() string          { return "app=" + a.name }

// spiffe returns the app's identity as a SPIFFE id.
func (a app) spiffe() string { return "spiffe://cluster.local/ns/" + a.namespace + "/sa/" + a.name }

func (a app) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: a.namespace, Name: a.name, Labels: a.labels()}
}

// template returns a pod of the app that runs testapp with these arguments.
func (a app) template(image string, args ...string) corev1.PodTemplateSpec {
	spec := corev1.PodSpec{
		ServiceAccountName:           a.name,
		AutomountServiceAccountToken: ptr(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(65532)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: container, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: args,
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	if a.avoid != "" {
		elsewhere := corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpNotIn, Values: []string{a.avoid}}
		spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{elsewhere}}},
		}}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: a.labels()}, Spec: spec}
}

// server returns a pod of the app that serves until it is deleted.
func (a app) server(image string) corev1.PodTemplateSpec {
	template := a.template(image, "serve")
	template.Spec.Containers[0].ReadinessProbe = httpProbe(agent.PathReady)
	return template
}

func httpProbe(path string) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(agent.PortHTTP)}},
		PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 2,
	}
}

func (s *story) account(t *testing.T, a app) {
	t.Helper()
	must(s.kube.CoreV1().ServiceAccounts(a.namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: a.meta()}, metav1.CreateOptions{}))(t)
}

// deploy starts servers and waits until they are ready.
func (s *story) deploy(t *testing.T, a app, replicas int32) []*corev1.Pod {
	t.Helper()
	return s.deployAs(t, a, replicas, a.server(s.env.testapp))
}

// deployAs is deploy with pods of a template.
func (s *story) deployAs(t *testing.T, a app, replicas int32, template corev1.PodTemplateSpec) []*corev1.Pod {
	t.Helper()
	s.account(t, a)
	must(s.kube.AppsV1().Deployments(a.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: a.meta(),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(replicas), Selector: &metav1.LabelSelector{MatchLabels: a.labels()}, Template: template,
		},
	}, metav1.CreateOptions{}))(t)
	return s.ready(t, a, int(replicas))
}

// start runs one pod outside any Deployment.
func (s *story) start(t *testing.T, a app, template corev1.PodTemplateSpec) {
	t.Helper()
	s.account(t, a)
	must(s.kube.CoreV1().Pods(a.namespace).Create(t.Context(), &corev1.Pod{ObjectMeta: a.meta(), Spec: template.Spec}, metav1.CreateOptions{}))(t)
}

// set starts a StatefulSet with its headless Service.
func (s *story) set(t *testing.T, a app, replicas int32, ports ...corev1.ServicePort) []*corev1.Pod {
	t.Helper()
	s.account(t, a)
	s.serviceOf(t, a, a.name, corev1.ClusterIPNone, ports...)
	must(s.kube.AppsV1().StatefulSets(a.namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: a.meta(),
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr(replicas), ServiceName: a.name, Selector: &metav1.LabelSelector{MatchLabels: a.labels()},
			PodManagementPolicy: appsv1.ParallelPodManagement, Template: a.server(s.env.testapp),
		},
	}, metav1.CreateOptions{}))(t)
	return s.ready(t, a, int(replicas))
}

// job starts a Job that makes one call.
func (s *story) job(t *testing.T, a app, call agent.Call) {
	t.Helper()
	s.account(t, a)
	template := a.template(s.env.testapp, "call", string(call.Protocol), call.Address)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	must(s.kube.BatchV1().Jobs(a.namespace).Create(t.Context(), &batchv1.Job{
		ObjectMeta: a.meta(), Spec: batchv1.JobSpec{BackoffLimit: ptr(int32(0)), Template: template},
	}, metav1.CreateOptions{}))(t)
}

// serviceOf creates a Service of any name for the app. address is "" or None.
func (s *story) serviceOf(t *testing.T, a app, name, address string, ports ...corev1.ServicePort) *corev1.Service {
	t.Helper()
	object := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name, Labels: a.labels()},
		Spec:       corev1.ServiceSpec{ClusterIP: address, Selector: a.labels(), Ports: ports},
	}
	return must(s.kube.CoreV1().Services(a.namespace).Create(t.Context(), object, metav1.CreateOptions{}))(t)
}

// port returns a Service port; the name defines the protocol, unless protocol does.
func port(name string, number, target int32, protocol ...string) corev1.ServicePort {
	p := corev1.ServicePort{Name: name, Port: number, TargetPort: intstr.FromInt32(target)}
	if len(protocol) > 0 {
		p.AppProtocol = &protocol[0]
	}
	return p
}

func ptr[T any](v T) *T { return &v }
