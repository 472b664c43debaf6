package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/injector"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// nativeSidecars is the first minor version of Kubernetes 1 that has them without being asked.
const nativeSidecars = 29

// injectorOptions are the flags of the injector.
type injectorOptions struct {
	shared
	webhookAddress, httpAddress         string
	sidecarImage, initImage, pullPolicy string
	limits                              injectorLimits
	drain                               time.Duration
	version                             serve.Version
}

func newInjector(version serve.Version) *cobra.Command {
	o := injectorOptions{version: version}
	cmd := &cobra.Command{
		Use:     "injector",
		Short:   "Answer the admission webhook that gives new pods their proxy",
		Example: "  osm-controlplane injector --sidecar-image envoyproxy/envoy:distroless-v1.40.0 --init-image osm-edge/osm-controlplane:v0.1.0",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd, o.inject) },
	}
	o.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.webhookAddress, "webhook-address", fmt.Sprintf(":%d", api.PortWebhook), "address of the webhook (TLS)")
	flags.StringVar(&o.httpAddress, "http-address", fmt.Sprintf(":%d", api.PortHTTP), "address for /livez, /readyz, /metrics and /version")
	flags.StringVar(&o.sidecarImage, "sidecar-image", "", "image of Envoy in injected pods")
	flags.StringVar(&o.initImage, "init-image", "", "image of the redirect in injected pods: the control plane's")
	flags.StringVar(&o.pullPolicy, "image-pull-policy", string(corev1.PullIfNotPresent), "pull policy of both images")
	o.limits.bind(flags)
	flags.DurationVar(&o.drain, "drain-period", 5*time.Second, "how long to go on answering after SIGTERM")
	return cmd
}

// inject composes the injector: health, metrics, webhook.
func (o *injectorOptions) inject(ctx context.Context, config *rest.Config, log *slog.Logger) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client of the API server: %w", err)
	}
	health := serve.NewHealth(time.Now)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	refusals, err := serve.NewRefusals(registry, log)
	if err != nil {
		return err
	}

	// Health outlives ctx, so that the drain can be watched.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error {
		return serve.HTTPServer{Addr: o.httpAddress, Handler: serve.Handler(health, registry, o.version), Refused: refusals.Of("http"), Log: log}.Run(serving)
	})
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(serving, cancel)

	err = o.serveWebhook(starting, webhookParts{client, config, health, registry, refusals, log})
	stop()
	if failed := group.Wait(); failed != nil && !errors.Is(failed, context.Canceled) {
		return failed
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// webhookParts are what the webhook shares with the rest of the process.
type webhookParts struct {
	client   kubernetes.Interface
	config   *rest.Config
	health   *serve.Health
	registry *prometheus.Registry
	refusals *serve.Refusals
	log      *slog.Logger
}

func (o *injectorOptions) serveWebhook(ctx context.Context, p webhookParts) error {
	begun := p.health.Require("webhook", "not started yet")
	plain, err := needsPlainContainers(p.client)
	if err != nil {
		return err
	}
	roots, err := ca.NewMetrics(p.registry)
	if err != nil {
		return err
	}
	begun.Met()
	return injector.Run(ctx, injector.Config{
		REST: p.config,
		Settings: injector.Settings{
			MeshName: o.mesh, Namespace: o.namespace, TrustDomain: identity.TrustDomain(o.trustDomain),
			SidecarImage: o.sidecarImage, InitImage: o.initImage, PullPolicy: corev1.PullPolicy(o.pullPolicy),
			PlainContainer: plain, Limits: o.limits.review(),
			SidecarMemory: o.limits.sidecarMemory.Quantity, SidecarConnections: o.limits.sidecarConnections,
		},
		Address: o.webhookAddress, Drain: o.drain, Roots: roots.ShowRoots,
		Health: p.health, Metrics: p.registry, Refused: p.refusals.Of("webhook"), Logger: p.log, Level: o.level,
	})
}

// needsPlainContainers says whether the cluster is too old for native sidecars.
func needsPlainContainers(client kubernetes.Interface) (bool, error) {
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return false, fmt.Errorf("ask the API server for its version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	if err != nil {
		return false, fmt.Errorf("the API server's minor version %q is not a number", version.Minor)
	}
	return version.Major == "1" && minor < nativeSidecars, nil
}
