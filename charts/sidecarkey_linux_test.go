package charts_test

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/tests/realapi"
)

// TestNobodyElseMountsTheSidecarsKey tries to mount the key on a real API server without an injector, as a later
// webhook, or a user with the right to debug pods, could.
func TestNobodyElseMountsTheSidecarsKey(t *testing.T) {
	client := realapi.Start(t).Client(t)
	all := objects(t, values{})
	const name = "osm-sidecar-key-osm"
	create := metav1.CreateOptions{}
	for _, ns := range []string{"shop", "elsewhere"} {
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
		if ns == "shop" {
			object.Labels = map[string]string{"openservicemesh.io/monitored-by": "osm"}
		}
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), object, create); err != nil {
			t.Fatal(err)
		}
	}
	policies := client.AdmissionregistrationV1()
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), must[*admissionv1.ValidatingAdmissionPolicy](t, all, name), create); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), must[*admissionv1.ValidatingAdmissionPolicyBinding](t, all, name), create); err != nil {
		t.Fatal(err)
	}
	attacker := keyPod("attacker", "app")
	awaitRefusal(t, client, attacker)

	inInit := keyPod("init", "envoy")
	inInit.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "a", VolumeMounts: inInit.Spec.Containers[0].VolumeMounts}}
	if err := createPod(t.Context(), client, "shop", inInit); !refusedForTheKey(err) {
		t.Errorf("an init container that mounts the key: %v", err)
	}
	if err := createPod(t.Context(), client, "elsewhere", attacker); err != nil {
		t.Errorf("a pod of no mesh: %v", err)
	}
	honest := keyPod("honest", "envoy")
	honest.Spec.Containers = append(honest.Spec.Containers, corev1.Container{Name: "app", Image: "a"})
	if err := createPod(t.Context(), client, "shop", honest); err != nil {
		t.Fatalf("the sidecar itself: %v", err)
	}
	debug := func(container string, mounts []corev1.VolumeMount) error {
		pod, err := client.CoreV1().Pods("shop").Get(t.Context(), "honest", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: container, Image: "a", VolumeMounts: mounts, TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullNever,
		}})
		_, err = client.CoreV1().Pods("shop").UpdateEphemeralContainers(t.Context(), "honest", pod, metav1.UpdateOptions{})
		return err
	}
	if err := debug("spy", honest.Spec.Containers[0].VolumeMounts); !refusedForTheKey(err) {
		t.Errorf("an ephemeral container that mounts the key: %v", err)
	}
	if err := debug("doctor", nil); err != nil {
		t.Errorf("an ephemeral container without mounts: %v", err)
	}
}

// keyPod is a pod with the key's volume, mounted by one container.
func keyPod(name, container string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: container, Image: "a", VolumeMounts: []corev1.VolumeMount{{Name: "osm-proxy", MountPath: "/key"}}}},
		Volumes:    []corev1.Volume{{Name: "osm-proxy", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "osm-proxy-default"}}}},
	}}
}

func createPod(ctx context.Context, client clientset.Interface, namespace string, pod *corev1.Pod) error {
	_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

func refusedForTheKey(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "the volume osm-proxy, which holds the sidecar's key")
}

// awaitRefusal retries until the policy is enforced: the API server learns of it through a watch.
func awaitRefusal(t *testing.T, client clientset.Interface, pod *corev1.Pod) {
	t.Helper()
	ticker, deadline := time.NewTicker(100*time.Millisecond), time.After(time.Minute)
	defer ticker.Stop()
	for {
		err := createPod(t.Context(), client, "shop", pod)
		switch {
		case refusedForTheKey(err):
			return
		case err == nil:
			if err := client.CoreV1().Pods("shop").Delete(t.Context(), pod.Name, *metav1.NewDeleteOptions(0)); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("neither created nor refused: %v", err)
		}
		select {
		case <-deadline:
			t.Fatal("the policy never refuses")
		case <-ticker.C:
		}
	}
}
