package namespace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/membership"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// memberOptions are what namespace add, remove and ignore have in common: they check all namespaces before
// they change the first one, and at the end list the workloads that must be restarted.
type memberOptions struct {
	env      *command.Env
	cmd      *cobra.Command
	meshName string
	disabled bool
	// ignorePodSecurity adds namespaces that refuse pods with a sidecar.
	ignorePodSecurity bool
	format            output.Format

	clients *cluster.Clients
	meshes  []cluster.Mesh
	mesh    cluster.Mesh
	webhook *admissionv1.MutatingWebhookConfiguration // of the mesh; nil if there is none or it may not be read
	blind   bool                                      // the webhook may not be read
}

func (o *memberOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	cmd.Flags().VarP(&o.format, "output", "o", "output format")
}

// memberChange is a planned change of a namespace and, later, its result.
type memberChange struct {
	Namespace string `json:"namespace"`
	Mesh      string `json:"mesh,omitempty"`
	Changed   bool   `json:"changed"`
	// Restart are the workloads that must be restarted: those without a sidecar after an addition, with
	// one after a removal.
	Restart []cluster.Workload `json:"restart"`

	labels, annotations map[string]any
	message             string // for people, in place of a table
	outdated            func(context.Context) ([]cluster.Workload, error)
	running             string // what these workloads lack or still have
}

// planner checks a namespace and returns the change to make, or why it is refused.
type planner func(ctx context.Context, namespace *corev1.Namespace) (*memberChange, error)

func (o *memberOptions) run(cmd *cobra.Command, names []string, plan planner) error {
	ctx := cmd.Context()
	o.cmd = cmd
	var err error
	if o.clients, err = o.env.Connect(ctx); err != nil {
		return err
	}
	slices.Sort(names)
	names = slices.Compact(names)
	changes := make([]*memberChange, len(names))
	refusals := make([]error, len(names))
	for i, name := range names {
		namespace, err := o.clients.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			refusals[i] = fmt.Errorf("namespace [%s] does not exist; create it first, or correct the name", name)
		case err != nil:
			refusals[i] = fmt.Errorf("read namespace [%s]: %w", name, err)
		default:
			changes[i], refusals[i] = plan(ctx, namespace)
		}
	}
	if err := errors.Join(refusals...); err != nil {
		if len(names) > 1 {
			return fmt.Errorf("%w\nno namespace was changed", err)
		}
		return err
	}
	if err := o.permitted(ctx, changes); err != nil {
		return err
	}
	done, failure := o.apply(ctx, changes)
	return errors.Join(o.report(ctx, done), failure)
}

// permitted checks the permissions that the changes need.
func (o *memberOptions) permitted(ctx context.Context, changes []*memberChange) error {
	var needs []check.Need
	for _, change := range changes {
		if change.labels != nil {
			needs = append(needs, check.Need{Verb: "patch", Object: check.Object{APIVersion: "v1", Kind: "Namespace", Name: change.Namespace}})
		}
	}
	return check.Permitted(ctx, o.clients, needs)
}

// apply changes one namespace after the other and returns those that are done.
func (o *memberOptions) apply(ctx context.Context, changes []*memberChange) ([]*memberChange, error) {
	for i, change := range changes {
		if change.labels == nil {
			continue
		}
		if err := patchNamespace(ctx, o.clients.Kube, change.Namespace, change.labels, change.annotations); err != nil {
			return changes[:i], err
		}
		change.Changed = true
	}
	return changes, nil
}

func (o *memberOptions) report(ctx context.Context, changes []*memberChange) error {
	for _, change := range changes {
		change.Restart = []cluster.Workload{}
		if change.outdated == nil {
			continue
		}
		workloads, err := change.outdated(ctx)
		if err != nil {
			o.env.Warnf("cannot list the workloads of namespace [%s] that must be restarted: %v", change.Namespace, err)
			continue
		}
		change.Restart = workloads
	}
	if o.format != output.Table {
		return output.Write(o.env.Out, o.format, changes, output.Grid{})
	}
	for _, change := range changes {
		o.env.Printf("%s\n", change.message)
		o.advise(change)
	}
	return nil
}

