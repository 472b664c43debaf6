package uninstall

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
)

type options struct {
	env             *command.Env
	cmd             *cobra.Command
	meshName        string
	force           bool
	yes             bool
	clusterWide     bool
	deleteNamespace bool
	timeout         command.Timeout
}

// NewMesh returns osm uninstall mesh.
func NewMesh(env *command.Env) *cobra.Command {
	o := &options{env: env}
	o.cmd = &cobra.Command{
		Use:   "mesh",
		Short: "Uninstall a mesh",
		Long: `Remove the control plane of a mesh, the membership labels of its namespaces, and the certificates of
its proxies. If pods still have a sidecar of the mesh, they are listed and nothing is removed, unless
--force is set. Nothing is removed if you lack a permission that the removal needs.

A mesh is identified by its name and namespace. If only another namespace has a mesh of this name,
the command says so and changes nothing. Objects of a mesh in another namespace, of another Helm
release, or of Open Service Mesh are never changed.

The CustomResourceDefinitions with all their objects, the mesh's settings and its root certificates
are kept, so that the mesh can be installed again unchanged. With --delete-cluster-wide-resources
they are deleted too, except CustomResourceDefinitions that another mesh needs. Finally the cluster
is searched for objects with the mesh's label; if any is left, it is listed and the command fails.`,
		Example: `  osm uninstall mesh
  osm uninstall mesh --mesh-name blue --osm-namespace blue-system
  osm uninstall mesh --mesh-name osm --force --delete-cluster-wide-resources --delete-namespace`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", "", "name of the mesh (default: the only one of the cluster)")
	flags.BoolVar(&o.force, "force", false, "do not ask for confirmation, and uninstall even if pods have a sidecar")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	flags.BoolVarP(&o.clusterWide, "delete-cluster-wide-resources", "a", false, "also delete the CRDs with all their objects, the root certificates and everything else with the mesh's label")
	flags.BoolVar(&o.deleteNamespace, "delete-namespace", false, "also delete the control plane's namespace with everything in it")
	o.timeout.AddFlag(o.cmd, command.DefaultTimeout, "how long the whole operation may take")
	return o.cmd
}

func (o *options) run(ctx context.Context) error {
	if err := o.timeout.Validate(o.cmd); err != nil {
		return err
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	meshes, err := cluster.Meshes(ctx, clients.Kube)
	if err != nil {
		return err
	}
	mesh, err := o.choose(meshes)
	if err != nil {
		return err
	}
	engine, err := o.env.Engine(mesh.Namespace)
	if err != nil {
		return err
	}
	info, err := command.ExistingRelease(engine, mesh.Name)
	if err != nil {
		return err
	}
	removal := &removal{env: o.env, clients: clients, engine: engine, mesh: mesh, info: info, clusterWide: o.clusterWide}
	if found, err := removal.find(ctx, meshes); err != nil || !found {
		if err == nil {
			o.env.Printf("No OSM control plane with mesh name [%s] found in namespace [%s]\n", mesh.Name, mesh.Namespace)
		}
		return err
	}
	if err := o.permit(ctx, removal, meshes); err != nil {
		return err
	}
	ctx, cancel := o.timeout.Limit(ctx)
	defer cancel()
	if err := removal.run(ctx); err != nil {
		return err
	}
	return o.finish(ctx, removal)
}

func (o *options) finish(ctx context.Context, removal *removal) error {
	if o.deleteNamespace {
		if err := removal.namespace(ctx); err != nil {
			return err
		}
	}
	if err := removal.verify(ctx); err != nil {
		return err
	}
	o.env.Printf("OSM [mesh name: %s] in namespace [%s] uninstalled\n", removal.mesh.Name, removal.mesh.Namespace)
	return nil
}

// choose finds the mesh that is meant. A mesh without a Deployment may still have a release and other
// objects, so --mesh-name is accepted even if no such mesh runs.
func (o *options) choose(meshes []cluster.Mesh) (cluster.Mesh, error) {
	fitting := o.env.Matching(o.cmd, meshes, o.meshName)
	switch {
	case len(fitting) == 1 && fitting[0].Foreign:
		return cluster.Mesh{}, command.ForeignMesh(fitting[0])
	case len(fitting) == 1:
		return fitting[0], nil
	case len(fitting) > 1:
		return cluster.Mesh{}, command.Usagef(o.cmd, "there are several meshes: %s; choose one with --mesh-name and --osm-namespace", command.MeshNames(meshes))
	case o.meshName == "" && len(meshes) > 0:
		return cluster.Mesh{}, fmt.Errorf("there is no mesh in namespace [%s]; the cluster has: %s", o.env.Namespace, command.MeshNames(meshes))
	case o.meshName == "":
		return cluster.Mesh{Name: api.DefaultMeshName, Namespace: o.env.Namespace}, nil
	}
	return cluster.Mesh{Name: o.meshName, Namespace: o.env.Namespace}, nil
}

// permit makes sure that the user has every permission and confirms, knowing what happens to running
// pods.
func (o *options) permit(ctx context.Context, removal *removal, meshes []cluster.Mesh) error {
	mesh := removal.mesh
	if o.deleteNamespace {
		if err := deletableNamespace(mesh, meshes); err != nil {
			return err
		}
	}
	if err := removal.permitted(ctx, o.deleteNamespace); err != nil {
		return err
	}
	if o.force {
		return nil
	}
	injected, err := cluster.InjectedPods(ctx, removal.clients.Kube, mesh.Name)
	if err != nil {
		return err
	}
	if len(injected) > 0 {
		return fmt.Errorf("%d pod(s) have a sidecar of mesh [%s] and would run without a control plane until their certificates expire: %s; remove their namespaces from the mesh and restart the pods, or use --force",
			len(injected), mesh.Name, strings.Join(injected, ", "))
	}
	if o.yes {
		return nil
	}
	question := fmt.Sprintf("Uninstall OSM [mesh name: %s] in namespace [%s]", mesh.Name, mesh.Namespace)
	if o.clusterWide {
		question += " and delete its CRDs with all their objects, and its root certificates"
	}
	if o.deleteNamespace {
		question += ", and the namespace with everything in it"
	}
	return o.env.Confirm(question + "?")
}

// deletableNamespace refuses to delete a namespace of Kubernetes, or one with another mesh.
func deletableNamespace(mesh cluster.Mesh, meshes []cluster.Mesh) error {
	if slices.Contains([]string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, mesh.Namespace) {
		return fmt.Errorf("--delete-namespace: namespace [%s] belongs to Kubernetes; omit the flag", mesh.Namespace)
	}
	for _, other := range meshes {
		if other.Namespace == mesh.Namespace && other.Name != mesh.Name {
			return fmt.Errorf("--delete-namespace: namespace [%s] also holds mesh [%s]; omit the flag", mesh.Namespace, other.Name)
		}
	}
	return nil
}
