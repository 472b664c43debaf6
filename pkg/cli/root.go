package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// Main runs one command line and returns the exit code: 0, or 1 after printing an error.
func Main(ctx context.Context, env *command.Env, args []string) int {
	// client-go also logs the errors that it returns.
	klog.SetLogger(logr.Discard())
	root := NewRoot(env)
	args = joinDryRun(args)
	root.SetArgs(args)
	err := unknownCommand(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return 0
	}
	env.Progressf("Error: %s\n", output.Lines(strings.TrimSpace(explain(err))))
	var usage *command.UsageError
	if errors.As(err, &usage) {
		env.Progressf("Run '%s --help' for usage.\n", usage.Command)
	}
	return 1
}

// explain adds what the user can do about errors that can happen in any command.
func explain(err error) string {
	if apierrors.IsForbidden(err) {
		return err.Error() + "; ask the cluster's administrator for this permission, or choose another --context"
	}
	if apierrors.IsUnauthorized(err) {
		return err.Error() + "; log in to the cluster again, or choose another --context"
	}
	return err.Error()
}

// NewRoot returns the osm command.
func NewRoot(env *command.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "osm",
		Short: "Install and manage an Envoy service mesh",
		Long: `osm installs, upgrades, scales and inspects a service mesh on Kubernetes.

The control plane (osm-controller and osm-injector) runs in a namespace of its own. In namespaces
that you add to the mesh, every new pod gets an Envoy sidecar.`,
		Example: `  osm install
  osm namespace add bookstore
  osm mesh scale --controller-min 2 --controller-max 5 --autoscale=true --pdb=true`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs, // unknownCommand has looked
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	flags.StringVar(env.Kube.KubeConfig, "kubeconfig", "", "path to the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(env.Kube.Context, "context", "", "kubeconfig context to use (default: the current context)")
	flags.StringVar(&env.Namespace, "osm-namespace", api.DefaultNamespace, "namespace of the mesh's control plane")
	flags.BoolVar(&env.Verbose, "verbose", false, "print debugging output too")
	root.AddCommand(commands(env)...)
	wrapUsage(root)
	return root
}

// wrapUsage turns the errors that cobra finds in a command line into usage errors.
func wrapUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(flagError)
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return command.Usage(cmd, argumentError(cmd, args, err))
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		wrapUsage(child)
	}
}