// advise prints the commands that restart the workloads; one kubectl command restarts all that it can.
func (o *memberOptions) advise(change *memberChange) {
	if len(change.Restart) == 0 {
		return
	}
	pods, rollouts := 0, []string{}
	for _, workload := range change.Restart {
		pods += workload.Pods
		if strings.HasPrefix(workload.Command, "kubectl rollout restart ") {
			rollouts = append(rollouts, strings.ToLower(workload.Kind)+"/"+workload.Name)
		}
	}
	o.env.Printf("%d pod(s) of namespace [%s] run %s until they are restarted:\n", pods, change.Namespace, change.running)
	if len(rollouts) > 0 {
		o.env.Printf("  kubectl rollout restart %s -n %s\n", strings.Join(rollouts, " "), change.Namespace)
	}
	for _, workload := range change.Restart {
		switch {
		case workload.Command == "":
			o.env.Printf("  %s %s (%d pod(s)): delete it and create it again\n", workload.Kind, workload.Name, workload.Pods)
		case !strings.HasPrefix(workload.Command, "kubectl rollout restart "):
			o.env.Printf("  %s\n", workload.Command)
		}
	}
}

func (o *memberOptions) addition(ctx context.Context, namespace *corev1.Namespace) (*memberChange, error) {
	if err := o.findMesh(ctx); err != nil {
		return nil, err
	}
	if err := o.fits(namespace); err != nil {
		return nil, err
	}
	if err := o.accepts(namespace); err != nil {
		return nil, err
	}
	injection := "enabled"
	if o.disabled {
		injection = "disabled"
	}
	change := &memberChange{
		Namespace: namespace.Name, Mesh: o.meshName, running: "without a sidecar",
		outdated: func(ctx context.Context) ([]cluster.Workload, error) {
			return cluster.WithoutSidecar(ctx, o.clients.Kube, namespace.Name, !o.disabled)
		},
		message: fmt.Sprintf("Namespace [%s] has already been added to mesh [%s]", namespace.Name, o.meshName),
	}
	if namespace.Labels[api.LabelMonitoredBy] != o.meshName || namespace.Annotations[api.AnnotationInjection] != injection {
		change.labels, change.annotations = map[string]any{api.LabelMonitoredBy: o.meshName}, map[string]any{api.AnnotationInjection: injection}
		change.message = fmt.Sprintf("Namespace [%s] successfully added to mesh [%s]", namespace.Name, o.meshName)
	}
	return change, nil
}

// fits returns an error if a namespace cannot become a member.
func (o *memberOptions) fits(namespace *corev1.Namespace) error {
	name := namespace.Name
	if slices.Contains([]string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, name) {
		return fmt.Errorf("namespace [%s] belongs to Kubernetes and cannot be added to a mesh: the cluster's own pods must never wait for one", name)
	}
	for _, mesh := range o.meshes {
		if mesh.Namespace == name {
			return fmt.Errorf("namespace [%s] runs the control plane of mesh [%s] and cannot be added to a mesh", name, mesh.Name)
		}
	}
	if membership.Ignored(namespace.Labels) {
		return fmt.Errorf("namespace [%s] is ignored by every mesh (osm namespace ignore); undo that first: osm namespace remove %s", name, name)
	}
	if owner := namespace.Labels[api.LabelMonitoredBy]; owner != "" && owner != o.meshName {
		return fmt.Errorf("namespace [%s] belongs to mesh [%s]; remove it from there first: osm namespace remove %s --mesh-name %s", name, owner, name, owner)
	}
	return o.acts(namespace)
}

// accepts returns an error if a namespace would refuse its own pods once they get a sidecar. Where they get one
// already, and where only those get one that ask for it, that is a warning.
func (o *memberOptions) accepts(namespace *corev1.Namespace) error {
	err := check.PodSecurity(namespace)
	injected, _, _ := membership.Injection(namespace.Annotations) // a bad value is replaced
	switch {
	case err == nil || o.ignorePodSecurity:
		return nil
	case o.disabled || membership.Member(namespace.Labels, o.meshName) && injected:
		o.env.Warnf("%v", err)
		return nil
	}
	return fmt.Errorf("%w; or, if the API server exempts the namespace, use --ignore-pod-security", err)
}

// acts returns an error if the webhook would not act in a namespace that became a member.
func (o *memberOptions) acts(namespace *corev1.Namespace) error {
	switch {
	case o.blind:
		return nil
	case o.webhook == nil:
		return fmt.Errorf("mesh [%s] has no MutatingWebhookConfiguration %s, so no pod would get a sidecar; repair it with osm upgrade --mesh-name %s --osm-namespace %s", o.mesh.Name, api.WebhookConfigName(o.mesh.Name), o.mesh.Name, o.mesh.Namespace)
	}
	member := labels.Set{corev1.LabelMetadataName: namespace.Name}
	for key, value := range namespace.Labels {
		member[key] = value
	}
	member[api.LabelMonitoredBy] = o.meshName
	for _, webhook := range o.webhook.Webhooks {
		selector, err := metav1.LabelSelectorAsSelector(webhook.NamespaceSelector)
		if err != nil {
			return fmt.Errorf("read the namespaceSelector of MutatingWebhookConfiguration %s: %w", o.webhook.Name, err)
		}
		if selector.Matches(member) {
			return nil
		}
	}
	return fmt.Errorf("namespace [%s] cannot be added: the namespaceSelector of the webhook of mesh [%s] excludes it; see MutatingWebhookConfiguration %s", namespace.Name, o.meshName, o.webhook.Name)
}

