package check_test

import (
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// explained stands for checks that are skipped because a failed one explains them.
const explained check.Status = "explained"

// Every fault fails exactly the checks that concern it, with a message that names it.
func TestHA(t *testing.T) {
	type facts = *cluster.Availability
	controllers := func(a facts) *cluster.Component { return &a.Components[0] }
	budget := func(a facts) *policyv1.PodDisruptionBudget { return &a.Components[0].Budgets.Value[0] }
	replica := func(a facts, i int) *cluster.Replica { return &a.Components[0].Replicas[i] }
	allOf := func(a facts, change func(*cluster.Replica)) {
		for c := range a.Components {
			for i := range a.Components[c].Replicas {
				change(&a.Components[c].Replicas[i])
			}
		}
	}
	unready := func(a facts, component int) {
		for i := range a.Components[component].Pods.Value {
			a.Components[component].Pods.Value[i].Status.Conditions = nil
		}
		a.Components[component].Replicas = nil
		a.Components[component].Budgets.Value[0].Status.DisruptionsAllowed = 0
	}
	const ofControllers = "controller-spread controller-disruption same-root api-server proxies balance headless metrics"
	tests := []struct {
		name                   string
		change                 func(a facts)
		failed, warned, passed string // ids, separated by spaces; passed ones only where it is worth saying
		skipped                string // besides the autoscalers
		explained              string // skipped because a check that failed explains them
		says                   string
	}{
		{name: "well", passed: "headless", says: "mTLS would first fail in 17 h 04 min (pod shop/till-0)"},

		{name: "one replica", failed: "controller-replicas", explained: "controller-spread", says: "--controller 2", change: func(a facts) {
			one := int32(1)
			controllers(a).Deployment.Value.Spec.Replicas = &one
			controllers(a).Pods.Value, controllers(a).Replicas = controllers(a).Pods.Value[1:], controllers(a).Replicas[1:]
			replica(a, 0).Proxies = 4
			budget(a).Spec.MinAvailable = &intstr.IntOrString{}
		}},
		{name: "one of two ready", failed: "controller-replicas", explained: "controller-spread", says: "1 of 2 ready", change: func(a facts) {
			controllers(a).Pods.Value[0].Status.Conditions = nil
			controllers(a).Replicas = controllers(a).Replicas[1:]
			replica(a, 0).Proxies = 4
		}},
		{name: "two of three ready", warned: "controller-replicas", says: "2 of 3 ready", change: func(a facts) {
			three := int32(3)
			controllers(a).Deployment.Value.Spec.Replicas = &three
		}},
		{name: "no Deployment", failed: "controller-replicas", explained: "controller-disruption", says: "there is no Deployment osm-controller", change: func(a facts) {
			controllers(a).Deployment.Value = nil
			budget(a).Spec.MinAvailable = &intstr.IntOrString{}
		}},
		{name: "Deployments cannot be read", failed: "controller-replicas", explained: "controller-disruption", says: "unknown: refused", change: func(a facts) { controllers(a).Deployment.Err = errRefused }},
		{name: "pods cannot be read", failed: "controller-replicas", explained: "controller-spread metrics same-root lease api-server proxies headless balance", says: "unknown: refused", change: func(a facts) {
			controllers(a).Pods = cluster.Found[[]corev1.Pod]{Err: errRefused}
			controllers(a).Replicas = nil
		}},

		{name: "no controller is ready", failed: "controller-replicas", explained: ofControllers, says: "0 of 2 ready", change: func(a facts) { unready(a, 0) }},
		{name: "no controller is ready, and none leads", failed: "controller-replicas", explained: ofControllers + " lease", says: "there is no leader", change: func(a facts) {
			unready(a, 0)
			*a.Lease.Value.Spec.HolderIdentity = ""
		}},
		{name: "one controller is ready, and none leads", failed: "controller-replicas lease", explained: "controller-spread", says: "there is no leader", change: func(a facts) {
			controllers(a).Pods.Value[0].Status.Conditions = nil
			controllers(a).Replicas = controllers(a).Replicas[1:]
			replica(a, 0).Proxies = 4
			*a.Lease.Value.Spec.HolderIdentity = ""
		}},
		{name: "no injector is ready", failed: "injector-replicas", explained: "injector-spread injector-disruption metrics same-root webhook", says: "0 of 2 ready", change: func(a facts) {
			unready(a, 1)
			a.Endpoints.Value = 0
		}},
		{name: "no injector is ready, and no webhook", failed: "injector-replicas webhook", explained: "injector-spread injector-disruption metrics same-root", says: "caBundle is empty", change: func(a facts) {
			unready(a, 1)
			a.Webhook.Value.Webhooks[0].ClientConfig.CABundle = nil
		}},
		{name: "nothing is ready", failed: "controller-replicas injector-replicas", explained: ofControllers + " injector-spread injector-disruption root-expiry", says: "0 of 2 ready", change: func(a facts) {
			unready(a, 0)
			unready(a, 1)
		}},
		{name: "no injector is ready, and a controller is silent", failed: "injector-replicas metrics", explained: "injector-spread injector-disruption same-root api-server proxies balance headless", says: "refused; osm-injector has no ready replica", change: func(a facts) {
			unready(a, 1)
			*replica(a, 1) = cluster.Replica{Pod: "osm-controller-1", Err: errRefused}
		}},
		{name: "a controller is silent, and pods cannot be counted", failed: "metrics proxies", explained: "same-root api-server starting-pods headless balance", says: "unknown: refused", change: func(a facts) {
			*replica(a, 1) = cluster.Replica{Pod: "osm-controller-1", Err: errRefused}
			a.Injected.Err = errRefused
		}},
		{name: "scaled to 0", failed: "controller-replicas", explained: ofControllers + " controller-autoscaler lease", says: "scaled to 0 replicas: it is down; fix: kubectl scale deployment/osm-controller --replicas=2 -n osm-system", change: func(a facts) {
			autoscaled(a).Status.Conditions[0] = autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "ScalingDisabled", Message: "the replica count of the target is zero"}
			unready(a, 0)
			controllers(a).Deployment.Value.Spec.Replicas = new(int32)
			controllers(a).Pods.Value = nil
		}},
		{name: "scaled to 0 without an autoscaler", failed: "controller-replicas", explained: ofControllers + " lease", says: "fix: osm mesh scale --mesh-name blue --controller 2 --osm-namespace osm-system", change: func(a facts) {
			unready(a, 0)
			controllers(a).Deployment.Value.Spec.Replicas = new(int32)
			controllers(a).Pods.Value = nil
		}},
		{name: "one replica, which the budget keeps", failed: "controller-replicas", explained: "controller-spread controller-disruption", says: "keeps 1 pod(s)", change: func(a facts) {
			one := int32(1)
			controllers(a).Deployment.Value.Spec.Replicas = &one
			controllers(a).Pods.Value, controllers(a).Replicas = controllers(a).Pods.Value[1:], controllers(a).Replicas[1:]
			replica(a, 0).Proxies = 4
		}},
		{name: "one replica, and the budget keeps more", failed: "controller-replicas controller-disruption", explained: "controller-spread", says: "keeps 2 pod(s)", change: func(a facts) {
			one := int32(1)
			controllers(a).Deployment.Value.Spec.Replicas = &one
			controllers(a).Pods.Value, controllers(a).Replicas = controllers(a).Pods.Value[1:], controllers(a).Replicas[1:]
			replica(a, 0).Proxies = 4
			budget(a).Spec.MinAvailable.IntVal = 2
		}},

		{name: "one node", failed: "controller-spread", says: "all on one node (node-0 2), although other nodes are available", change: func(a facts) { controllers(a).Pods.Value[1].Spec.NodeName = "node-0" }},
		{name: "one node, the other cordoned", warned: "controller-spread", says: "no other node is available (1 schedulable)", change: func(a facts) {
			controllers(a).Pods.Value[1].Spec.NodeName = "node-0"
			a.Nodes.Value[1].Spec.Unschedulable = true
		}},
		{name: "one node, others unknown", failed: "controller-spread", says: "cannot tell whether there is another: refused", change: func(a facts) {
			controllers(a).Pods.Value[1].Spec.NodeName = "node-0"
			a.Nodes = cluster.Found[[]corev1.Node]{Err: errRefused}
		}},
		{name: "two nodes, others unknown", change: func(a facts) { a.Nodes = cluster.Found[[]corev1.Node]{Err: errRefused} }},

		{name: "no budget", failed: "controller-disruption", says: "osm mesh scale --mesh-name blue --pdb=true", change: func(a facts) { controllers(a).Budgets.Value = nil }},
		{name: "two budgets", failed: "controller-disruption", says: "2 PodDisruptionBudgets cover its pods (a, osm-controller-pdb)", change: func(a facts) {
			other := budget(a).DeepCopy()
			other.Name = "a"
			controllers(a).Budgets.Value = append(controllers(a).Budgets.Value, *other)
		}},
		{name: "budget keeps all", failed: "controller-disruption", says: "keeps 2 pod(s), but there may be only 2, so drains would hang; fix: osm mesh scale --mesh-name blue --controller 3", change: func(a facts) { budget(a).Spec.MinAvailable.IntVal = 2 }},
		{name: "budget keeps all by percent", failed: "controller-disruption", says: "keeps 2 pod(s)", change: func(a facts) {
			most := intstr.FromString("51%")
			budget(a).Spec.MinAvailable = &most
		}},
		{name: "budget lets none go", failed: "controller-disruption", says: "keeps 2 pod(s)", change: func(a facts) {
			budget(a).Spec.MinAvailable, budget(a).Spec.MaxUnavailable = nil, &intstr.IntOrString{}
		}},
		{name: "budget lets one go", passed: "controller-disruption", change: func(a facts) {
			one := intstr.FromInt32(1)
			budget(a).Spec.MinAvailable, budget(a).Spec.MaxUnavailable = nil, &one
		}},
		{name: "budget nonsense", failed: "controller-disruption", says: "PodDisruptionBudget osm-controller-pdb: invalid", change: func(a facts) {
			much := intstr.FromString("much")
			budget(a).Spec.MinAvailable = &much
		}},
		{name: "no disruption now", failed: "controller-disruption", says: "allows no disruption now (1 of 1 required pods are healthy)", change: func(a facts) { budget(a).Status.DisruptionsAllowed, budget(a).Status.CurrentHealthy = 0, 1 }},
		{name: "budget protects the broken", warned: "controller-disruption", says: "unhealthyPodEvictionPolicy: AlwaysAllow", change: func(a facts) { budget(a).Spec.UnhealthyPodEvictionPolicy = nil }},
		{name: "floor of the autoscaler counts", failed: "controller-disruption controller-autoscaler", says: "keeps 1 pod(s), but there may be only 1", change: func(a facts) { autoscaled(a).Spec.MinReplicas = nil }},

		{name: "autoscaled", passed: "controller-autoscaler", says: "2 of 2 to 5 replicas; cpu 12 % of 80 %", change: func(a facts) { autoscaled(a) }},
		{name: "autoscaler is blind", failed: "controller-autoscaler", says: "has no current value of cpu", change: func(a facts) { autoscaled(a).Status.CurrentMetrics = nil }},
		{name: "autoscaler is off", failed: "controller-autoscaler", says: "does not work: FailedGetResourceMetric: no metrics", change: func(a facts) {
			autoscaled(a).Status.Conditions[0] = autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetResourceMetric", Message: "no metrics"}
		}},
		{name: "autoscaler is blind just after a pod was made", warned: "controller-autoscaler", says: "has no current value of cpu; see kubectl describe hpa osm-controller-hpa -n osm-system, and metrics-server; pod osm-controller-1 is only 1 min 00 s old, so it may have no metrics yet", change: func(a facts) {
			autoscaled(a).Status.CurrentMetrics = nil
			controllers(a).Pods.Value[1].CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
		}},
		{name: "autoscaler is off just after a pod was made", warned: "controller-autoscaler", says: "is only 1 min 59 s old", change: func(a facts) {
			autoscaled(a).Status.Conditions[0] = autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetResourceMetric", Message: "no metrics"}
			controllers(a).Pods.Value[0].CreationTimestamp = metav1.NewTime(now.Add(time.Second - 2*time.Minute))
		}},
		{name: "autoscaler is blind although its pods are old enough", failed: "controller-autoscaler", says: "has no current value of cpu", change: func(a facts) {
			autoscaled(a).Status.CurrentMetrics = nil
			controllers(a).Pods.Value[1].CreationTimestamp = metav1.NewTime(now.Add(-2 * time.Minute))
		}},
		{name: "autoscaler cannot read the scale just after a pod was made", failed: "controller-autoscaler", says: "does not work: FailedGetScale: x", change: func(a facts) {
			autoscaled(a).Status.Conditions[0] = autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale", Message: "x"}
			controllers(a).Pods.Value[1].CreationTimestamp = metav1.NewTime(now)
		}},
		{name: "autoscaler is blind, and this machine's clock is behind", failed: "controller-autoscaler", says: "has no current value of cpu", change: func(a facts) {
			autoscaled(a).Status.CurrentMetrics = nil
			controllers(a).Pods.Value[1].CreationTimestamp = metav1.NewTime(now.Add(time.Hour))
		}},
		{name: "autoscaler is wrong just after a pod was made", failed: "controller-autoscaler", says: "does not work: InvalidSelector: x", change: func(a facts) {
			autoscaled(a).Status.Conditions[0] = autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "InvalidSelector", Message: "x"}
			controllers(a).Pods.Value[1].CreationTimestamp = metav1.NewTime(now)
		}},
		{name: "autoscaler is at its end", failed: "controller-autoscaler", says: "at its maximum of 2 replicas", change: func(a facts) { autoscaled(a).Spec.MaxReplicas = 2 }},
		{name: "two autoscalers", failed: "controller-autoscaler", says: "2 HorizontalPodAutoscalers", change: func(a facts) {
			controllers(a).Autoscalers.Value = []autoscalingv2.HorizontalPodAutoscaler{*autoscaled(a), *autoscaled(a)}
		}},
		{name: "autoscalers cannot be read", failed: "controller-autoscaler controller-disruption", says: "unknown: refused", change: func(a facts) { controllers(a).Autoscalers.Err = errRefused }},

		{name: "a controller is silent", failed: "metrics", explained: "same-root api-server proxies headless balance", says: "refused", change: func(a facts) { *replica(a, 1) = cluster.Replica{Pod: "osm-controller-1", Err: errRefused} }},
		{name: "an injector is silent", failed: "metrics", explained: "same-root", says: "of osm-injector, osm-injector-1 does not answer", change: func(a facts) { a.Components[1].Replicas[1] = cluster.Replica{Pod: "osm-injector-1", Err: errRefused} }},
		{name: "all are silent", failed: "metrics", explained: "same-root root-expiry api-server proxies headless balance", says: "no replica reports when the root expires", change: func(a facts) {
			allOf(a, func(r *cluster.Replica) { *r = cluster.Replica{Pod: r.Pod, Err: errRefused} })
		}},

		{name: "two roots", failed: "same-root", says: "ffffffff on osm-controller-1", change: func(a facts) {
			replica(a, 1).Root, replica(a, 1).Trusted = strings.Repeat("f", 64), map[string]bool{strings.Repeat("f", 64): true}
		}},
		{name: "two roots, trusted by some", failed: "same-root", says: "different roots", change: func(a facts) {
			replica(a, 1).Trusted[strings.Repeat("f", 64)] = true
			replica(a, 1).Root = strings.Repeat("f", 64)
		}},
		{name: "two roots, trusted by all", warned: "same-root", says: "the root is being replaced", change: func(a facts) {
			allOf(a, func(r *cluster.Replica) { r.Trusted = map[string]bool{r.Root: true, strings.Repeat("f", 64): true} })
			replica(a, 1).Root = strings.Repeat("f", 64)
		}},
		{name: "two roots, trusted by all who answer", failed: "metrics", explained: "same-root", says: "of osm-injector, osm-injector-1 does not answer", change: func(a facts) {
			allOf(a, func(r *cluster.Replica) { r.Trusted = map[string]bool{r.Root: true, strings.Repeat("f", 64): true} })
			replica(a, 1).Root = strings.Repeat("f", 64)
			a.Components[1].Replicas[1] = cluster.Replica{Pod: "osm-injector-1", Err: errRefused}
		}},
		{name: "no root shown", failed: "same-root", says: "osm-controller-1 reports no root", change: func(a facts) { replica(a, 1).Root = "" }},

		{name: "root ends in three weeks", warned: "root-expiry", says: "in 21 days", change: func(a facts) { replica(a, 0).RootExpiry = now.Add(21 * day) }},
		{name: "root ends before the target", failed: "root-expiry", says: "in 3 h 59 min", change: func(a facts) { replica(a, 0).RootExpiry = now.Add(4*time.Hour - time.Second) }},
		{name: "root has ended", failed: "root-expiry", says: "expired 2 days ago", change: func(a facts) { replica(a, 0).RootExpiry = now.Add(-2 * day) }},

		{name: "no lease", failed: "lease", says: "there is no leader: Lease", change: func(a facts) { a.Lease.Value = nil }},
		{name: "released lease", failed: "lease", says: "there is no leader: Lease", change: func(a facts) { *a.Lease.Value.Spec.HolderIdentity = "" }},
		{name: "lease of a pod that is gone", failed: "lease", says: "the leader is osm-controller-9, which is not a running pod", change: func(a facts) { *a.Lease.Value.Spec.HolderIdentity = "osm-controller-9" }},
		{name: "lease of a pod that goes", failed: "lease", says: "not a running pod", change: func(a facts) {
			controllers(a).Pods.Value = append(controllers(a).Pods.Value, *controllers(a).Pods.Value[1].DeepCopy())
			controllers(a).Pods.Value[2].Name, *a.Lease.Value.Spec.HolderIdentity = "osm-controller-2", "osm-controller-2"
			controllers(a).Pods.Value[2].DeletionTimestamp = &metav1.Time{Time: now}
		}},
		{name: "lease not renewed", failed: "lease", says: "last renewed Lease osm-controller 10 min 00 s ago", change: func(a facts) { a.Lease.Value.Spec.RenewTime.Time = now.Add(-10 * time.Minute) }},
		{name: "lease never renewed", failed: "lease", says: "never renewed", change: func(a facts) { a.Lease.Value.Spec.RenewTime = nil }},
		{name: "lease cannot be read", failed: "lease", says: "unknown: refused", change: func(a facts) { a.Lease.Err = errRefused }},

		{name: "no webhook", failed: "webhook", says: "there is no MutatingWebhookConfiguration osm-webhook-blue", change: func(a facts) { a.Webhook.Value = nil }},
		{name: "another webhook", failed: "webhook", says: "has no webhook osm-inject.k8s.io", change: func(a facts) { a.Webhook.Value.Webhooks[0].Name = "other" }},
		{name: "no caBundle", failed: "webhook", says: "caBundle is empty", change: func(a facts) { a.Webhook.Value.Webhooks[0].ClientConfig.CABundle = nil }},
		{name: "caBundle without certificate", failed: "webhook", says: "contains no certificate", change: func(a facts) { a.Webhook.Value.Webhooks[0].ClientConfig.CABundle = []byte("x") }},
		{name: "caBundle broken", failed: "webhook", says: "contains an invalid certificate", change: func(a facts) {
			a.Webhook.Value.Webhooks[0].ClientConfig.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
		}},
		{name: "caBundle of another root", failed: "webhook", says: "does not contain the root", change: func(a facts) {
			a.Webhook.Value.Webhooks[0].ClientConfig.CABundle, _ = newRoot(t, now.Add(day))
		}},
		{name: "caBundle of two roots", passed: "webhook", change: func(a facts) {
			other, _ := newRoot(t, now.Add(day))
			a.Webhook.Value.Webhooks[0].ClientConfig.CABundle = append(other, a.Webhook.Value.Webhooks[0].ClientConfig.CABundle...)
		}},
		{name: "caBundle of a root that has ended", failed: "webhook", says: "in its caBundle has expired", change: func(a facts) {
			bundle, root := newRoot(t, now.Add(-time.Hour))
			a.Webhook.Value.Webhooks[0].ClientConfig.CABundle = bundle
			allOf(a, func(r *cluster.Replica) { r.Root = root })
		}},
		{name: "no endpoint", failed: "webhook", says: "no ready endpoint of Service osm-system/osm-injector", change: func(a facts) { a.Endpoints.Value = 0 }},
		{name: "endpoints cannot be read", failed: "webhook", says: "unknown: refused", change: func(a facts) { a.Endpoints.Err = errRefused }},

		{name: "one controller is deaf", failed: "api-server", says: "nothing heard from the API server: osm-controller-1 for 30 s; its proxies keep", change: func(a facts) { replica(a, 1).Stale = 30 * time.Second }},
		{name: "controllers have been deaf for a moment", warned: "api-server", says: "osm-controller-0 for 12 s, osm-controller-1 for 29 s", change: func(a facts) {
			replica(a, 0).Stale, replica(a, 1).Stale = 12*time.Second, 30*time.Second-time.Millisecond
		}},
		{name: "an old controller does not say whether it is deaf", skipped: "api-server", says: "osm-controller-1 does not report it", change: func(a facts) { replica(a, 1).Stale = -1 }},
		{name: "one controller is deaf, another does not say", failed: "api-server", says: "osm-controller-0 for 1 min 00 s", change: func(a facts) { replica(a, 0).Stale, replica(a, 1).Stale = time.Minute, -1 }},

		{name: "a pod hangs", failed: "starting-pods", says: "1 pod(s) with a sidecar do not start (shop/till-0); shop/till-0 has waited for 2 min 00 s: its proxy waits; see kubectl describe pod till-0 -n shop", change: func(a facts) {
			a.Hanging = []cluster.Starting{{Pod: "shop/till-0", For: 2 * time.Minute, Why: "its proxy waits"}}
		}},
		{name: "five pods hang", failed: "starting-pods", says: "5 pod(s) with a sidecar do not start (shop/a, shop/b, shop/c, 2 more)", change: func(a facts) {
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				a.Hanging = append(a.Hanging, cluster.Starting{Pod: "shop/" + name, For: 2 * time.Minute, Why: "x"})
			}
		}},

		{name: "nothing of a pod starts", warned: "starting-pods", says: "1 pod(s) with a sidecar do not start (shop/a); shop/a has waited for 2 min 00 s: a volume", change: func(a facts) {
			a.Hanging = []cluster.Starting{{Pod: "shop/a", For: 2 * time.Minute, Why: "a volume", Unclear: true}}
		}},
		{name: "nothing of a pod starts, and another's sidecar hangs", failed: "starting-pods", says: "2 pod(s) with a sidecar do not start (shop/a, shop/b); shop/b has waited", change: func(a facts) {
			a.Hanging = []cluster.Starting{{Pod: "shop/a", For: time.Hour, Why: "a volume", Unclear: true}, {Pod: "shop/b", For: 2 * time.Minute, Why: "x"}}
		}},

		{name: "a proxy is missing", failed: "proxies", says: "5 running pods have a sidecar, but only 4 proxies are connected: the other 1 run", change: func(a facts) { a.Injected.Value = 5 }},
		{name: "a proxy too many", passed: "proxies", says: "4 connected, 3 running", change: func(a facts) { a.Injected.Value = 3 }},
		{name: "pods cannot be counted", failed: "proxies", explained: "starting-pods", says: "unknown: refused", change: func(a facts) { a.Injected.Err = errRefused }},
		{name: "a controller does not count", failed: "proxies", skipped: "balance", says: "osm-controller-0 does not report how many proxies", change: func(a facts) { replica(a, 0).Proxies = -1 }},
		{name: "one has all", warned: "balance", says: "osm-controller-0 4, osm-controller-1 0; the busiest has 100 %, a fair share is 50 %", change: func(a facts) {
			replica(a, 0).Proxies, replica(a, 1).Proxies, replica(a, 1).First = 4, 0, cluster.Expiry{}
		}},
		{name: "one has all of three", passed: "balance", change: func(a facts) {
			replica(a, 0).Proxies, replica(a, 1).Proxies, replica(a, 1).First, a.Injected.Value = 3, 0, cluster.Expiry{}, 3
		}},
		{name: "no proxies", skipped: "balance headless", says: "no proxy is connected", change: func(a facts) {
			a.Injected.Value = 0
			for i := range 2 {
				replica(a, i).Proxies, replica(a, i).First = 0, cluster.Expiry{}
			}
		}},

		{name: "budget below target", failed: "headless", says: "mTLS would first fail in 3 h 59 min (pod shop/x): less than --headless-target 4 h 00 min; extend the lifetime of certificates with osm upgrade --mesh-name blue --osm-namespace osm-system --headless-budget 4h", change: func(a facts) {
			replica(a, 1).First = cluster.Expiry{At: now.Add(4*time.Hour - time.Second), Pod: "shop/x"}
		}},
		{name: "budget at target", passed: "headless", says: "mTLS would first fail in 4 h 00 min (pod shop/x)", change: func(a facts) {
			replica(a, 1).First = cluster.Expiry{At: now.Add(4 * time.Hour), Pod: "shop/x"}
		}},
		{name: "over already", failed: "headless", says: "the first certificate expired 1 min 30 s ago (pod shop/x): mTLS already fails", change: func(a facts) {
			replica(a, 1).First = cluster.Expiry{At: now.Add(-90 * time.Second), Pod: "shop/x"}
		}},
		{name: "whose is not known", passed: "headless", says: "mTLS would first fail in 5 h 00 min (a pod that osm-controller-1 serves)", change: func(a facts) {
			replica(a, 1).First = cluster.Expiry{At: now.Add(5 * time.Hour)}
		}},
		{name: "expiry is not told", failed: "headless", says: "unknown: osm-controller-1 does not report when its proxies' certificates expire", change: func(a facts) { replica(a, 1).First = cluster.Expiry{} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := well(t)
			if tt.change != nil {
				tt.change(&a)
			}
			results := check.Run(t.Context(), check.HA(a, 4*time.Hour), nil)
			got := map[check.Status][]string{}
			said := false
			for _, result := range results {
				id := result.ID
				if result.Status == check.Skipped && result.Message == "autoscaling is off" {
					continue
				}
				status := result.Status
				if result.ExplainedBy != "" {
					if status != check.Skipped || !slices.Contains(got[check.Failed], result.ExplainedBy) {
						t.Errorf("%s is %s and explained by %s, which is not shown as failed", id, status, result.ExplainedBy)
					}
					status = explained
				}
				got[status] = append(got[status], id)
				said = said || strings.Contains(result.Message, tt.says)
				if strings.Contains(result.Message, "\n") || result.Message == "" {
					t.Errorf("%s says %q; want one line", id, result.Message)
				}
			}
			for status, want := range map[check.Status]string{check.Failed: tt.failed, check.Warned: tt.warned, check.Skipped: tt.skipped, explained: tt.explained} {
				wanted := strings.Fields(want)
				slices.Sort(wanted)
				slices.Sort(got[status])
				if !slices.Equal(got[status], wanted) {
					t.Errorf("%s: %v, want %v", status, got[status], wanted)
				}
			}
			for _, id := range strings.Fields(tt.passed) {
				if !slices.Contains(got[check.Passed], id) {
					t.Errorf("%s did not pass", id)
				}
			}
			if !said || t.Failed() {
				t.Errorf("results %+v; want one that says %q", results, tt.says)
			}
		})
	}
}
