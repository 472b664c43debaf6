package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// The ids of the checks of high availability that are about the mesh as a whole. Those about one
// component begin with its name: "controller-" or "injector-" and one of the suffixes below.
const (
	Metrics    = "metrics"
	SameRoot   = "same-root"
	RootExpiry = "root-expiry"
	Lease      = "lease"
	Webhook    = "webhook"
	APIServer  = "api-server"
	Proxies    = "proxies"
	Starting   = "starting-pods"
	Balance    = "balance"
	Headless   = "headless"
)

// The suffixes of the ids of the checks about one component.
const (
	Replicas   = "replicas"
	Spread     = "spread"
	Disruption = "disruption"
	Autoscaler = "autoscaler"
)

// componentID returns the id of a check about a component.
func componentID(app, suffix string) string { return strings.TrimPrefix(app, "osm-") + "-" + suffix }

// HA returns the checks of a mesh's high availability, in order. They evaluate what was read and do not
// query the cluster. target is how long the mesh must be able to run without a control plane.
func HA(a cluster.Availability, target time.Duration) []Check {
	var checks []Check
	for _, c := range a.Components {
		h := componentHA{c, a}
		add := func(suffix, description string, run func() (string, error)) {
			checks = append(checks, evaluate(componentID(c.App, suffix), c.App+" "+description, run))
		}
		add(Replicas, "has two or more ready replicas", h.replicas)
		add(Spread, "runs on two or more nodes", h.spread)
		add(Disruption, "keeps a pod during every drain, and blocks no drain", h.disruption)
		add(Autoscaler, "can be scaled out by live metrics", h.autoscaler)
	}
	h := meshHA{a, target}
	return append(checks,
		evaluate(Metrics, "every ready replica serves its metrics", h.metrics),
		evaluate(SameRoot, "all replicas hold the same root certificate", h.sameRoot),
		evaluate(RootExpiry, "the root certificate does not expire soon", h.rootExpiry),
		evaluate(Lease, "a running controller is the leader", h.lease),
		evaluate(Webhook, "the API server can call the injectors and trusts them", h.webhook),
		evaluate(APIServer, "every controller hears from the API server", h.apiServer),
		evaluate(Proxies, "every running pod with a sidecar is connected", h.proxies),
		evaluate(Starting, "no pod hangs because its sidecar does not start", h.starting),
		evaluate(Balance, "proxies are spread over the controllers", h.balance),
		evaluate(Headless, "the mesh can run long enough without a control plane", h.headless),
	)
}

func evaluate(id, description string, run func() (string, error)) Check {
	return Check{ID: id, Description: description, Run: func(context.Context) (string, error) { return run() }}
}

// unknown is the failure of a check whose facts could not be read.
func unknown(err error) error { return fmt.Errorf("unknown: %w", err) }

// componentHA evaluates one component.
type componentHA struct {
	cluster.Component
	mesh cluster.Availability
}

func (h componentHA) replicas() (string, error) {
	if err := errors.Join(h.Deployment.Err, h.Pods.Err); err != nil {
		return "", unknown(err)
	}
	if h.Deployment.Value == nil {
		return "", fmt.Errorf("there is no Deployment %s; restore it with osm upgrade %s", h.App, flags(h.mesh.Mesh))
	}
	ready, desired := len(h.Ready()), h.desired()
	state := fmt.Sprintf("%d of %d ready", ready, desired)
	switch {
	case desired == 0:
		return "", fmt.Errorf("scaled to 0 replicas: it is down; fix: %s", h.revive())
	case desired < 2:
		return "", fmt.Errorf("%s: the loss of one pod or node is an outage; fix: %s", state, h.grow(2))
	case ready < 2:
		return "", fmt.Errorf("%s: the loss of one pod or node is an outage; see kubectl get pods -n %s -l app=%s", state, h.mesh.Mesh.Namespace, h.App)
	case ready < desired:
		return "", Warning(fmt.Errorf("%s; see kubectl get pods -n %s -l app=%s", state, h.mesh.Mesh.Namespace, h.App))
	}
	return state, nil
}

// desired returns the number of replicas in the Deployment's spec.
func (h componentHA) desired() int {
	if d := h.Deployment.Value; d != nil && d.Spec.Replicas != nil {
		return int(*d.Spec.Replicas)
	}
	return 1
}

// floor returns the number of replicas that the component may shrink to by itself.
func (h componentHA) floor() int {
	if len(h.Autoscalers.Value) == 0 {
		return h.desired()
	}
	if low := h.Autoscalers.Value[0].Spec.MinReplicas; low != nil {
		return int(*low)
	}
	return 1
}

// grow returns the command that gives the component at least n replicas.
func (h componentHA) grow(n int) string {
	flag := strings.TrimPrefix(h.App, "osm-")
	if len(h.Autoscalers.Value) > 0 {
		flag += "-min"
	}
	return h.scale(fmt.Sprintf("--%s %d", flag, n))
}

// revive returns the command that starts a component that was scaled to 0. An autoscaler leaves it alone until then.
func (h componentHA) revive() string {
	if len(h.Autoscalers.Value) == 0 {
		return h.grow(2)
	}
	return fmt.Sprintf("kubectl scale deployment/%s --replicas=%d -n %s", h.App, max(2, h.floor()), h.mesh.Mesh.Namespace)
}

func (h componentHA) scale(flags string) string {
	return fmt.Sprintf("osm mesh scale --mesh-name %s %s --osm-namespace %s", h.mesh.Mesh.Name, flags, h.mesh.Mesh.Namespace)
}

// flags name a mesh to other commands.
func flags(mesh cluster.Mesh) string {
	return fmt.Sprintf("--mesh-name %s --osm-namespace %s", mesh.Name, mesh.Namespace)
}

// fewReplicas makes an error one that the component's replicas explain, if they are too few.
func (h componentHA) fewReplicas(err error) error {
	return Consequence(err, componentID(h.App, Replicas))
}

func (h componentHA) spread() (string, error) {
	if h.Pods.Err != nil {
		return "", h.fewReplicas(unknown(h.Pods.Err))
	}
	ready := h.Ready()
	if len(ready) < 2 {
		return "", h.fewReplicas(Skip(errors.New("needs two ready replicas")))
	}
	placement := cluster.Placement{Nodes: map[string]int{}}
	for i := range ready {
		placement.Nodes[ready[i].Spec.NodeName]++
	}
	where := strings.TrimPrefix(placement.String(), ": ")
	if len(placement.Nodes) > 1 {
		return where, nil
	}
	if h.mesh.Nodes.Err != nil {
		return "", fmt.Errorf("all on one node (%s), and cannot tell whether there is another: %w", where, h.mesh.Nodes.Err)
	}
	if n := countSchedulable(h.mesh.Nodes.Value); n < 2 {
		return "", Warning(fmt.Errorf("all on one node (%s), and no other node is available (%d schedulable): they fail together; add a node", where, n))
	}
	return "", fmt.Errorf("all on one node (%s), although other nodes are available: they fail together; fix: kubectl rollout restart deployment/%s -n %s",
		where, h.App, h.mesh.Mesh.Namespace)
}

func countSchedulable(nodes []corev1.Node) int {
	count := 0
	for i := range nodes {
		if schedulable(&nodes[i]) {
			count++
		}
	}
	return count
}
