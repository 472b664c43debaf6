package release

import (
	"errors"
	"fmt"

	"helm.sh/helm/v3/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
)

// Autoscaling decides who sets the number of a Deployment's replicas: the chart while it is off, the
// autoscaler while it is on. Helm hands the number over badly in both directions:
//
//   - On: what the new manifest no longer sets, Helm sets to null, and the API server reads that as one
//     replica until the autoscaler has noticed.
//   - Off: Helm removes the autoscaler after it has set the new number, and the autoscaler may change
//     the number in between.
//
// This file makes both safe: a number that the chart no longer sets stays as it is, and an autoscaler
// goes before its Deployment is touched.

// handOver prepares an update so that no Deployment runs fewer replicas than the old and the new
// settings ask for.
func (g *guard) handOver(original, target kube.ResourceList) error {
	if err := g.removeAutoscalers(original.Difference(target)); err != nil {
		return err
	}
	floors := floorsOf(target)
	for _, info := range target {
		if info.Mapping.GroupVersionKind.Kind != "Deployment" || setsReplicas(info) {
			continue
		}
		if before := original.Get(info); before != nil {
			forgetReplicas(before)
		}
		if err := g.raise(info, floors[info.Name]); err != nil {
			return err
		}
	}
	return nil
}

// removeAutoscalers removes the autoscalers among the objects that an update drops.
func (g *guard) removeAutoscalers(dropped kube.ResourceList) error {
	autoscalers := dropped.Filter(isAutoscaler)
	if len(autoscalers) == 0 {
		return nil
	}
	if _, errs := g.Client.Delete(autoscalers); len(errs) > 0 {
		return fmt.Errorf("remove the autoscaler before the replicas are set: %w", errors.Join(errs...))
	}
	return nil
}

// raise lets this one update set the autoscaler's minimum if fewer replicas run: an autoscaler needs
// some seconds for that, and ignores a Deployment with none.
func (g *guard) raise(info *resource.Info, floor int32) error {
	if floor == 0 {
		return nil
	}
	live, err := g.wait.client.AppsV1().Deployments(info.Namespace).Get(g.ctx, info.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil // Helm creates it
	}
	if err != nil {
		return fmt.Errorf("read the replicas of Deployment %s: %w", info.Name, err)
	}
	object, ok := info.Object.(*unstructured.Unstructured)
	if !ok || replicas(live) >= floor {
		return nil
	}
	return unstructured.SetNestedField(object.Object, int64(floor), "spec", "replicas")
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func setsReplicas(info *resource.Info) bool {
	object, ok := info.Object.(*unstructured.Unstructured)
	if !ok {
		return true // leave alone what is not understood
	}
	_, found, err := unstructured.NestedFieldNoCopy(object.Object, "spec", "replicas")
	return found || err != nil
}

// forgetReplicas makes Helm believe that the last manifest did not set the replicas either.
func forgetReplicas(info *resource.Info) {
	if object, ok := info.Object.(*unstructured.Unstructured); ok {
		unstructured.RemoveNestedField(object.Object, "spec", "replicas")
	}
}
