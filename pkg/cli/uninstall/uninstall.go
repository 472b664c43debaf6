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
		Long: `Remove the control plane of a mesh, the labels that made namespaces its members, and the certificates
of its proxies. Pods that carry a sidecar would lose their control plane: they are listed, and
nothing is done without --force. Nothing is done either if you lack a right that is needed.

A mesh is known by its name and its namespace. If one of this name is in another namespace only, the
command says where and changes nothing; what belongs to another namespace's mesh, to another Helm
release, or to Open Service Mesh is never touched.

The CustomResourceDefinitions with all their objects, the mesh's settings and its root certificates
are kept, so that the mesh can be installed again as it was; --delete-cluster-wide-resources
deletes them too, but never CustomResourceDefinitions that another mesh or its objects need. At the
end the cluster is searched for everything that carries the mesh's label; if anything is left, it is
listed and the command fails.`,
		Example: `  osm uninstall mesh
  osm uninstall mesh --mesh-name blue --osm-namespace blue-system
  osm uninstall mesh --mesh-name osm --force --delete-cluster-wide-resources --delete-namespace`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", "", "name of the mesh (default: the only one of the cluster)")
	flags.BoolVarP(&o.force, "force", "f", false, "do not ask, and do it even though pods carry a sidecar")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.BoolVarP(&o.clusterWide, "delete-cluster-wide-resources", "a", false, "also delete the CRDs (with all their objects), the root certificates and everything else that carries the mesh's label")
	flags.BoolVar(&o.deleteNamespace, "delete-namespace", false, "also delete the control plane's namespace, with all that is in it")
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

// choose finds the mesh that is meant. A mesh whose Deployment is gone may still have a release
// and leftovers, so a name that is given is taken at its word.
func (o *options) choose(meshes []cluster.Mesh) (cluster.Mesh, error) {
	fitting := o.env.Matching(o.cmd, meshes, o.meshName)
	switch {
	case len(fitting) == 1 && fitting[0].Foreign:
		return cluster.Mesh{}, command.ForeignMesh(fitting[0])
	case len(fitting) == 1:
		return fitting[0], nil
	case len(fitting) > 1:
		return cluster.Mesh{}, command.Usagef(o.cmd, "there are several meshes: %s; say which with --mesh-name and --osm-namespace", command.MeshNames(meshes))
	case o.meshName == "" && len(meshes) > 0:
		return cluster.Mesh{}, fmt.Errorf("there is no mesh in namespace [%s]; the cluster has: %s", o.env.Namespace, command.MeshNames(meshes))
	case o.meshName == "":
		return cluster.Mesh{Name: api.DefaultMeshName, Namespace: o.env.Namespace}, nil
	}
	return cluster.Mesh{Name: o.meshName, Namespace: o.env.Namespace}, nil
}

// permit makes sure that the user may do this, to the end, and wants it, knowing what it does to
// running pods.
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
		return fmt.Errorf("%d pod(s) carry a sidecar of mesh [%s] and would go on without a control plane until their certificates expire: %s; remove their namespaces from the mesh and restart them, or use --force",
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
		question += ", and the namespace with all that is in it"
	}
	return o.env.Confirm(question + "?")
}

// deletableNamespace refuses to delete a namespace that holds more than the mesh.
func deletableNamespace(mesh cluster.Mesh, meshes []cluster.Mesh) error {
	if slices.Contains([]string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, mesh.Namespace) {
		return fmt.Errorf("--delete-namespace: namespace [%s] is Kubernetes' own; leave the flag out", mesh.Namespace)
	}
	for _, other := range meshes {
		if other.Namespace == mesh.Namespace && other.Name != mesh.Name {
			return fmt.Errorf("--delete-namespace: namespace [%s] holds mesh [%s] too; leave the flag out", mesh.Namespace, other.Name)
		}
	}
	return nil
}
