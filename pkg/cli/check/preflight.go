package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// The ids of the pre-flight checks.
const (
	MeshName          = "mesh-name"
	APIReachable      = "api-reachable"
	KubernetesVersion = "kubernetes-version"
	ReleaseState      = "release-state"
	ExistingMeshes    = "existing-meshes"
	Definitions       = "definitions"
	Owners            = "owners"
	Permissions       = "permissions"
	MetricsAPI        = "metrics-api"
	CertProvider      = "certificate-provider"
	ProviderRights    = "provider-rights"
	PodSecurityLevel  = "pod-security"
	NodeCount         = "node-count"
)

// MinKubernetes is the oldest Kubernetes that the chart runs on.
const MinKubernetes = "1.31"

// Plan describes the change that is about to be made.
type Plan struct {
	Mesh          string
	Namespace     string
	EnforceSingle bool
	Upgrade       bool
	SkipHooks     bool                  // the chart's hooks do not run
	Objects       []Object              // of the rendered chart
	Autoscaled    []string              // keys of the components whose autoscaler is on, such as "osm.injector"
	Floor         int                   // the maximum of the replicas that the components start with
	Provider      v1alpha2.ProviderSpec // of certificates
	Release       *Release              // nil if there is none
	Recover       bool                  // a stuck or failed release may be cleaned up
	OwnerTimeout  time.Duration
	Now           time.Time
}

// Object is an object to create.
type Object struct {
	APIVersion, Kind, Namespace string

	Name string
	Hook bool // part of a hook of the chart
}

// Release is the state of the mesh's Helm release.
type Release struct {
	Status       string
	Pending      bool
	EverDeployed bool
	Since        time.Time
}

// PreFlight returns the checks to run before the change, in order.
func PreFlight(clients *cluster.Clients, plan Plan) []Check {
	p := preflight{Clients: clients, plan: plan}
	var conflict error // with an existing mesh; its objects would each be named by owners once more
	meshes := func(ctx context.Context) error {
		conflict = p.meshes(ctx)
		return conflict
	}
	owners := func(ctx context.Context) error {
		if conflict != nil {
			return Consequence(errors.New("not run because "+ExistingMeshes+" failed"), ExistingMeshes)
		}
		return p.owners(ctx)
	}
	return []Check{
		{MeshName, "the mesh's name is a DNS label of at most 53 characters", true, quiet(p.meshName)},
		{APIReachable, "the Kubernetes API server answers", true, quiet(p.reachable)},
		{KubernetesVersion, "Kubernetes is version " + MinKubernetes + " or newer", true, quiet(p.version)},
		{ReleaseState, "no other operation on the mesh is in progress", true, quiet(p.release)},
		{ExistingMeshes, "no existing mesh conflicts with this one", false, quiet(meshes)},
		{Definitions, "the CRDs do not exist yet, or belong to osm", false, quiet(p.definitions)},
		{Owners, "no object of the chart belongs to another mesh", false, quiet(owners)},
		{Permissions, "you may create every object of the chart", false, quiet(p.permissions)},
		{MetricsAPI, "the resource metrics API is available if autoscaling is on", false, quiet(p.metrics)},
		{CertProvider, "the certificate provider is available, as far as can be checked from here", false, quiet(p.provider)},
		{PodSecurityLevel, "the namespaces of the mesh accept pods with a sidecar", false, quiet(p.podSecurity)},
		{NodeCount, "there are enough nodes to spread the replicas", false, quiet(p.nodes)},
	}
}

type preflight struct {
	*cluster.Clients
	plan Plan
}

func (p preflight) meshName(context.Context) error { return ValidMeshName(p.plan.Mesh) }

// maxMeshName is the length of the longest name that Helm gives a release, which has the mesh's name.
const maxMeshName = 53

// ValidMeshName returns an error if a name cannot be a mesh's. The name is used as a label value, as a part of
// object names, and as the name of the Helm release.
func ValidMeshName(name string) error {
	if len(name) > maxMeshName {
		return fmt.Errorf("--mesh-name: %q has %d characters; use at most %d of a-z, 0-9 and '-': Helm allows no more for the release of that name", name, len(name), maxMeshName)
	}
	if len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("--mesh-name: %q is not a DNS label; use 1 to %d characters a-z, 0-9 and '-', beginning and ending with a letter or digit", name, maxMeshName)
	}
	return nil
}

// ValidNamespace returns an error if no namespace can have this name.
func ValidNamespace(name string) error {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("--osm-namespace: %q cannot be a namespace; use 1 to %d characters a-z, 0-9 and '-', beginning and ending with a letter or digit", name, validation.DNS1123LabelMaxLength)
	}
	return nil
}

func (p preflight) reachable(ctx context.Context) error {
	_, err := p.ServerVersion(ctx)
	return err
}

func (p preflight) version(ctx context.Context) error {
	info, err := p.ServerVersion(ctx)
	if err != nil {
		return err
	}
	server, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return fmt.Errorf("read the version of the API server at %s: %w", p.Config.Host, err)
	}
	if !server.AtLeast(version.MustParseGeneric(MinKubernetes + ".0")) {
		return fmt.Errorf("the cluster runs Kubernetes %s; osm needs %s or newer: upgrade the cluster first", info.GitVersion, MinKubernetes)
	}
	return nil
}

