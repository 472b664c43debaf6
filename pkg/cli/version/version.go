// Package version is osm version: what this osm and every replica of every mesh were built from.
//
// A replica is asked for its version; what a Deployment's image or label claims is not shown. Its invariant: a replica
// that does not answer is listed with the reason, and the command fails.
package version

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// answerTime limits how long one replica may take to report its version.
const answerTime = 5 * time.Second

type options struct {
	env        *command.Env
	cmd        *cobra.Command
	meshName   string
	clientOnly bool
	format     output.Format
}

type versions struct {
	Client   command.Build    `json:"client"`
	Replicas []replicaVersion `json:"replicas,omitempty"`
}

type replicaVersion struct {
	Mesh      string `json:"mesh"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	command.Build
	Problem string `json:"problem,omitempty"`
}

// New returns the command.
func New(env *command.Env) *cobra.Command {
	o := &options{env: env, format: output.Table}
	o.cmd = &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this osm and of the meshes in the cluster",
		Long: `Show the version of this osm, and the version that every replica of every mesh's control plane reports.
A replica that does not answer is listed as UNKNOWN, and the command fails with the reason. --mesh-name
and --osm-namespace select meshes.`,
		Example: `  osm version
  osm version --client-only -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	o.cmd.Flags().StringVar(&o.meshName, "mesh-name", "", "name of the mesh (default: all)")
	o.cmd.Flags().BoolVar(&o.clientOnly, "client-only", false, "show the version of this osm only; needs no cluster")
	o.cmd.Flags().VarP(&o.format, "output", "o", "output format")
	return o.cmd
}

func (o *options) run(ctx context.Context) error {
	all := versions{Client: o.env.Build}
	var failure error
	if !o.clientOnly {
		all.Replicas, failure = o.replicas(ctx)
	}
	if err := o.write(all, failure); err != nil {
		return err
	}
	return failure
}

func (o *options) write(all versions, failure error) error {
	if o.format != output.Table {
		return output.Write(o.env.Out, o.format, all, output.Grid{})
	}
	o.env.Printf("CLI Version: %s, Git Commit: %s, command.Build Date: %s\n", all.Client.Version, all.Client.GitCommit, all.Client.BuildDate)
	if o.clientOnly {
		return nil
	}
	if len(all.Replicas) == 0 {
		if failure == nil {
			o.env.Printf("Unable to find OSM control plane in the cluster\n")
		}
		return nil
	}
	grid := output.Grid{Header: []string{"MESH NAME", "MESH NAMESPACE", "POD", "VERSION", "GIT COMMIT", "BUILD DATE"}}
	for _, r := range all.Replicas {
		if r.Problem != "" {
			grid.Rows = append(grid.Rows, []string{r.Mesh, r.Namespace, r.Pod, "UNKNOWN", "", ""})
			continue
		}
		grid.Rows = append(grid.Rows, []string{r.Mesh, r.Namespace, r.Pod, r.Version, r.GitCommit, r.BuildDate})
	}
	o.env.Printf("\n")
	return grid.Write(o.env.Out)
}

// replicas asks every replica of every mesh. With an error, it returns the answers that it got.
func (o *options) replicas(ctx context.Context) ([]replicaVersion, error) {
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return nil, err
	}
	meshes, err := cluster.Meshes(ctx, clients.Kube)
	if err != nil {
		return nil, err
	}
	if meshes, err = o.env.SelectMeshes(o.cmd, meshes, o.meshName); err != nil {
		return nil, err
	}
	var (
		replicas []replicaVersion
		failures []error
	)
	for _, mesh := range meshes {
		for _, app := range []string{api.AppController, api.AppInjector} {
			pods, err := cluster.ControlPlanePods(ctx, clients.Kube, mesh.Namespace, app)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			for i := range pods {
				replica := replicaVersion{Mesh: mesh.Name, Namespace: mesh.Namespace, Pod: pods[i].Name}
				if err := o.ask(ctx, clients, &pods[i], &replica.Build); err != nil {
					replica.Problem = err.Error()
					failures = append(failures, err)
				}
				replicas = append(replicas, replica)
			}
		}
	}
	return replicas, errors.Join(failures...)
}

func (o *options) ask(ctx context.Context, clients *cluster.Clients, pod *corev1.Pod, build *command.Build) error {
	if pod.Status.Phase != corev1.PodRunning {
		return fmt.Errorf("pod %s/%s is not running: phase %s", pod.Namespace, pod.Name, pod.Status.Phase)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := clients.Reach(ctx, pod, api.PortHTTP, "/version")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, build); err != nil {
		return fmt.Errorf("read the version of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
