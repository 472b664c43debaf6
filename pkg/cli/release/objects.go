package release

import (
	"helm.sh/helm/v3/pkg/kube"
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

func isAutoscaler(info *resource.Info) bool {
	return info.Mapping.GroupVersionKind.Kind == "HorizontalPodAutoscaler"
}

// floorsOf returns the minimum number of replicas of the autoscalers among resources, by Deployment. A
// Deployment that its autoscaler has not yet scaled out is not ready, whatever its status says.
func floorsOf(resources kube.ResourceList) map[string]int32 {
	floors := map[string]int32{}
	for _, info := range resources {
		if !isAutoscaler(info) {
			continue
		}
		if name, floor := autoscaler(info); name != "" {
			floors[name] = floor
		}
	}
	return floors
}
