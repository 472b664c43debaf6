package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
)

func newNamespaceCmd(env *Env) *cobra.Command {
	cmd := group("namespace", "Manage the namespaces of a mesh",
		newNamespaceAddCmd(env), newNamespaceRemoveCmd(env), newNamespaceIgnoreCmd(env), newNamespaceListCmd(env))
	cmd.Aliases = []string{"ns"}
	return cmd
}

type namespaceOptions struct {
	env      *Env
	meshName string
	disabled bool
}

func newNamespaceAddCmd(env *Env) *cobra.Command {
	o := &namespaceOptions{env: env}
	cmd := &cobra.Command{
		Use:   "add NAMESPACE ...",
		Short: "Add namespaces to a mesh",
		Long: `Add namespaces to a mesh. Pods that are created in them from now on get a sidecar; pods that run
already get one when they are restarted.`,
		Example: `  osm namespace add bookstore bookbuyer
  osm namespace add bookstore --disable-sidecar-injection`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.each(cmd.Context(), args, o.add) },
	}
	cmd.Flags().StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	cmd.Flags().BoolVar(&o.disabled, "disable-sidecar-injection", false, "make the namespaces members, but inject sidecars only into pods that ask for it")
	return cmd
}

func newNamespaceRemoveCmd(env *Env) *cobra.Command {
	o := &namespaceOptions{env: env}
	cmd := &cobra.Command{
		Use:     "remove NAMESPACE ...",
		Short:   "Remove namespaces from a mesh",
		Long:    "Remove namespaces from a mesh. Pods that run keep their sidecar until they are restarted.",
		Example: `  osm namespace remove bookstore`,
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.each(cmd.Context(), args, o.remove) },
	}
	cmd.Flags().StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	return cmd
}

func newNamespaceIgnoreCmd(env *Env) *cobra.Command {
	o := &namespaceOptions{env: env}
	return &cobra.Command{
		Use:     "ignore NAMESPACE ...",
		Short:   "Keep every mesh away from namespaces",
		Example: `  osm namespace ignore legacy`,
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.each(cmd.Context(), args, o.ignore) },
	}
}