// findMesh finds the mesh to add namespaces to, and its webhook. It does so once.
func (o *memberOptions) findMesh(ctx context.Context) error {
	if o.meshes != nil {
		return nil
	}
	meshes, err := cluster.Meshes(ctx, o.clients.Kube)
	if err != nil {
		return err
	}
	if o.mesh, err = o.choose(meshes); err != nil {
		return err
	}
	name := api.WebhookConfigName(o.mesh.Name)
	webhook, err := o.clients.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		o.blind = true
		o.env.Warnf("cannot tell whether the mesh's webhook acts in the namespaces: %v", err)
	case apierrors.IsNotFound(err): // reported by acts
	case err != nil:
		return fmt.Errorf("read MutatingWebhookConfiguration %s: %w", name, err)
	default:
		o.webhook = webhook
	}
	o.meshes = meshes
	return nil
}

// choose finds the mesh that is meant. The membership label holds the name of a mesh only, so all
// meshes of that name act on the namespace. If there are several, --osm-namespace must choose one.
func (o *memberOptions) choose(meshes []cluster.Mesh) (cluster.Mesh, error) {
	named := slices.DeleteFunc(slices.Clone(meshes), func(m cluster.Mesh) bool { return m.Name != o.meshName })
	here := o.env.Matching(o.cmd, named, o.meshName)
	switch {
	case len(named) == 0:
		return cluster.Mesh{}, fmt.Errorf("mesh [%s] does not exist; name another one with --mesh-name (osm mesh list shows them), or create it with osm install", o.meshName)
	case len(here) == 0:
		return cluster.Mesh{}, fmt.Errorf("mesh [%s] is in namespace [%s], not in [%s]; use --osm-namespace %s, or omit the flag", o.meshName, named[0].Namespace, o.env.Namespace, named[0].Namespace)
	case len(here) > 1:
		return cluster.Mesh{}, fmt.Errorf("there are several meshes of that name, and all would act on the namespace: %s; uninstall those that are not needed, or choose one with --osm-namespace", command.MeshNames(named))
	case here[0].Foreign:
		return cluster.Mesh{}, command.ForeignMesh(here[0])
	case len(named) > 1:
		o.env.Warnf("there are several meshes of that name, and all act on the namespace: %s", command.MeshNames(named))
	}
	return here[0], nil
}

func (o *memberOptions) removal(_ context.Context, namespace *corev1.Namespace) (*memberChange, error) {
	name, owner := namespace.Name, namespace.Labels[api.LabelMonitoredBy]
	if owner != "" && owner != o.meshName {
		return nil, fmt.Errorf("namespace [%s] belongs to mesh [%s], not to mesh [%s]; name the right one with --mesh-name", name, owner, o.meshName)
	}
	change := &memberChange{
		Namespace: name, Mesh: owner, running: "with a sidecar", outdated: o.withSidecar(name),
		message: fmt.Sprintf("Namespace [%s] does not belong to any mesh; nothing was changed", name),
	}
	if owner != "" || membership.Ignored(namespace.Labels) {
		change.labels, change.annotations = noMembership()
		change.message = fmt.Sprintf("Namespace [%s] successfully removed from mesh [%s]", name, cmp.Or(owner, o.meshName))
	}
	return change, nil
}

func (o *memberOptions) ignoring(_ context.Context, namespace *corev1.Namespace) (*memberChange, error) {
	return &memberChange{
		Namespace: namespace.Name, Mesh: namespace.Labels[api.LabelMonitoredBy], running: "with a sidecar", outdated: o.withSidecar(namespace.Name),
		labels:  map[string]any{api.LabelIgnore: "true"},
		message: fmt.Sprintf("Successfully configured namespace [%s] to be ignored", namespace.Name),
	}, nil
}

func (o *memberOptions) withSidecar(namespace string) func(context.Context) ([]cluster.Workload, error) {
	return func(ctx context.Context) ([]cluster.Workload, error) {
		return cluster.WithSidecar(ctx, o.clients.Kube, namespace)
	}
}
