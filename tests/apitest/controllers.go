package apitest

import (
	"fmt"
	"math"
)

// Controllers that write only the status of objects, or objects that no client writes.

// endpoints simulates the endpoint slice controller.
func (s *Server) endpoints() {
	slices := kind{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true}
	for _, slice := range s.list(slices, "", "apitest/owner", "") {
		delete(s.objects, slices.key(meta(slice, "namespace"), meta(slice, "name")))
	}
	for _, service := range s.ofKind("Service") {
		endpoints := []any{}
		for _, deployment := range s.selected(service, table(service, "spec", "selector")) {
			for i := range int(number(deployment, "status", "replicas")) {
				endpoints = append(endpoints, Object{
					"addresses":  []any{fmt.Sprintf("10.0.0.%d", i+1)},
					"conditions": Object{"ready": i < int(number(deployment, "status", "readyReplicas"))},
				})
			}
		}
		s.store(slices, Object{
			"metadata": Object{"name": meta(service, "name") + "-x", "namespace": meta(service, "namespace"), "labels": Object{
				"kubernetes.io/service-name": meta(service, "name"), "apitest/owner": meta(service, "name"),
			}},
			"addressType": "IPv4", "endpoints": endpoints,
		})
	}
}

// budgets simulates the disruption controller, for whole numbers only.
func (s *Server) budgets() {
	for _, budget := range s.ofKind("PodDisruptionBudget") {
		var expected, healthy float64
		for _, deployment := range s.selected(budget, table(budget, "spec", "selector", "matchLabels")) {
			expected += number(deployment, "status", "replicas")
			healthy += number(deployment, "status", "readyReplicas")
		}
		desired := number(budget, "spec", "minAvailable")
		if lost, ok := table(budget, "spec")["maxUnavailable"].(float64); ok {
			desired = expected - lost
		}
		budget["status"] = Object{
			"expectedPods": expected, "currentHealthy": healthy, "desiredHealthy": math.Max(0, desired),
			"disruptionsAllowed": math.Max(0, healthy-desired),
		}
	}
}

// autoscalers simulates the part of the autoscaler that reads metrics: every metric is at 12 percent.
func (s *Server) autoscalers() {
	for _, hpa := range s.ofKind("HorizontalPodAutoscaler") {
		deployment := s.objects["apps/deployments/"+meta(hpa, "namespace")+"/"+nested(hpa, "spec", "scaleTargetRef", "name")]
		status := Object{"currentReplicas": number(deployment, "status", "replicas"), "desiredReplicas": number(deployment, "status", "replicas")}
		hpa["status"] = status
		if !s.Metrics {
			status["conditions"] = []any{Object{"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "unable to get metrics for resource cpu"}}
			continue
		}
		status["conditions"] = []any{Object{"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"}}
		current := []any{}
		metrics, _ := table(hpa, "spec")["metrics"].([]any)
		for _, metric := range metrics {
			if metric, ok := metric.(Object); ok {
				name := nested(metric, "resource", "name")
				current = append(current, Object{"type": "Resource", "resource": Object{"name": name, "current": Object{"averageUtilization": 12}}})
			}
		}
		status["currentMetrics"] = current
	}
}

// selected returns the Deployments of an object's namespace whose pods have all of the labels.
func (s *Server) selected(object, labels Object) []Object {
	var found []Object
	for _, deployment := range s.ofKind("Deployment") {
		pods := table(deployment, "spec", "template", "metadata", "labels")
		fits := len(labels) > 0 && meta(deployment, "namespace") == meta(object, "namespace")
		for key, value := range labels {
			fits = fits && pods[key] == value
		}
		if fits {
			found = append(found, deployment)
		}
	}
	return found
}

func number(object Object, path ...string) float64 {
	value, _ := table(object, path[:len(path)-1]...)[path[len(path)-1]].(float64)
	return value
}
