package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/cli/output"
)

// disruption evaluates the disruption budget: there must be exactly one, it must allow a drain now, and
// it must never block one.
func (h componentHA) disruption() (string, error) {
	if err := errors.Join(h.Budgets.Err, h.Autoscalers.Err); err != nil {
		return "", unknown(err)
	}
	if h.Deployment.Err != nil {
		return "", h.fewReplicas(unknown(h.Deployment.Err))
	}
	if h.Deployment.Value == nil {
		return "", h.fewReplicas(errors.New("there are no pods that a PodDisruptionBudget could cover"))
	}
	budgets := h.Budgets.Value
	switch {
	case len(budgets) == 0:
		return "", fmt.Errorf("no PodDisruptionBudget covers its pods: a drain may evict all of them at once; fix: %s", h.scale("--pdb=true"))
	case len(budgets) > 1:
		return "", fmt.Errorf("%d PodDisruptionBudgets cover its pods (%s): the API server refuses every eviction then, and drains hang; delete all but one",
			len(budgets), names(budgets))
	}
	budget := budgets[0]
	kept, err := guaranteed(budget.Spec, h.floor())
	if err != nil {
		return "", fmt.Errorf("PodDisruptionBudget %s: %w", budget.Name, err)
	}
	if kept >= h.floor() {
		err := fmt.Errorf("PodDisruptionBudget %s keeps %d pod(s), but there may be only %d, so drains would hang; fix: %s, or let the budget keep fewer",
			budget.Name, kept, h.floor(), h.grow(kept+1))
		if h.desired() < 2 && kept < 2 { // two replicas are enough for it
			err = h.fewReplicas(err)
		}
		return "", err
	}
	status := budget.Status
	if status.DisruptionsAllowed < 1 {
		return "", h.fewReplicas(fmt.Errorf("PodDisruptionBudget %s allows no disruption now (%d of %d required pods are healthy): a drain would wait", budget.Name, status.CurrentHealthy, status.DesiredHealthy))
	}
	allowed := fmt.Sprintf("%s allows %d disruption(s) now", budget.Name, status.DisruptionsAllowed)
	if policy := budget.Spec.UnhealthyPodEvictionPolicy; policy == nil || *policy != policyv1.AlwaysAllow {
		return "", Warning(fmt.Errorf("%s, but an unready pod can block a drain; set unhealthyPodEvictionPolicy: AlwaysAllow", allowed))
	}
	return allowed, nil
}

func names(budgets []policyv1.PodDisruptionBudget) string {
	var all []string
	for _, budget := range budgets {
		all = append(all, budget.Name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// guaranteed returns how many of n pods a budget keeps.
func guaranteed(spec policyv1.PodDisruptionBudgetSpec, n int) (int, error) {
	switch {
	case spec.MinAvailable != nil:
		return intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, n, true)
	case spec.MaxUnavailable != nil:
		lost, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, n, true)
		return max(0, n-lost), err
	}
	return 0, nil
}

// autoscaler evaluates whether the component can be scaled out: metrics must be live, and the maximum
// not reached.
func (h componentHA) autoscaler() (string, error) {
	if h.Autoscalers.Err != nil {
		return "", unknown(h.Autoscalers.Err)
	}
	switch len(h.Autoscalers.Value) {
	case 0:
		return "", Skip(errors.New("autoscaling is off"))
	case 1:
	default:
		return "", fmt.Errorf("%d HorizontalPodAutoscalers scale it and work against each other; delete all but one", len(h.Autoscalers.Value))
	}
	autoscaler := h.Autoscalers.Value[0]
	if why := stopped(autoscaler.Status); why != "" {
		err := fmt.Errorf("HorizontalPodAutoscaler %s does not work: %s", autoscaler.Name, why)
		if strings.HasPrefix(why, "FailedGet") && !strings.HasPrefix(why, "FailedGetScale") { // a metric
			err = h.early(err)
		}
		if h.Deployment.Err == nil && (h.Deployment.Value == nil || h.desired() == 0) { // it has nothing to scale
			err = h.fewReplicas(err)
		}
		return "", err
	}
	live, missing := readings(autoscaler)
	if len(missing) > 0 {
		return "", h.early(fmt.Errorf("HorizontalPodAutoscaler %s has no current value of %s; see kubectl describe hpa %s -n %s, and metrics-server",
			autoscaler.Name, strings.Join(missing, " and "), autoscaler.Name, h.mesh.Mesh.Namespace))
	}
	low, high, now := h.floor(), int(autoscaler.Spec.MaxReplicas), int(autoscaler.Status.CurrentReplicas)
	component := strings.TrimPrefix(h.App, "osm-")
	switch {
	case now >= high:
		return "", fmt.Errorf("at its maximum of %d replicas (%s): it cannot be scaled out; fix: %s (at most 10)", high, strings.Join(live, ", "), h.scale(fmt.Sprintf("--%s-max %d", component, high+1)))
	case low < 2:
		return "", fmt.Errorf("may be scaled in to %d replica at low load; fix: %s", low, h.grow(2))
	}
	return fmt.Sprintf("%d of %d to %d replicas; %s", now, low, high, strings.Join(live, ", ")), nil
}

// measureTime is how long a new pod may have no metrics: they are collected every 15 s or more, and the autoscaler looks
// at them as often.
const measureTime = 2 * time.Minute

// early makes an error of the autoscaler a warning while a pod is too young to have metrics.
func (h componentHA) early(err error) error {
	for i := range h.Pods.Value {
		pod := &h.Pods.Value[i]
		if age := h.mesh.Now.Sub(pod.CreationTimestamp.Time); age >= 0 && age < measureTime {
			return Warning(fmt.Errorf("%w; pod %s is only %s old, so it may have no metrics yet", err, pod.Name, output.Duration(age)))
		}
	}
	return err
}

// stopped returns why an autoscaler does not work, or "".
func stopped(status autoscalingv2.HorizontalPodAutoscalerStatus) string {
	for _, condition := range status.Conditions {
		matters := condition.Type == autoscalingv2.ScalingActive || condition.Type == autoscalingv2.AbleToScale
		if matters && condition.Status == corev1.ConditionFalse {
			return condition.Reason + ": " + condition.Message
		}
	}
	return ""
}

// readings are the resource metrics of an autoscaler: those with a value, and the names of those
// without.
func readings(autoscaler autoscalingv2.HorizontalPodAutoscaler) (live, missing []string) {
	for _, wanted := range autoscaler.Spec.Metrics {
		if wanted.Resource == nil {
			continue
		}
		i := slices.IndexFunc(autoscaler.Status.CurrentMetrics, func(m autoscalingv2.MetricStatus) bool {
			return m.Resource != nil && m.Resource.Name == wanted.Resource.Name && m.Resource.Current.AverageUtilization != nil
		})
		if i < 0 {
			missing = append(missing, string(wanted.Resource.Name))
			continue
		}
		reading := fmt.Sprintf("%s %d %%", wanted.Resource.Name, *autoscaler.Status.CurrentMetrics[i].Resource.Current.AverageUtilization)
		if target := wanted.Resource.Target.AverageUtilization; target != nil {
			reading += fmt.Sprintf(" of %d %%", *target)
		}
		live = append(live, reading)
	}
	return live, missing
}
