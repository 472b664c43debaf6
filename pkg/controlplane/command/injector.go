package command

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/injector"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// injectorOptions are the flags of the injector.
type injectorOptions struct {
	shared
	webhookAddress, httpAddress         string
	sidecarImage, initImage, pullPolicy string
	pullSecrets                         []string
	limits                              injectorLimits
	drain                               time.Duration
	version                             serve.Version
}

func newInjector(version serve.Version) *cobra.Command {
	o := injectorOptions{version: version}
	cmd := &cobra.Command{
		Use:     "injector",
		Short:   "Serve the admission webhook that adds the proxy to new pods",
		Example: "  osm-controlplane injector --sidecar-image envoyproxy/envoy:distroless-v1.40.0 --init-image osm-edge/osm-controlplane:v0.1.0",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd, o.inject) },
	}
	o.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.webhookAddress, "webhook-address", fmt.Sprintf(":%d", api.PortWebhook), "address of the webhook (TLS)")
	flags.StringVar(&o.httpAddress, "http-address", fmt.Sprintf(":%d", api.PortHTTP), "address for /livez, /readyz, /metrics and /version")
	flags.StringVar(&o.sidecarImage, "sidecar-image", "", "image of Envoy in injected pods")
	flags.StringVar(&o.initImage, "init-image", "", "image of the redirect in injected pods, which is the control plane's")
	flags.StringVar(&o.pullPolicy, "image-pull-policy", string(corev1.PullIfNotPresent), "pull policy of both images")
	flags.StringSliceVar(&o.pullSecrets, "image-pull-secrets", nil, "pull secrets of both images, added to injected pods; they must exist in the pods' namespaces")
	o.limits.bind(flags)
	flags.DurationVar(&o.drain, "drain-period", 5*time.Second, "how long to keep answering after SIGTERM")
	return cmd
}

// inject runs the injector.
func (o *injectorOptions) inject(ctx context.Context, config *rest.Config, log *slog.Logger) error {
	dns, err := o.dns()
	if err != nil {
		return err
	}
	log.Info("how sidecars find the control plane", "clusterDomain", dns.domain, "clusterDNS", dns.servers)
	return injector.Run(ctx, injector.Config{
		REST: config,
		Settings: injector.Settings{
			MeshName: o.mesh, Namespace: o.namespace, TrustDomain: identity.TrustDomain(o.trustDomain),
			ClusterDomain: dns.domain, ClusterDNS: dns.servers,
			SidecarImage: o.sidecarImage, InitImage: o.initImage, PullPolicy: corev1.PullPolicy(o.pullPolicy), PullSecrets: o.pullSecrets,
			Limits: o.limits.review(), SidecarMemory: o.limits.sidecarMemory.Quantity, SidecarConnections: o.limits.sidecarConnections,
		},
		Address: o.webhookAddress, HTTPAddress: o.httpAddress, Drain: o.drain, Version: o.version, Log: log, Level: o.level,
	})
}
