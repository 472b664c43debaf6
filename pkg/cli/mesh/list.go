package mesh

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// NewList returns osm mesh list.
func NewList(env *command.Env) *cobra.Command {
	format, meshName := output.Table, ""
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the meshes of the cluster",
		Long: `List the meshes of the cluster, including those of Open Service Mesh and osm-edge, which are marked.

ROOT is the start of the fingerprint of the root certificate that the replicas of the mesh report. It
is MISMATCH if they disagree, and "-" if none answers within three seconds. JSON and YAML contain the
complete fingerprint of every replica. --mesh-name and --osm-namespace select meshes.`,
		Example: `  osm mesh list
  osm mesh list -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return list(cmd, env, meshName, format) },
	}
	cmd.Flags().StringVar(&meshName, "mesh-name", "", "name of the mesh (default: all)")
	cmd.Flags().VarP(&format, "output", "o", "output format")
	return cmd
}

// rootTime is how long the replicas of all meshes together may take to report their roots.
const rootTime = 3 * time.Second

type listedMesh struct {
	cluster.Mesh
	Roots []replicaRoot `json:"roots"`
}

type replicaRoot struct {
	Pod         string `json:"pod"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Problem     string `json:"problem,omitempty"`
}

func list(cmd *cobra.Command, env *command.Env, meshName string, format output.Format) error {
	ctx := cmd.Context()
	clients, err := env.Connect(ctx)
	if err != nil {
		return err
	}
	meshes, err := cluster.Meshes(ctx, clients.Kube)
	if err != nil {
		return err
	}
	if meshes, err = env.SelectMeshes(cmd, meshes, meshName); err != nil {
		return err
	}
	if err := cluster.WithNamespaces(ctx, clients.Kube, meshes); err != nil {
		return err
	}
	if len(meshes) == 0 && format == output.Table {
		env.Printf("No osm mesh control planes found\n")
		return nil
	}
	listed := withRoots(ctx, env, clients, meshes)
	grid := output.Grid{Header: []string{"MESH NAME", "MESH NAMESPACE", "VERSION", "ROOT", "ADDED NAMESPACES"}}
	for _, mesh := range listed {
		version := mesh.Version
		if mesh.Foreign {
			version += " (not this osm's)"
		}
		grid.Rows = append(grid.Rows, []string{mesh.Name, mesh.Namespace, version, mesh.root(), strings.Join(mesh.Namespaces, ",")})
	}
	return output.Write(env.Out, format, listed, grid)
}

// withRoots asks the replicas of all meshes for their roots. Who does not answer in time, or may
// not be asked, is no reason not to list the mesh.
func withRoots(ctx context.Context, env *command.Env, clients *cluster.Clients, meshes []cluster.Mesh) []listedMesh {
	ctx, cancel := context.WithTimeoutCause(ctx, rootTime, fmt.Errorf("no answer within %s", rootTime))
	defer cancel()
	var all []corev1.Pod
	for _, mesh := range meshes {
		for _, app := range []string{api.AppController, api.AppInjector} {
			pods, err := cluster.ControlPlanePods(ctx, clients.Kube, mesh.Namespace, app)
			if err != nil {
				env.Debugf("cannot list the replicas of mesh %s: %v", mesh.Name, err)
			}
			all = append(all, pods...)
		}
	}
	listed := make([]listedMesh, len(meshes))
	replicas := cluster.AskReplicas(ctx, clients.Reach, all, rootTime, env.Now())
	for i, mesh := range meshes {
		listed[i] = listedMesh{mesh, []replicaRoot{}}
		for _, r := range replicas {
			if r.Namespace == mesh.Namespace {
				listed[i].Roots = append(listed[i].Roots, rootOf(r))
			}
		}
	}
	return listed
}

func rootOf(r cluster.Replica) replicaRoot {
	switch {
	case r.Err != nil:
		return replicaRoot{Pod: r.Pod, Problem: r.Err.Error()}
	case r.Root == "":
		return replicaRoot{Pod: r.Pod, Problem: "reports no root"}
	}
	return replicaRoot{Pod: r.Pod, Fingerprint: r.Root}
}

// root is the column ROOT of the table.
func (m listedMesh) root() string {
	root := ""
	for _, r := range m.Roots {
		if r.Fingerprint != "" && root != "" && r.Fingerprint != root {
			return "MISMATCH"
		}
		root = cmp.Or(r.Fingerprint, root)
	}
	return cluster.ShortRoot(root)
}
