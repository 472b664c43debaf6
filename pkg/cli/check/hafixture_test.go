package check_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

const day = 24 * time.Hour

var errRefused = errors.New("refused")

// newRoot creates a CA and returns its PEM form and fingerprint.
func newRoot(t *testing.T, notAfter time.Time) (bundle []byte, fingerprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-day), NotAfter: notAfter, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), hex.EncodeToString(sum[:])
}

func component(app string) cluster.Component {
	two := int32(2)
	c := cluster.Component{App: app}
	c.Deployment.Value = &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &two}}
	for i := range 2 {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", app, i)}}
		pod.Spec.NodeName = fmt.Sprintf("node-%d", i)
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		c.Pods.Value = append(c.Pods.Value, pod)
	}
	one, always := intstr.FromInt32(1), policyv1.AlwaysAllow
	c.Budgets.Value = []policyv1.PodDisruptionBudget{{
		ObjectMeta: metav1.ObjectMeta{Name: app + "-pdb"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, UnhealthyPodEvictionPolicy: &always},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2},
	}}
	return c
}

// well returns a mesh that passes every check; the autoscalers are off.
func well(t *testing.T) cluster.Availability {
	t.Helper()
	bundle, root := newRoot(t, now.Add(400*day))
	a := cluster.Availability{Mesh: cluster.Mesh{Name: "blue", Namespace: "osm-system"}, Now: now}
	for _, app := range []string{"osm-controller", "osm-injector"} {
		c := component(app)
		for i, pod := range c.Pods.Value {
			r := cluster.Replica{App: app, Pod: pod.Name, Root: root, Trusted: map[string]bool{root: true}, RootExpiry: now.Add(400 * day), Proxies: -1, Stale: -1}
			if app == "osm-controller" {
				r.Proxies, r.Stale, r.First = 2, 0, cluster.Expiry{At: now.Add(17*time.Hour + time.Duration(4+i)*time.Minute), Pod: fmt.Sprintf("shop/till-%d", i)}
			}
			c.Replicas = append(c.Replicas, r)
		}
		a.Components = append(a.Components, c)
	}
	for i := range 2 {
		a.Nodes.Value = append(a.Nodes.Value, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	}
	holder, renewed := "osm-controller-1", metav1.NewMicroTime(now.Add(-time.Second))
	a.Lease.Value = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed}}
	a.Webhook.Value = &admissionregistrationv1.MutatingWebhookConfiguration{Webhooks: []admissionregistrationv1.MutatingWebhook{{
		Name: "osm-inject.k8s.io", ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: bundle}}}}
	a.Endpoints.Value = 2
	a.Injected.Value = 4
	return a
}

// autoscaled gives the controllers a working autoscaler.
func autoscaled(a *cluster.Availability) *autoscalingv2.HorizontalPodAutoscaler {
	low, used, target := int32(2), int32(12), int32(80)
	a.Components[0].Autoscalers.Value = []autoscalingv2.HorizontalPodAutoscaler{{
		ObjectMeta: metav1.ObjectMeta{Name: "osm-controller-hpa"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: &low, MaxReplicas: 5, Metrics: []autoscalingv2.MetricSpec{
			{Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu", Target: autoscalingv2.MetricTarget{AverageUtilization: &target}}}}},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: 2,
			Conditions:     []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue}},
			CurrentMetrics: []autoscalingv2.MetricStatus{{Resource: &autoscalingv2.ResourceMetricStatus{Name: "cpu", Current: autoscalingv2.MetricValueStatus{AverageUtilization: &used}}}}},
	}}
	return &a.Components[0].Autoscalers.Value[0]
}
