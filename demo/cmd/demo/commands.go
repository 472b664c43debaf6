package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osm-edge/osm/demo/manifests"
	"github.com/osm-edge/osm/demo/report"
	"github.com/osm-edge/osm/demo/stage"
	"github.com/osm-edge/osm/pkg/api"
)

// root holds what every subcommand shares.
type root struct {
	stdout, stderr io.Writer
	kubeconfig     string
	timeout        time.Duration
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	r := &root{stdout: stdout, stderr: stderr}
	cmd := &cobra.Command{
		Use:           "demo",
		Short:         "Run the bookstore demo on a cluster that has the mesh",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.PersistentFlags().StringVar(&r.kubeconfig, "kubeconfig", "", "kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
	cmd.PersistentFlags().DurationVar(&r.timeout, "timeout", 5*time.Minute, "time to wait for the cluster")
	cmd.AddCommand(r.namespacesCommand(), r.deployCommand(), r.summaryCommand(), r.removeCommand(), r.providerCommand())
	return cmd
}

func (r *root) progress(text string) { _, _ = fmt.Fprintln(r.stderr, text) }

func (r *root) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = r.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	return config, nil
}

func (r *root) stage() (*stage.Stage, error) {
	config, err := r.config()
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery()))
	return &stage.Stage{Dynamic: objects, Mapper: mapper, Kube: kube, Progress: r.progress}, nil
}

func (r *root) namespacesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "namespaces",
		Short: "Create the demo's namespaces, for `osm namespace add`",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespaces, err := manifests.Namespaces()
			if err != nil {
				return err
			}
			s, err := r.stage()
			if err != nil {
				return err
			}
			return s.Apply(cmd.Context(), namespaces)
		},
	}
}

func (r *root) deployCommand() *cobra.Command {
	var image string
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Deploy the bookstore and wait until it runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := manifests.Objects(image)
			if err != nil {
				return err
			}
			s, err := r.stage()
			if err != nil {
				return err
			}
			return deploy(cmd.Context(), s, objects, r.timeout)
		},
	}
	cmd.Flags().StringVar(&image, "image", "", "reference of the osm-demo image, as bin/images printed it")
	return cmd
}

func deploy(ctx context.Context, s *stage.Stage, objects []*unstructured.Unstructured, timeout time.Duration) error {
	if err := s.Apply(ctx, objects); err != nil {
		return err
	}
	return s.WaitRolledOut(ctx, objects, timeout)
}

func (r *root) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove",
		Short: "Delete the demo's namespaces and everything in them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespaces, err := manifests.Namespaces()
			if err != nil {
				return err
			}
			s, err := r.stage()
			if err != nil {
				return err
			}
			return s.Remove(cmd.Context(), namespaces, r.timeout)
		},
	}
}

// summaryOptions are the flags of `demo summary`.
type summaryOptions struct {
	namespace, output, svg, title string
}

func (r *root) summaryCommand() *cobra.Command {
	var o summaryOptions
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "Wait until the demo shows everything it promises, then print it on one screen",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return r.summary(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.namespace, "osm-namespace", api.DefaultNamespace, "namespace of the control plane")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	cmd.Flags().StringVar(&o.svg, "svg", "", "also draw the screen into this file")
	cmd.Flags().StringVar(&o.title, "svg-command", "make demo", "command line that the picture shows")
	return cmd
}

// summary shows the screen even if the wait failed: it then names what is
// missing, and so does the error.
func (r *root) summary(ctx context.Context, o summaryOptions) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("--output %q: choose text or json", o.output)
	}
	config, err := r.config()
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	forwarder := &report.Forwarder{Config: config, Kube: kube}
	collector := &report.Collector{Kube: kube, Fetch: forwarder.Fetch, Namespace: o.namespace, Now: time.Now}
	found, awaitErr := collector.Await(ctx, r.timeout, r.progress)
	if found == nil {
		return awaitErr
	}
	if err := r.show(found, o.output); err != nil {
		return err
	}
	if awaitErr != nil || o.svg == "" {
		return awaitErr
	}
	return draw(found, o.svg, o.title)
}

func (r *root) show(found *report.Report, output string) error {
	if output == "json" {
		return found.WriteJSON(r.stdout)
	}
	file, isFile := r.stdout.(*os.File)
	colour := isFile && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == ""
	return found.WriteText(r.stdout, colour)
}

// draw writes the picture to a temporary file first, so that a failure leaves the old one alone.
func draw(found *report.Report, file, command string) error {
	part, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part")
	if err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	defer os.Remove(part.Name())
	if err := found.WriteSVG(part, command); err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	if err := part.Chmod(0o644); err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	if err := part.Close(); err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	if err := os.Rename(part.Name(), file); err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	return nil
}