func (p preflight) release(context.Context) error {
	r := p.plan.Release
	switch {
	case r == nil && p.plan.Upgrade:
		return fmt.Errorf("there is no mesh %q in namespace %q; install it with osm install, or name the right one with --mesh-name and --osm-namespace (osm mesh list shows them)", p.plan.Mesh, p.plan.Namespace)
	case r == nil:
		return nil
	case r.Pending:
		return p.pending(r)
	case r.Status == "uninstalling" || !r.EverDeployed:
		if p.plan.Recover {
			return nil
		}
		return fmt.Errorf("an earlier installation of mesh %q in namespace %q did not finish (Helm release is %s); run again with --recover to clean it up first, or remove it with osm uninstall mesh --mesh-name %s --osm-namespace %s",
			p.plan.Mesh, p.plan.Namespace, r.Status, p.plan.Mesh, p.plan.Namespace)
	}
	return nil
}

// pending evaluates a release in pending-*. It is stuck only if it is older than any operation may take.
func (p preflight) pending(r *Release) error {
	age := p.plan.Now.Sub(r.Since).Round(time.Second)
	if wait := p.plan.OwnerTimeout - age; wait > 0 {
		return fmt.Errorf("mesh %q in namespace %q has been %s for %s: another osm or helm process may be running; wait for it or, if it was killed, run again with --recover in %s",
			p.plan.Mesh, p.plan.Namespace, r.Status, age, wait)
	}
	if p.plan.Recover {
		return nil
	}
	return fmt.Errorf("mesh %q in namespace %q has been stuck in %s for %s: its process has ended; run again with --recover to take over",
		p.plan.Mesh, p.plan.Namespace, r.Status, age)
}

func (p preflight) meshes(ctx context.Context) error {
	meshes, err := cluster.Meshes(ctx, p.Kube)
	if err != nil {
		return err
	}
	var others []string
	for _, mesh := range meshes {
		own := mesh.Name == p.plan.Mesh && mesh.Namespace == p.plan.Namespace
		if own && (p.plan.Upgrade || p.plan.Recover) {
			continue
		}
		if mesh.Foreign {
			return fmt.Errorf("mesh [%s] in namespace [%s] (%s) is one of Open Service Mesh or osm-edge: its CRDs and webhook have the same names, so the two cannot share a cluster; remove it with the command line of its version, then remove its CRDs, and install again (docs/upgrade.md)", mesh.Name, mesh.Namespace, mesh.Version)
		}
		// Conflicts with other meshes matter for a new mesh only.
		if err := p.conflict(mesh); err != nil && !p.plan.Upgrade {
			return err
		}
		others = append(others, mesh.Name)
	}
	if p.plan.EnforceSingle && len(others) > 0 {
		return fmt.Errorf("meshes [%s] exist in this cluster, but this mesh must be the only one (osm.enforceSingleMesh); use --enforce-single-mesh=false, or uninstall the others first", strings.Join(others, ", "))
	}
	return nil
}

func (p preflight) conflict(mesh cluster.Mesh) error {
	switch {
	case mesh.Name == p.plan.Mesh:
		return fmt.Errorf("mesh [%s] already exists in namespace [%s]; choose another name with --mesh-name, or change the existing mesh with osm upgrade", mesh.Name, mesh.Namespace)
	case mesh.Namespace == p.plan.Namespace:
		return fmt.Errorf("namespace [%s] already contains mesh [%s]; choose another namespace with --osm-namespace", mesh.Namespace, mesh.Name)
	case mesh.EnforceSingle:
		return fmt.Errorf("cannot install mesh [%s]: existing mesh [%s] in namespace [%s] enforces that it is the only mesh in the cluster; uninstall it, or upgrade it with --enforce-single-mesh=false first", p.plan.Mesh, mesh.Name, mesh.Namespace)
	}
	return nil
}

func (p preflight) metrics(context.Context) error {
	if len(p.plan.Autoscaled) == 0 {
		return nil
	}
	const group = "metrics.k8s.io/v1beta1"
	resources, err := p.Discovery.ServerResourcesForGroupVersion(group)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing && !apierrors.IsServiceUnavailable(err) {
		return fmt.Errorf("look for the resource metrics API (%s): %w", group, err)
	}
	if err == nil && slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Kind == "PodMetrics" }) {
		return nil
	}
	keys := strings.Join(p.plan.Autoscaled, ".autoScale.enable and ") + ".autoScale.enable"
	return fmt.Errorf("%s is true, but the cluster does not serve the resource metrics API (%s), so nothing would be scaled; install metrics-server, or set autoScale.enable to false", keys, group)
}

func (p preflight) nodes(ctx context.Context) error {
	nodes, err := p.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return Warning(fmt.Errorf("cannot tell whether there are enough nodes for %d replicas: list nodes: %w", p.plan.Floor, err))
	}
	usable := 0
	for i := range nodes.Items {
		if schedulable(&nodes.Items[i]) {
			usable++
		}
	}
	if usable < p.plan.Floor {
		return Warning(fmt.Errorf("%d schedulable node(s) for %d replicas of a component: replicas will share a node and fail together with it; add nodes for high availability", usable, p.plan.Floor))
	}
	return nil
}

func schedulable(node *corev1.Node) bool {
	if node.Spec.Unschedulable {
		return false
	}
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule {
			return false
		}
	}
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

var errNotAllowed = errors.New("not allowed")