func newNamespaceListCmd(env *Env) *cobra.Command {
	meshName, format := "", output.Table
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the namespaces of a mesh, or of all meshes",
		Example: `  osm namespace list
  osm namespace list --mesh-name osm -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listNamespaces(cmd.Context(), env, meshName, format)
		},
	}
	cmd.Flags().StringVar(&meshName, "mesh-name", "", "name of the mesh (default: all)")
	cmd.Flags().VarP(&format, "output", "o", "output format")
	return cmd
}

// each does the same to every namespace; one that fails does not keep the others from it.
func (o *namespaceOptions) each(ctx context.Context, names []string, do func(context.Context, kubernetes.Interface, *corev1.Namespace) error) error {
	clients, err := o.env.connect(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, name := range names {
		namespace, err := clients.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			err = fmt.Errorf("namespace [%s] does not exist; create it first, or correct the name", name)
		case err != nil:
			err = fmt.Errorf("read namespace [%s]: %w", name, err)
		default:
			err = do(ctx, clients.Kube, namespace)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func (o *namespaceOptions) add(ctx context.Context, client kubernetes.Interface, namespace *corev1.Namespace) error {
	meshes, err := cluster.Meshes(ctx, client)
	if err != nil {
		return err
	}
	known := false
	for _, mesh := range meshes {
		known = known || mesh.Name == o.meshName
		if mesh.Namespace == namespace.Name {
			return fmt.Errorf("namespace [%s] runs the control plane of mesh [%s] and cannot be added to a mesh", namespace.Name, mesh.Name)
		}
	}
	if !known {
		return fmt.Errorf("mesh [%s] does not exist; name another one with --mesh-name (osm mesh list shows them), or create it with osm install", o.meshName)
	}
	if namespace.Labels[api.LabelIgnore] == "true" {
		return fmt.Errorf("namespace [%s] is ignored by every mesh (osm namespace ignore); osm namespace remove %s ends that", namespace.Name, namespace.Name)
	}
	if owner := namespace.Labels[api.LabelMonitoredBy]; owner != "" && owner != o.meshName {
		return fmt.Errorf("namespace [%s] belongs to mesh [%s]; remove it from there first: osm namespace remove %s --mesh-name %s", namespace.Name, owner, namespace.Name, owner)
	}
	injection := "enabled"
	if o.disabled {
		injection = "disabled"
	}
	if namespace.Labels[api.LabelMonitoredBy] == o.meshName && namespace.Annotations[api.AnnotationInjection] == injection {
		o.env.printf("Namespace [%s] has already been added to mesh [%s]\n", namespace.Name, o.meshName)
		return nil
	}
	if err := patchNamespace(ctx, client, namespace.Name, map[string]any{api.LabelMonitoredBy: o.meshName}, map[string]any{api.AnnotationInjection: injection}); err != nil {
		return err
	}
	o.env.printf("Namespace [%s] successfully added to mesh [%s]\n", namespace.Name, o.meshName)
	return nil
}

func (o *namespaceOptions) remove(ctx context.Context, client kubernetes.Interface, namespace *corev1.Namespace) error {
	owner, ignored := namespace.Labels[api.LabelMonitoredBy], namespace.Labels[api.LabelIgnore] == "true"
	if owner == "" && !ignored {
		o.env.printf("Namespace [%s] already does not belong to any mesh\n", namespace.Name)
		return nil
	}
	if owner != "" && owner != o.meshName {
		return fmt.Errorf("namespace [%s] belongs to mesh [%s], not to mesh [%s]; name the right one with --mesh-name", namespace.Name, owner, o.meshName)
	}
	if err := leaveMesh(ctx, client, namespace.Name); err != nil {
		return err
	}
	o.env.printf("Namespace [%s] successfully removed from mesh [%s]\n", namespace.Name, cmp.Or(owner, o.meshName))
	pods, err := client.CoreV1().Pods(namespace.Name).List(ctx, metav1.ListOptions{LabelSelector: api.LabelProxyUUID})
	if err == nil && len(pods.Items) > 0 {
		o.env.errorf("Warning: %d pod(s) of namespace [%s] keep their sidecar until they are restarted\n", len(pods.Items), namespace.Name)
	}
	return nil
}

func (o *namespaceOptions) ignore(ctx context.Context, client kubernetes.Interface, namespace *corev1.Namespace) error {
	if err := patchNamespace(ctx, client, namespace.Name, map[string]any{api.LabelIgnore: "true"}, nil); err != nil {
		return err
	}
	o.env.printf("Successfully configured namespace [%s] to be ignored\n", namespace.Name)
	return nil
}

// leaveMesh takes every label and annotation of a mesh off a namespace.
func leaveMesh(ctx context.Context, client kubernetes.Interface, name string) error {
	return patchNamespace(ctx, client, name,
		map[string]any{api.LabelMonitoredBy: nil, api.LabelIgnore: nil},
		map[string]any{api.AnnotationInjection: nil, api.AnnotationMetrics: nil})
}

func patchNamespace(ctx context.Context, client kubernetes.Interface, name string, labels, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return fmt.Errorf("change namespace [%s]: %w", name, err)
	}
	if _, err := client.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "osm"}); err != nil {
		return fmt.Errorf("change the labels of namespace [%s]: %w", name, err)
	}
	return nil
}

type memberNamespace struct {
	Name      string `json:"name"`
	Mesh      string `json:"mesh"`
	Injection string `json:"sidecarInjection"`
}

func listNamespaces(ctx context.Context, env *Env, mesh string, format output.Format) error {
	clients, err := env.connect(ctx)
	if err != nil {
		return err
	}
	namespaces, err := cluster.Members(ctx, clients.Kube, mesh)
	if err != nil {
		return err
	}
	members := []memberNamespace{}
	grid := output.Grid{Header: []string{"NAMESPACE", "MESH", "SIDECAR-INJECTION"}}
	for i := range namespaces {
		member := memberNamespace{namespaces[i].Name, namespaces[i].Labels[api.LabelMonitoredBy], injectionOf(&namespaces[i])}
		members = append(members, member)
		grid.Rows = append(grid.Rows, []string{member.Name, member.Mesh, member.Injection})
	}
	if len(members) == 0 && format == output.Table {
		if mesh == "" {
			env.printf("No namespaces in any mesh\n")
			return nil
		}
		env.printf("No namespaces in mesh [%s]\n", mesh)
		return nil
	}
	return output.Write(env.Out, format, members, grid)
}

func injectionOf(namespace *corev1.Namespace) string {
	if namespace.Labels[api.LabelIgnore] == "true" {
		return "disabled (ignored)"
	}
	switch strings.ToLower(namespace.Annotations[api.AnnotationInjection]) {
	case "enabled", "yes", "true":
		return "enabled"
	case "disabled", "no", "false":
		return "disabled"
	}
	return "-"
}
