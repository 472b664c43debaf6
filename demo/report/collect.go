package report

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/demo/bookstore"
	"github.com/osm-edge/osm/pkg/api"
)

// Endpoint is an HTTP path on a port of a pod.
type Endpoint struct {
	Namespace, Pod string
	Port           int
	Path           string
}

// Collector observes one cluster.
type Collector struct {
	Kube kubernetes.Interface
	// Fetch reads an endpoint inside a pod, past the pod's proxy.
	Fetch func(context.Context, Endpoint) ([]byte, error)
	// Namespace is where the control plane runs.
	Namespace string
	Now       func() time.Time
}

const pagePort = 8080

func componentNames() []string { return []string{api.AppController, api.AppInjector} }

// Collect makes one report. An unreachable app is in it with the reason; only a failure
// of the API server is an error.
func (c *Collector) Collect(ctx context.Context) (*Report, error) {
	r := &Report{Time: c.Now().UTC(), Mesh: Mesh{Namespace: c.Namespace}}
	version, err := c.Kube.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("read version of Kubernetes: %w", err)
	}
	r.Kubernetes = version.GitVersion
	for _, step := range []func(context.Context, *Report) error{c.nodes, c.controlPlane, c.signer, c.apps} {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (c *Collector) nodes(ctx context.Context, r *Report) error {
	nodes, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		node := Node{Name: n.Name, Version: n.Status.NodeInfo.KubeletVersion}
		for _, condition := range n.Status.Conditions {
			node.Ready = node.Ready || condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		}
		for _, address := range n.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				node.Address = address.Address
				break
			}
		}
		r.Nodes = append(r.Nodes, node)
	}
	slices.SortFunc(r.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// controlPlane reads the mesh's Deployments, their pods, autoscalers and disruption budgets.
func (c *Collector) controlPlane(ctx context.Context, r *Report) error {
	ours := metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.NameValue}
	deployments, err := c.Kube.AppsV1().Deployments(c.Namespace).List(ctx, ours)
	if err != nil {
		return fmt.Errorf("list Deployments in %s: %w", c.Namespace, err)
	}
	pods, err := c.Kube.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods in %s: %w", c.Namespace, err)
	}
	autoscalers, err := c.Kube.AutoscalingV2().HorizontalPodAutoscalers(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list HorizontalPodAutoscalers in %s: %w", c.Namespace, err)
	}
	budgets, err := c.Kube.PolicyV1().PodDisruptionBudgets(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list PodDisruptionBudgets in %s: %w", c.Namespace, err)
	}
	for _, name := range componentNames() {
		i := slices.IndexFunc(deployments.Items, func(d appsv1.Deployment) bool { return d.Name == name })
		if i < 0 {
			continue
		}
		d := &deployments.Items[i]
		r.Mesh.Name, r.Mesh.Version = d.Labels[api.LabelInstance], d.Labels[api.LabelVersion]
		r.Components = append(r.Components, Component{
			Name:       name,
			Desired:    desired(d),
			Replicas:   replicas(pods.Items, name),
			Autoscaler: autoscaler(autoscalers.Items, name),
			Budget:     budget(budgets.Items, d.Spec.Template.Labels),
		})
	}
	return nil
}

func desired(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func replicas(pods []corev1.Pod, app string) []Replica {
	var all []Replica
	for i := range pods {
		p := &pods[i]
		if p.Labels[api.LabelApp] == app && p.DeletionTimestamp == nil {
			all = append(all, Replica{Pod: p.Name, Node: p.Spec.NodeName, Ready: ready(p)})
		}
	}
	slices.SortFunc(all, func(a, b Replica) int { return cmp.Compare(a.Node+"/"+a.Pod, b.Node+"/"+b.Pod) })
	return all
}

func ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func autoscaler(all []autoscalingv2.HorizontalPodAutoscaler, deployment string) *Autoscaler {
	for i := range all {
		h := &all[i]
		if h.Spec.ScaleTargetRef.Kind != "Deployment" || h.Spec.ScaleTargetRef.Name != deployment {
			continue
		}
		a := &Autoscaler{Name: h.Name, Min: 1, Max: h.Spec.MaxReplicas, Current: h.Status.CurrentReplicas}
		if h.Spec.MinReplicas != nil {
			a.Min = *h.Spec.MinReplicas
		}
		a.CPU, a.Memory = utilization(h, corev1.ResourceCPU), utilization(h, corev1.ResourceMemory)
		return a
	}
	return nil
}

func utilization(h *autoscalingv2.HorizontalPodAutoscaler, resource corev1.ResourceName) Utilization {
	var u Utilization
	for _, m := range h.Spec.Metrics {
		if m.Resource != nil && m.Resource.Name == resource {
			u.Target = m.Resource.Target.AverageUtilization
		}
	}
	for _, m := range h.Status.CurrentMetrics {
		if m.Resource != nil && m.Resource.Name == resource {
			u.Current = m.Resource.Current.AverageUtilization
		}
	}
	return u
}

// budget finds the PodDisruptionBudget that selects pods with these labels.
func budget(all []policyv1.PodDisruptionBudget, podLabels map[string]string) *Budget {
	for i := range all {
		b := &all[i]
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(podLabels)) {
			continue
		}
		return &Budget{Name: b.Name, Allowed: b.Status.DisruptionsAllowed, Healthy: b.Status.CurrentHealthy, Desired: b.Status.DesiredHealthy}
	}
	return nil
}

