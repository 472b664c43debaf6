package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
)

// targetHelp is the part of the help texts that says what POD may be.
const targetHelp = `POD is the name of a pod, or KIND/NAME of what it belongs to: deploy/NAME, sts/NAME, ds/NAME, rs/NAME,
job/NAME, or pod/NAME. Instead of POD, a label selector may be given with --selector. If that means
several pods, one is asked: the first by name that is ready, or else whose proxy runs; standard error
says which one.`

// addTargetFlags adds the flags that say which pod is meant.
func (o *options) addTargetFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "", "namespace of the pod (default: that of the kubeconfig's context, or else default)")
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "choose the pod by a label selector, such as app=bookbuyer, instead of by POD")
}

// target is what the command line names: an argument, or --selector.
func (o *options) target(cmd *cobra.Command, args []string) (cluster.PodTarget, error) {
	var (
		target cluster.PodTarget
		err    error
	)
	switch given := cmd.Flags().Changed("selector"); {
	case given && len(args) > 0:
		return target, command.Usagef(cmd, "%q and --selector both name a pod; leave one of them out", args[0])
	case given:
		if target, err = cluster.ParsePodSelector(o.selector); err != nil {
			return target, command.Usagef(cmd, "--selector: %w", err)
		}
	case len(args) == 0:
		return target, command.Usagef(cmd, "no pod is named; give POD, such as deploy/NAME, or --selector")
	default:
		if target, err = cluster.ParsePodTarget(args[0]); err != nil {
			return target, command.Usage(cmd, err)
		}
	}
	return target, nil
}

// choose returns the pod of the target whose proxy is asked.
func (o *options) choose(ctx context.Context, target cluster.PodTarget) (*corev1.Pod, error) {
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := target.Pods(ctx, clients.Kube, cmp.Or(o.namespace, clients.Namespace))
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(rank(&a), rank(&b)) })
	chosen := &pods[0]
	if err := meshed(chosen); err != nil {
		if len(pods) > 1 {
			return nil, fmt.Errorf("none of the %d pods of %s has a running proxy: %w", len(pods), target, err)
		}
		return nil, err
	}
	if !target.One() {
		o.env.Progressf("pod %s/%s of %s%s\n", chosen.Namespace, chosen.Name, target, others(pods))
	}
	return chosen, nil
}

// rank orders pods by how useful an answer of their proxy is.
func rank(pod *corev1.Pod) int {
	switch {
	case meshed(pod) != nil && pod.Labels[api.LabelProxyUUID] == "":
		return 4
	case meshed(pod) != nil:
		return 3
	case cluster.Ready(pod):
		return 0
	case pod.DeletionTimestamp == nil:
		return 1
	}
	return 2
}

// others names the pods that were not chosen, and could have been.
func others(pods []corev1.Pod) string {
	var names []string
	for i := range pods[1:] {
		if pod := &pods[i+1]; meshed(pod) == nil {
			names = append(names, pod.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; the others are " + strings.Join(names, ", ")
}

// meshed refuses a pod that has no proxy that runs.
func meshed(pod *corev1.Pod) error {
	switch {
	case pod.Labels[api.LabelProxyUUID] == "":
		return fmt.Errorf("pod %s/%s is not part of a mesh: it has no sidecar; add its namespace with osm namespace add, then restart the pod", pod.Namespace, pod.Name)
	case pod.Status.Phase != corev1.PodRunning && !sidecarRuns(pod):
		return fmt.Errorf("pod %s/%s is not running: phase %s", pod.Namespace, pod.Name, pod.Status.Phase)
	}
	return nil
}

// sidecarRuns reports whether the native sidecar is running. It starts long before the pod does, and
// when a pod hangs during startup, its proxy is worth a look.
func sidecarRuns(pod *corev1.Pod) bool {
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name == api.ContainerEnvoy {
			return status.State.Running != nil
		}
	}
	return false
}
