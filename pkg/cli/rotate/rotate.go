package rotate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// defaultTimeout limits the wait for a rotation, in which a Secret has to reach all pods three times.
const defaultTimeout = 30 * time.Minute

type options struct {
	env      *command.Env
	cmd      *cobra.Command
	meshName string
	to       string
	name     string
	provider providerFlags
	status   bool
	abort    bool
	noWait   bool
	yes      bool
	timeout  command.Timeout
	format   output.Format
}

// New returns the command.
func New(env *command.Env) *cobra.Command {
	o := &options{env: env, format: output.Table}
	o.cmd = &cobra.Command{
		Use:   "rotate-root",
		Short: "Replace the root certificate of a mesh without losing a request",
		Long: `Replace the root CA of a mesh with a new one, from the same provider or another, while the mesh serves
traffic. The control plane distributes the new root together with the old one (trust-both), signs with
the new one (sign-new), renews every certificate of the old one (all-renewed), and drops the old one
(drop-old). Each step waits for every proxy, replica and webhook. A Secret can take up to three minutes
to reach running pods, and a rotation needs that three times: expect about ten minutes.

The roots are MeshRootCertificates in the mesh's namespace. The request is stored there: the rotation
continues without this command, which only shows its progress. Until the old root is dropped, --abort
goes back to it. At the end, the command lists every proxy with the certificate that it uses.`,
		Example: `  # Rotate to a new CA of the same provider; the built-in one makes a new key in another Secret
  osm mesh rotate-root

  # Rotate to Vault. Prepare the control plane first; the chart's osm.vault.* has the other settings
  osm upgrade --set osm.certificateProvider.additionalKinds={vault} -f vault.yaml
  osm mesh rotate-root --provider vault --vault-host vault.vault.svc --vault-role openservicemesh

  # Rotate to an issuer of cert-manager
  osm upgrade --set osm.certificateProvider.additionalKinds={cert-manager},osm.certmanager.issuerKind=ClusterIssuer
  osm mesh rotate-root --provider cert-manager --cert-manager-issuer osm-ca --cert-manager-issuer-kind ClusterIssuer

  # Rotate to an existing root, such as the previous one
  kubectl get meshrootcertificates -n osm-system
  osm mesh rotate-root --to osm-mesh-root-certificate

  # Show the roots, the phase and every proxy's certificate, with or without a rotation
  osm mesh rotate-root --status

  # Go back to the old root
  osm mesh rotate-root --abort

  # In a script: do not ask for confirmation, do not wait, print one JSON document
  osm mesh rotate-root --yes --no-wait -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.StringVar(&o.to, "to", "", "rotate to this existing MeshRootCertificate instead of creating one")
	flags.StringVar(&o.name, "name", "", "name of the MeshRootCertificate to create (default: the first free name)")
	o.provider.add(flags)
	flags.BoolVar(&o.status, "status", false, "only show the phase and the certificate of every proxy")
	flags.BoolVar(&o.abort, "abort", false, "go back to the root that signed before the rotation")
	flags.BoolVar(&o.noWait, "no-wait", false, "return as soon as the rotation is requested")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	o.timeout.AddFlag(o.cmd, defaultTimeout, "how long to wait; the rotation continues after that")
	flags.VarP(&o.format, "output", "o", "output format")
	return o.cmd
}

// rotator shows or replaces the root of one mesh.
type rotator struct {
	*options
	clients *cluster.Clients
	mesh    cluster.Mesh
	info    *release.Info  // nil if Helm does not know the mesh
	values  release.Values // of the release, with the chart's defaults; nil without one
	leader  *leader
}

func (o *options) run(ctx context.Context) error {
	if err := errors.Join(o.timeout.Validate(o.cmd), o.validFlags()); err != nil {
		return err
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	mesh, err := o.env.FindMesh(ctx, o.cmd, clients, o.meshName)
	if err != nil {
		return err
	}
	r := &rotator{options: o, clients: clients, mesh: mesh}
	r.leader = &leader{
		forward: o.env.Forward, namespace: mesh.Namespace,
		lease: func(ctx context.Context) (string, error) { return clients.LeaseHolder(ctx, mesh.Namespace) },
	}
	defer r.leader.close()
	if err := r.checkServed(); err != nil {
		return err
	}
	ctx, cancel := o.timeout.Limit(ctx)
	defer cancel()
	switch {
	case o.status:
		return r.showStatus(ctx)
	case o.abort:
		return r.goBack(ctx)
	}
	return r.begin(ctx)
}

// checkServed returns an error if the control plane is too old to rotate.
func (r *rotator) checkServed() error {
	ok, err := r.clients.ServesRoots()
	if err == nil && !ok {
		return fmt.Errorf("the cluster does not serve MeshRootCertificates: mesh [%s] is older than this osm; upgrade it first: %s", r.mesh.Name, r.command("upgrade"))
	}
	return err
}

// validFlags rejects flags that contradict each other. It needs no cluster.
func (o *options) validFlags() error {
	making := append(o.provider.changed(o.cmd.Flags()), changed(o.cmd.Flags(), "name")...)
	for _, only := range []struct {
		flag  string
		given bool
		not   []string
	}{
		{"--status", o.status, append(changed(o.cmd.Flags(), "abort", "to", "no-wait", "yes"), making...)},
		{"--abort", o.abort, append(changed(o.cmd.Flags(), "to"), making...)},
		{"--to", o.to != "", making},
	} {
		if only.given && len(only.not) > 0 {
			return command.Usagef(o.cmd, "%s cannot be used with %s; remove one of them", only.flag, strings.Join(only.not, ", "))
		}
	}
	if o.name != "" {
		if err := validRootName(o.name); err != nil {
			return command.Usagef(o.cmd, "--name: %w", err)
		}
	}
	if err := o.provider.valid(); err != nil {
		return command.Usage(o.cmd, err)
	}
	return nil
}

// confirm asks for confirmation unless --yes is set.
func (o *options) confirm(question string) error {
	if o.yes {
		return nil
	}
	return o.env.Confirm(question)
}

// command returns an osm command line for this mesh, for hints.
func (r *rotator) command(words string) string {
	text := "osm " + words
	if r.mesh.Name != api.DefaultMeshName {
		text += " --mesh-name " + r.mesh.Name
	}
	if r.mesh.Namespace != api.DefaultNamespace {
		text += " --osm-namespace " + r.mesh.Namespace
	}
	return text
}

func (r *rotator) statusHint() string { return r.command("mesh rotate-root --status") }
func (r *rotator) abortHint() string  { return r.command("mesh rotate-root --abort") }