// apps asks a ready pod of each application, all at once.
func (c *Collector) apps(ctx context.Context, r *Report) error {
	found := make([]*App, len(cast()))
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range cast() {
		group.Go(func() (err error) {
			found[i], err = c.app(ctx, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, a := range found {
		if a != nil {
			r.Apps = append(r.Apps, *a)
		}
	}
	return nil
}

// app returns nil when the application has no ready pod.
func (c *Collector) app(ctx context.Context, p player) (*App, error) {
	pods, err := c.Kube.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods in %s: %w", p.namespace, err)
	}
	i := slices.IndexFunc(pods.Items, func(pod corev1.Pod) bool { return pod.Spec.ServiceAccountName == p.name && ready(&pod) })
	if i < 0 {
		return nil, nil //nolint:nilnil // having no pod is not a failure
	}
	pod := &pods.Items[i]
	a := &App{Namespace: p.namespace, Name: p.name, Meshed: pod.Labels[api.LabelProxyUUID] != ""}
	raw, err := c.Fetch(ctx, Endpoint{Namespace: p.namespace, Pod: pod.Name, Port: pagePort, Path: "/raw"})
	if err != nil {
		a.Fault = err.Error()
		return a, nil
	}
	var counts bookstore.Counts
	if err := json.Unmarshal(raw, &counts); err != nil {
		a.Fault = fmt.Sprintf("decode counts of %s: %v", p.name, err)
		return a, nil
	}
	a.Counts = &counts
	if a.Meshed {
		a.Certificate, err = c.certificate(ctx, pod)
		if err != nil {
			a.Fault = err.Error()
		}
	}
	return a, nil
}

// proxyCerts is the relevant part of Envoy's /certs.
type proxyCerts struct {
	Certificates []struct {
		CertChain []struct {
			Serial     string    `json:"serial_number"`
			Expires    time.Time `json:"expiration_time"`
			AltNames   []altName `json:"subject_alt_names"`
			SourceFile string    `json:"path"`
		} `json:"cert_chain"`
	} `json:"certificates"`
}

type altName struct {
	URI string `json:"uri"`
}

// certificate returns the pod's workload certificate: of those with its SPIFFE ID, the one that
// the controller sent. The one that Envoy read from a file is for its connection to the control plane.
func (c *Collector) certificate(ctx context.Context, pod *corev1.Pod) (*Certificate, error) {
	raw, err := c.Fetch(ctx, Endpoint{Namespace: pod.Namespace, Pod: pod.Name, Port: api.PortEnvoyAdmin, Path: "/certs"})
	if err != nil {
		return nil, err
	}
	var certs proxyCerts
	if err := json.Unmarshal(raw, &certs); err != nil {
		return nil, fmt.Errorf("decode certificates of %s: %w", pod.Name, err)
	}
	own := fmt.Sprintf("/ns/%s/sa/%s", pod.Namespace, pod.Spec.ServiceAccountName)
	var latest *Certificate
	for _, entry := range certs.Certificates {
		for _, leaf := range entry.CertChain {
			i := slices.IndexFunc(leaf.AltNames, func(n altName) bool { return strings.HasSuffix(n.URI, own) })
			if i < 0 || strings.HasPrefix(leaf.SourceFile, api.ProxyCertDir) || latest != nil && !leaf.Expires.After(latest.Expires) {
				continue
			}
			latest = &Certificate{SPIFFEID: leaf.AltNames[i].URI, Serial: normalSerial(leaf.Serial), Expires: leaf.Expires}
		}
	}
	return latest, nil
}

// normalSerial writes a hexadecimal serial number without leading zeros, as other tools do.
func normalSerial(s string) string {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		return s
	}
	return n.Text(16)
}
