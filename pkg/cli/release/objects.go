package release

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
)

// autoscaler returns the Deployment that an autoscaler of the release scales, and its minimum.
func autoscaler(info *resource.Info) (deployment string, floor int32) {
	object, ok := info.Object.(*unstructured.Unstructured)
	if !ok {
		return "", 0
	}
	var hpa autoscalingv2.HorizontalPodAutoscaler
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &hpa); err != nil {
		return "", 0
	}
	if hpa.Spec.MinReplicas == nil {
		return hpa.Spec.ScaleTargetRef.Name, 1
	}
	return hpa.Spec.ScaleTargetRef.Name, *hpa.Spec.MinReplicas
}
