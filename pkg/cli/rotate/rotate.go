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

// defaultTimeout is how long a rotation is waited for: three times a Secret must reach all pods.
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
		Short: "Replace the root certificate of a mesh, without a lost request",
		Long: `Replace the root CA of a mesh by another one, of the same or of another provider, while the mesh
serves. The control plane hands out the new root beside the old one (trust-both), signs with the new
one (sign-new), replaces every certificate of the old one (all-renewed) and drops it (drop-old). At
every step it waits until every proxy, every replica and every webhook has followed. Secrets take up
to three minutes to reach running pods, three times: expect ten minutes.

The roots are MeshRootCertificates in the mesh's namespace. What is asked for is kept there: the
rotation goes on without this command, which only shows its progress. --abort turns it round until
the old root is dropped. At the end all proxies are listed with the certificate that they use.`,
		Example: `  # A new CA of the same provider; of the built-in one that is a new key in another Secret
  osm mesh rotate-root

  # To Vault, whose other settings are osm.vault.* of the chart. It must be prepared before
  osm upgrade --set osm.certificateProvider.additionalKinds={vault} -f vault.yaml
  osm mesh rotate-root --provider vault --vault-host vault.vault.svc --vault-role openservicemesh

  # To an issuer of cert-manager
  osm upgrade --set osm.certificateProvider.additionalKinds={cert-manager},osm.certmanager.issuerKind=ClusterIssuer
  osm mesh rotate-root --provider cert-manager --cert-manager-issuer osm-ca --cert-manager-issuer-kind ClusterIssuer

  # To a root that exists, such as the former one
  kubectl get meshrootcertificates -n osm-system
  osm mesh rotate-root --to osm-mesh-root-certificate

  # Look at the roots, the phase and every proxy's certificate, also without a rotation
  osm mesh rotate-root --status

  # Back to the old root
  osm mesh rotate-root --abort

  # For a program: do not ask, do not wait, one JSON document
  osm mesh rotate-root --yes --no-wait -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.StringVar(&o.to, "to", "", "rotate to this MeshRootCertificate, which exists, instead of making one")
	flags.StringVar(&o.name, "name", "", "name of the MeshRootCertificate to make (default: the first that is free)")
	o.provider.add(flags)
	flags.BoolVar(&o.status, "status", false, "change nothing: show the phase and the certificate of every proxy")
	flags.BoolVar(&o.abort, "abort", false, "go back to the root that signed before")
	flags.BoolVar(&o.noWait, "no-wait", false, "return as soon as the rotation is asked for")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	o.timeout.AddFlag(o.cmd, defaultTimeout, "how long to wait; the rotation goes on after that")
	flags.VarP(&o.format, "output", "o", "output format")
	return o.cmd
}

// rotator is a mesh whose roots are looked at or replaced.
type rotator struct {
	*options
	clients *cluster.Clients
	mesh    cluster.Mesh
	info    *release.Info  // nil when Helm knows nothing of the mesh
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
	if err := r.served(); err != nil {
		return err
	}
	ctx, cancel := o.timeout.Limit(ctx)
	defer cancel()
	switch {
	case o.status:
		return r.showStatus(ctx)
	case o.abort:
		return r.turnAround(ctx)
	}
	return r.begin(ctx)
}

// served makes sure that the control plane is one that rotates.
func (r *rotator) served() error {
	ok, err := r.clients.ServesRoots()
	if err == nil && !ok {
		return fmt.Errorf("the cluster does not know MeshRootCertificates: mesh [%s] is older than this osm; upgrade it first: %s", r.mesh.Name, r.command("upgrade"))
	}
	return err
}

// validFlags refuses flags that contradict each other, as far as that shows without a cluster.
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
			return command.Usagef(o.cmd, "%s does not go with %s; leave one out", only.flag, strings.Join(only.not, ", "))
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

// confirm asks, unless it was told not to.
func (o *options) confirm(question string) error {
	if o.yes {
		return nil
	}
	return o.env.Confirm(question)
}

// command is a command line of osm about this mesh, for hints.
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

func (r *rotator) lookHint() string  { return r.command("mesh rotate-root --status") }
func (r *rotator) abortHint() string { return r.command("mesh rotate-root --abort") }
