package charts_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/tests/realapi"
)

// replicaCluster is a real API server with the policy and one Deployment of the chart, without autoscaling.
type replicaCluster struct {
	t      *testing.T
	client *client.Clientset
	fixed  []byte // the manifest with a number of replicas
	scaled []byte // the manifest that leaves the number to the autoscaler
}

func newReplicaCluster(t *testing.T, app string) *replicaCluster {
	t.Helper()
	c := &replicaCluster{t: t, client: realapi.Start(t).Client(t)}
	fixed := objects(t, set(t, "osm.osmController.replicaCount=3,osm.injector.replicaCount=3"))
	scaled := objects(t, set(t, "osm.osmController.autoScale.enable=true,osm.injector.autoScale.enable=true,"+
		"osm.osmController.autoScale.minReplicas=2,osm.injector.autoScale.minReplicas=2"))
	c.fixed, c.scaled = c.json(must[*appsv1.Deployment](t, fixed, app)), c.json(must[*appsv1.Deployment](t, scaled, app))
	create := metav1.CreateOptions{}
	_, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: releaseNamespace}}, create)
	c.must(err)
	policies := c.client.AdmissionregistrationV1()
	_, err = policies.ValidatingAdmissionPolicies().Create(t.Context(), must[*admissionv1.ValidatingAdmissionPolicy](t, fixed, "osm-replicas-osm"), create)
	c.must(err)
	_, err = policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), must[*admissionv1.ValidatingAdmissionPolicyBinding](t, fixed, "osm-replicas-osm"), create)
	c.must(err)
	return c
}

func (c *replicaCluster) json(d *appsv1.Deployment) []byte {
	c.t.Helper()
	d = d.DeepCopy()
	d.APIVersion, d.Kind = "apps/v1", "Deployment"
	data, err := json.Marshal(d)
	c.must(err)
	return data
}

func (c *replicaCluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *replicaCluster) patch(app string, kind types.PatchType, body []byte, options metav1.PatchOptions) error {
	_, err := c.client.AppsV1().Deployments(releaseNamespace).Patch(c.t.Context(), app, kind, body, options)
	return err
}

func (c *replicaCluster) replicas() int32 {
	c.t.Helper()
	d, err := c.client.AppsV1().Deployments(releaseNamespace).Get(c.t.Context(), "osm-controller", metav1.GetOptions{})
	c.must(err)
	return *d.Spec.Replicas
}

// turnOn is the patch with which helm upgrade and kubectl apply turn autoscaling on.
const turnOn = `{"metadata":{"annotations":{"openservicemesh.io/min-replicas":"2"}},"spec":{"replicas":null}}`

// enforced waits until the API server enforces the policy, which it compiles shortly after its creation.
func (c *replicaCluster) enforced(ctx context.Context, app string) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		err := c.patch(app, types.StrategicMergePatchType, []byte(turnOn), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "osm mesh scale --autoscale=true") {
			return
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			c.t.Fatalf("the policy is not enforced: %v", err)
		}
	}
}

// What any tool but osm does when autoscaling is turned on is refused while it would drop replicas, and what
// docs/scaling.md shows instead works, for server-side apply too.
func TestNoToolDropsReplicasForAutoscaling(t *testing.T) {
	const app = "osm-controller"
	c := newReplicaCluster(t, app)
	flux, other := metav1.PatchOptions{FieldManager: "flux"}, metav1.PatchOptions{FieldManager: "handover"}
	c.must(c.patch(app, types.ApplyPatchType, c.fixed, flux))
	c.enforced(t.Context(), app)

	if err := c.patch(app, types.ApplyPatchType, c.scaled, flux); !apierrors.IsForbidden(err) || c.replicas() != 3 {
		t.Errorf("server-side apply: %v, %d replicas; want it refused", err, c.replicas())
	}
	if err := c.patch(app, types.StrategicMergePatchType, []byte(turnOn), metav1.PatchOptions{}); !apierrors.IsForbidden(err) || c.replicas() != 3 {
		t.Errorf("a merge patch: %v, %d replicas; want it refused", err, c.replicas())
	}

	number := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"osm-controller","namespace":"osm-system"},"spec":{"replicas":3}}`
	c.must(c.patch(app, types.ApplyPatchType, []byte(number), other))
	c.must(c.patch(app, types.ApplyPatchType, c.scaled, flux))
	if n := c.replicas(); n != 3 {
		t.Errorf("handed over: %d replicas, want 3", n)
	}

	_, err := c.client.AppsV1().Deployments(releaseNamespace).UpdateScale(t.Context(), app,
		&autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: releaseNamespace}, Spec: autoscalingv1.ScaleSpec{Replicas: 0}}, metav1.UpdateOptions{})
	if c.must(err); c.replicas() != 0 {
		t.Errorf("kubectl scale: %d replicas, want 0", c.replicas())
	}
	c.must(c.patch(app, types.MergePatchType, []byte(`{"metadata":{"labels":{"any":"change"}}}`), metav1.PatchOptions{}))
	off := `{"metadata":{"annotations":{"openservicemesh.io/min-replicas":null}},"spec":{"replicas":1}}`
	c.must(c.patch(app, types.StrategicMergePatchType, []byte(off), metav1.PatchOptions{}))
}
