package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// usageError is a wrong command line; Main adds where to find the right one.
type usageError struct {
	command string
	error
}

func (e usageError) Unwrap() error { return e.error }

// Main runs one command line and returns the exit code: 0, or 1 after an error, which it prints.
func Main(ctx context.Context, env *Env, args []string) int {
	// client-go logs what it also returns as an error; once is enough.
	klog.SetLogger(logr.Discard())
	root := NewRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	env.errorf("Error: %s\n", output.Lines(strings.TrimSpace(explain(err))))
	var usage usageError
	if errors.As(err, &usage) {
		env.errorf("Run '%s --help' for usage.\n", usage.command)
	}
	return 1
}

// explain adds what the user can do about an error that any command may meet.
func explain(err error) string {
	if apierrors.IsForbidden(err) {
		return err.Error() + "; ask the cluster's administrator for this right, or choose another --context"
	}
	if apierrors.IsUnauthorized(err) {
		return err.Error() + "; log in to the cluster again, or choose another --context"
	}
	return err.Error()
}

// NewRoot returns the osm command.
func NewRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "osm",
		Short: "Install and manage an Envoy service mesh",
		Long: `osm installs, upgrades, scales and inspects a service mesh on Kubernetes.

The control plane (osm-controller and osm-injector) runs in a namespace of its own; namespaces that
you add to the mesh get an Envoy sidecar in every new pod.`,
		Example: `  osm install
  osm namespace add bookstore
  osm mesh scale --controller-min 2 --controller-max 5 --autoscale=true --pdb=true`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	flags.StringVar(env.Kube.KubeConfig, "kubeconfig", "", "path of the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(env.Kube.Context, "context", "", "context of the kubeconfig file (default: its current context)")
	flags.StringVar(&env.Namespace, "osm-namespace", api.DefaultNamespace, "namespace of the mesh's control plane")
	flags.BoolVar(&env.Verbose, "verbose", false, "also print debugging output")
	root.AddCommand(
		newInstallCmd(env), newUpgradeCmd(env), newUninstallCmd(env), newMeshCmd(env),
		newNamespaceCmd(env), newProxyCmd(env), newVerifyCmd(env), newVersionCmd(env),
	)
	wrapUsage(root)
	return root
}

// wrapUsage marks the errors that cobra finds in a command line as usage errors.
func wrapUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{cmd.CommandPath(), err}
	})
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{cmd.CommandPath(), err}
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		wrapUsage(child)
	}
}

// usagef is an error in how a command was called.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
}

// group returns a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf("; did you mean %q?", near[0])
			}
			return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(children...)
	return cmd
}
